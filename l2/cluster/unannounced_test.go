// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// TestUnannouncedCountsByReason: there are as many counts whatever the VIPs, and none before the first plan.
func TestUnannouncedCountsByReason(t *testing.T) {
	var r Reporter
	if got := r.Unannounced(); got != nil {
		t.Errorf("before the first plan: %v", got)
	}
	vips := map[netip.Addr]plan.VIP{}
	for i, reason := range []plan.Reason{plan.Eligible, plan.NoAdvertisement, plan.NoAdvertisement, plan.NoEligibleNode} {
		vips[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})] = plan.VIP{Reason: reason}
	}
	for _, tt := range []struct {
		vips           map[netip.Addr]plan.VIP
		missing, nodes int
	}{{vips, 2, 1}, {nil, 0, 0}} {
		r.count(tt.vips)
		want := map[plan.Reason]int{
			plan.NoPool: 0, plan.AddressOfNode: 0, plan.NoAdvertisement: tt.missing, plan.SharedNotAdvertised: 0, plan.InvalidSelector: 0, plan.NoReadyEndpoints: 0, plan.NoEligibleNode: tt.nodes,
		}
		if diff := cmp.Diff(want, r.Unannounced()); diff != "" {
			t.Errorf("%d VIPs (-want +got):\n%s", len(tt.vips), diff)
		}
	}
}
