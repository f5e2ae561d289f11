// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"maps"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	leaseSweepPeriod   = 100 * time.Millisecond // between two sweeps, at least
	leaseSweepInterval = 10 * time.Second       // between two sweeps, at most
	leaseRetry         = time.Second            // after the API server gave no answer
	leaseTimeout       = 5 * time.Second        // of a request about a Lease: the sweep must go on
	leaseRequests      = 8                      // under way at the same time
	// sessionForgotten is how long a session of a deleted node must not have been renewed before its Lease goes.
	sessionForgotten = 30 * time.Second
)

// newLeaseInformer watches the Leases of VIPs and of speakers' sessions.
func newLeaseInformer(kube kubernetes.Interface, namespace string) cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = names.LabelLease }))
	informer := factory.Coordination().V1().Leases().Informer()
	slim(informer)
	return informer
}

func (c *Cloud) watchLeases() {
	c.caches.leases.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.leasesChanged.set() },
		UpdateFunc: func(old, current any) {
			// Renewals change nothing that matters here, and are most of what is seen.
			if claimOf(old.(*coordinationv1.Lease)) != claimOf(current.(*coordinationv1.Lease)) {
				c.leasesChanged.set()
			}
		},
		DeleteFunc: func(any) { c.leasesChanged.set() },
	})
	c.caches.nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(any) { c.leasesChanged.set() },
	})
}

// sweepUntilDone sweeps when Leases or allocations changed, and when time alone may change the verdict.
func (c *Cloud) sweepUntilDone(ctx context.Context) {
	s := &sweep{Cloud: c, conflicts: map[netip.Addr]*conflict{}, overdue: map[netip.Addr]claim{}}
	for {
		next := s.run(ctx)
		if !pause(ctx, leaseSweepPeriod) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-c.leasesChanged:
		case <-time.After(next):
		}
	}
}

// sweep looks at all Leases: it ends quarantines (quarantine.go), takes in conflicts (conflicts.go), and deletes the
// Leases of VIPs that no Service has and nobody announces any more, and those of speakers whose node is gone. It belongs
// to one goroutine, which judges; the requests that come of it are made several at a time.
type sweep struct {
	*Cloud
	conflicts map[netip.Addr]*conflict
	overdue   map[netip.Addr]claim // whose quarantine ended without a withdrawal
	useless   []useless            // found by the sweep that is under way
}

// useless is a Lease to be deleted exactly as it was judged.
type useless struct {
	lease  *coordinationv1.Lease
	reason string
	vip    netip.Addr // not valid for a session
}

// run sweeps once, and says when the next sweep is due though nothing happens.
func (s *sweep) run(ctx context.Context) time.Duration {
	next := min(leaseSweepInterval, s.judgeConflicts(ctx))
	maps.DeleteFunc(s.overdue, func(vip netip.Addr, _ claim) bool { _, ok := s.vipLease(vip); return !ok })
	for _, obj := range s.caches.leases.GetStore().List() {
		lease := obj.(*coordinationv1.Lease)
		if vip, ok := names.ParseVIPLease(lease.Name); ok {
			s.sweepVIP(vip, lease)
		} else if node, ok := names.ParseSessionLease(lease.Name); ok {
			s.sweepSession(node, lease)
		}
	}
	s.deleteUseless(ctx)
	return min(next, s.endQuarantines(ctx))
}

func (s *sweep) sweepVIP(vip netip.Addr, lease *coordinationv1.Lease) {
	switch {
	case s.inUse(vip):
		delete(s.overdue, vip)
	case s.holderLives(lease):
		s.awaitWithdrawal(vip, lease)
	case s.keptForConflict(vip):
	default:
		s.useless = append(s.useless, useless{lease, "no Service has the VIP and nobody announces it", vip})
	}
}

// sweepSession judges a session whose node is gone. Its renewals carry another host's clock; half a minute is more than
// clocks in a cluster differ, and nothing depends on it but tidiness.
func (s *sweep) sweepSession(node string, lease *coordinationv1.Lease) {
	if _, err := s.caches.nodes.Lister().Get(node); !apierrors.IsNotFound(err) {
		return
	}
	if holder(lease) == "" || lease.Spec.RenewTime == nil || s.now().Sub(lease.Spec.RenewTime.Time) > sessionForgotten {
		s.useless = append(s.useless, useless{lease: lease, reason: "the node is gone"})
	}
}

// deleteUseless deletes what the sweep found. The address of a VIP leaves quarantine the moment its Lease is gone; that a
// Lease might have been taken since it was judged is the precondition's matter, however long it waited for its turn.
func (s *sweep) deleteUseless(ctx context.Context) {
	all, gone := s.useless, make([]bool, len(s.useless))
	s.useless = nil
	workqueue.ParallelizeUntil(ctx, leaseRequests, len(all), func(i int) {
		gone[i] = s.deleteLease(ctx, all[i].lease, all[i].reason)
		if gone[i] && all[i].vip.IsValid() {
			s.endQuarantine(all[i].vip)
		}
	})
	for i, each := range all {
		if gone[i] {
			delete(s.overdue, each.vip)
		}
	}
}

func (c *Cloud) inUse(vip netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allocator.InUse(vip)
}

// vipLease is the Lease of a VIP as the cache has it.
func (c *Cloud) vipLease(vip netip.Addr) (*coordinationv1.Lease, bool) {
	return c.cachedLease(names.VIPLease(vip))
}

func (c *Cloud) cachedLease(name string) (*coordinationv1.Lease, bool) {
	obj, ok, err := c.caches.leases.GetStore().GetByKey(c.options.Namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	return obj.(*coordinationv1.Lease), true
}

// holderLives tells whether the session under which a VIP Lease was taken is still the holder's.
func (c *Cloud) holderLives(lease *coordinationv1.Lease) bool {
	if holder(lease) == "" {
		return false
	}
	session, ok := c.cachedLease(names.SessionLease(holder(lease)))
	return ok && holder(session) != "" && holder(session) == lease.Annotations[names.AnnotationEpoch]
}

// deleteLease deletes a Lease as it was seen, and tells whether it is gone: a Lease that changed since is another matter.
func (c *Cloud) deleteLease(ctx context.Context, lease *coordinationv1.Lease, reason string) (gone bool) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	logger := klog.FromContext(ctx)
	err := c.clients.kube.CoordinationV1().Leases(lease.Namespace).Delete(ctx, lease.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
	switch {
	case err == nil:
		logger.Info("Lease deleted", "lease", klog.KObj(lease), "reason", reason)
	case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
		logger.Error(err, "Cannot delete a Lease", "lease", klog.KObj(lease), "reason", reason)
	}
	return err == nil || apierrors.IsNotFound(err)
}

func holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// claim is what matters here of a Lease: who holds it, under which epoch, and whether somebody else was found to use the
// VIP.
type claim struct{ holder, epoch, conflict string }

func claimOf(lease *coordinationv1.Lease) claim {
	return claim{holder(lease), lease.Annotations[names.AnnotationEpoch], lease.Annotations[names.AnnotationConflict]}
}
