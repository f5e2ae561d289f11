// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

func conflictLease(vip, annotation string) *coordinationv1.Lease {
	lease := vipLease(vip, "", "")
	lease.Annotations[names.AnnotationConflict] = annotation
	return lease
}

func foundBy(node string) string {
	return names.Conflict{MAC: "02:00:5e:10:00:01", Interface: "eth0", Node: node, Time: epoch}.Format()
}

const (
	twoAddresses = "192.168.1.240/31"
	who          = "02:00:5e:10:00:01 on eth0 answers for it, seen from node-1"
)

func TestAddressInConflictIsReplaced(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", twoAddresses)), func(r *rig) {
		r.create(service("web"))
		r.createLease(conflictLease("192.168.1.240", foundBy("node-1")))
		r.has("web", "192.168.1.241")
		r.wantTold("web", `IPAllocated: Assigned IP ["192.168.1.240"]`, `IPAllocated: Assigned IP ["192.168.1.241"]`,
			"ClearAssignment: 192.168.1.240 is not assigned any more: "+who,
			"EnsuredLoadBalancer: Ensured load balancer")

		// It is nobody's for ten minutes, and its Lease says why as long.
		r.create(service("next"))
		time.Sleep(conflictKept - time.Minute)
		r.has("next", "")
		r.wantLeases("vip-192.168.1.240")
		time.Sleep(time.Minute)
		r.settle()
		r.has("next", "192.168.1.240")
		r.has("web", "192.168.1.241")
	})
}

func TestConflictEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		then  func(*rig)
		after time.Duration
	}{
		"the annotation goes": {func(r *rig) { r.updateLease(vipLease("192.168.1.240", "", "")) }, time.Second},
		"seen again":          {func(r *rig) { r.updateLease(conflictLease("192.168.1.240", foundBy("node-2"))) }, conflictKept},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), conflictLease("192.168.1.240", foundBy("node-1"))), func(r *rig) {
				r.create(service("web"))
				time.Sleep(conflictKept / 2)
				r.has("web", "")
				tt.then(r)
				time.Sleep(tt.after - 500*time.Millisecond)
				if tt.after > time.Second {
					r.has("web", "")
				}
				time.Sleep(time.Second)
				r.has("web", "192.168.1.240")
			})
		})
	}
}

func TestServiceThatAskedKeepsAnAddressInConflict(t *testing.T) {
	asks := annotated("metallb.universe.tf/loadBalancerIPs", "192.168.1.240")
	play(t, Options{}, objects(addressPool("a", twoAddresses), service("web", asks, holding("192.168.1.240")), conflictLease("192.168.1.240", foundBy("node-1"))), func(r *rig) {
		time.Sleep(2 * conflictKept)
		r.has("web", "192.168.1.240")
		r.wantTold("web")
		r.wantLeases("vip-192.168.1.240")
	})
}

// TestServiceOfAnotherProgramKeepsAnAddressInConflict: who answers may be the load balancer that ours replaces, node by node. One that ours
// has served before, and that was never announced, moves.
func TestServiceOfAnotherProgramKeepsAnAddressInConflict(t *testing.T) {
	foreign := func(svc *v1.Service) { svc.Finalizers = nil }
	for name, tt := range map[string]struct {
		svc  *v1.Service
		want string
	}{
		"another program's": {service("web", holding("192.168.1.240"), foreign), "192.168.1.240"},
		"ours":              {service("web", holding("192.168.1.240")), "192.168.1.241"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", twoAddresses), tt.svc, conflictLease("192.168.1.240", foundBy("node-1"))), func(r *rig) {
				time.Sleep(2 * conflictKept)
				r.has("web", tt.want)
			})
		})
	}
}

// TestConflictTakesNothingWithoutAnother: an address that is not announced is better than none, which would be free to others.
func TestConflictTakesNothingWithoutAnother(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32")), func(r *rig) {
		r.create(service("web"))
		r.createLease(conflictLease("192.168.1.240", foundBy("node-1")))
		r.has("web", "192.168.1.240")
		r.createPool(addressPool("b", "10.0.0.0/32"))
		r.has("web", "10.0.0.0")
	})
}

// TestAnnotationsThatCannotBeRead mark conflicts all the same, and nothing of them reaches users.
func TestAnnotationsThatCannotBeRead(t *testing.T) {
	for name, annotation := range map[string]string{"empty": "", "no JSON": "<b>yes</b>", "another version": `{"mac":"none"}`} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, []runtime.Object{addressPool("a", twoAddresses)}, func(r *rig) {
				r.create(service("web"))
				r.createLease(conflictLease("192.168.1.240", annotation))
				r.has("web", "192.168.1.241")
				r.wantTold("web", `IPAllocated: Assigned IP ["192.168.1.240"]`, "ClearAssignment: 192.168.1.240 is not assigned any more: another host answers for it",
					`IPAllocated: Assigned IP ["192.168.1.241"]`, "EnsuredLoadBalancer: Ensured load balancer")
			})
		})
	}
}
