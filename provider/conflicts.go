// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// conflictKept is how long after a speaker last said so an address counts as used by another host.
const conflictKept = 10 * time.Minute

// conflict is an address that a speaker found to be used by a host outside the cluster, by the annotation on its Lease.
type conflict struct {
	annotation string
	since      time.Time // by our clock, when that annotation was first seen
}

// judgeConflicts tells the allocator which addresses other hosts use, and says when that may change by itself. A Service
// that did not ask for such an address by name gets another one.
func (s *sweep) judgeConflicts(ctx context.Context) (next time.Duration) {
	next = conflictKept
	found := map[netip.Addr]*conflict{}
	active := map[netip.Addr]string{}
	for _, obj := range s.caches.leases.GetStore().List() {
		lease := obj.(*coordinationv1.Lease)
		vip, ok := names.ParseVIPLease(lease.Name)
		annotation, conflicting := lease.Annotations[names.AnnotationConflict]
		if !ok || !conflicting {
			continue
		}
		seen := s.conflicts[vip]
		if seen == nil || seen.annotation != annotation {
			seen = &conflict{annotation, s.now()}
		}
		found[vip] = seen
		if left := conflictKept - s.now().Sub(seen.since); left > 0 {
			active[vip] = translate.Conflict(annotation)
			next = min(next, left)
		}
	}
	for vip, who := range active {
		if s.conflicts[vip] == nil {
			klog.FromContext(ctx).Info("address in conflict", "vip", vip, "reason", who)
		}
	}
	s.conflicts = found
	s.mu.Lock()
	changed := s.allocator.SetConflicts(active)
	s.mu.Unlock()
	if changed {
		s.settle(true)
	}
	return next
}

// keptForConflict tells whether a Lease without use stays, for what it says.
func (s *sweep) keptForConflict(vip netip.Addr) bool {
	seen := s.conflicts[vip]
	return seen != nil && s.now().Sub(seen.since) < conflictKept
}
