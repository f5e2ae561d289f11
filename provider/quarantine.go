// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// An address that its last Service let go of is withdrawn before another Service can have it. EnsureLoadBalancerDeleted
// returns at once all the same: it is the address that waits, in ipam's quarantine.
//
// Every freed address goes there, also one whose Lease the cache does not show: the cache may be late. It leaves only by
// an answer of the API server, which is never late:
//
//   - its Lease, that of a speaker which let go or whose session ended, was deleted exactly as it was judged
//     (sweep.sweepVIP: a precondition names its resourceVersion), or
//   - there is no such Lease, or nobody alive holds it (answered, below), or
//   - ipam.QuarantineLimit has passed; then an event names the speaker that did not withdraw.
//
// In health that takes a few milliseconds: speakers release their Leases when they see the Service go.
//
// A speaker that sees the Service later than all this may still take the VIP, for a Service that is gone. Then either the
// address is still free, and goes back into quarantine when the Lease appears (awaitWithdrawal); or it has a new Service,
// and that speaker is the holder of its Lease, as any other might be, and the only one to answer. Never do two answer:
// Leases see to that, with quarantine or without.

// withdrawing says who may still answer for an address in the moment in which it is freed: ipam.UnknownNode until the API server has said
// whether a node does. It is called with mu held.
func (c *Cloud) withdrawing(vip netip.Addr) (node string) {
	c.leasesChanged.set()
	c.lastFreed = c.now()
	if lease, ok := c.vipLease(vip); ok && c.holderLives(lease) {
		return holder(lease)
	}
	return ipam.UnknownNode
}

// rebuildQuarantine withholds the addresses that nobody has by the Services and somebody announces by the Leases. Call it
// with mu held, after all Services are restored and before any is served.
func (c *Cloud) rebuildQuarantine() {
	for _, obj := range c.caches.leases.GetStore().List() {
		lease := obj.(*coordinationv1.Lease)
		if vip, ok := names.ParseVIPLease(lease.Name); ok && c.holderLives(lease) {
			c.allocator.Quarantine(vip, holder(lease), c.now())
		}
	}
}

// awaitWithdrawal withholds a free address that somebody announces, unless it was waited for in vain before.
func (s *sweep) awaitWithdrawal(vip netip.Addr, lease *coordinationv1.Lease) {
	if s.overdue[vip] != claimOf(lease) {
		s.mu.Lock()
		s.allocator.Quarantine(vip, holder(lease), s.now())
		s.mu.Unlock()
	}
}

// endQuarantines frees the addresses that are withdrawn, or waited for too long, and says when to look again.
func (s *sweep) endQuarantines(ctx context.Context) (next time.Duration) {
	next = leaseSweepInterval
	s.mu.Lock()
	quarantined := s.allocator.Quarantined()
	s.mu.Unlock()
	var asked []ipam.Quarantined
	for _, q := range quarantined {
		lease, cached := s.vipLease(q.Addr)
		left := ipam.QuarantineLimit - s.now().Sub(q.Since)
		switch {
		case left <= 0:
			s.giveUp(q, lease)
		case cached && s.holderLives(lease):
			next = min(next, left)
		default:
			asked = append(asked, q)
		}
	}
	answered := make([]bool, len(asked))
	workqueue.ParallelizeUntil(ctx, leaseRequests, len(asked), func(i int) {
		if answered[i] = s.answered(ctx, asked[i].Addr); answered[i] {
			s.endQuarantine(asked[i].Addr)
		}
	})
	for i, q := range asked {
		if !answered[i] {
			next = min(next, leaseRetry, max(0, ipam.QuarantineLimit-s.now().Sub(q.Since)))
		}
	}
	return next
}

// answered tells whether the API server says that nobody alive holds a VIP's Lease. It may be called from any goroutine.
func (s *sweep) answered(ctx context.Context, vip netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	lease, err := s.clients.kube.CoordinationV1().Leases(s.options.Namespace).Get(ctx, names.VIPLease(vip), metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	if holder(lease) == "" {
		return true
	}
	// Sessions are known from the cache. It must be as new as the Lease, else a session that has just begun looks ended.
	cached, ok := s.vipLease(vip)
	return ok && cached.ResourceVersion == lease.ResourceVersion && !s.holderLives(lease)
}

// giveUp frees an address that its holder did not withdraw in time.
func (s *sweep) giveUp(q ipam.Quarantined, lease *coordinationv1.Lease) {
	var object runtime.Object
	if lease != nil {
		s.overdue[q.Addr] = claimOf(lease)
		object = lease
	}
	if name, ok := s.poolOf(q.Addr); ok {
		if pool, ok := s.cachedPool(name); ok {
			object = pool
		}
	}
	reason := fmt.Sprintf("node %s did not withdraw %s within %.0f s after its last Service was gone", q.Node, q.Addr, ipam.QuarantineLimit.Seconds())
	if q.Node == ipam.UnknownNode {
		reason = fmt.Sprintf("the API server did not say within %.0f s whether a node still announces %s", ipam.QuarantineLimit.Seconds(), q.Addr)
	}
	klog.Background().Info("withdrawal overdue", "vip", q.Addr, "lease", klog.KRef(s.options.Namespace, names.VIPLease(q.Addr)), "reason", reason)
	if object != nil {
		s.recorder.Eventf(object, v1.EventTypeWarning, reasonOverdue, "%s (Lease %s/%s): Services may have the address again; look at the speaker of that Lease",
			reason, s.options.Namespace, names.VIPLease(q.Addr))
	}
	s.endQuarantine(q.Addr)
}

// endQuarantine makes an address free for those who wait. It does nothing for one that is not in quarantine. It may be
// called from any goroutine.
func (s *sweep) endQuarantine(vip netip.Addr) {
	s.mu.Lock()
	s.allocator.EndQuarantine(vip)
	s.mu.Unlock()
	s.addressFreed.set()
}
