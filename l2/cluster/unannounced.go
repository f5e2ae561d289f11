// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// reasonsOfVIPs are those that concern a VIP and so every node.
var reasonsOfVIPs = []plan.Reason{
	plan.NoPool, plan.AddressOfNode, plan.NoAdvertisement, plan.SharedNotAdvertised, plan.InvalidSelector, plan.NoReadyEndpoints, plan.NoEligibleNode,
}

// Unannounced counts the VIPs that no node may announce by the last plan, under each reason that concerns a VIP. Before
// the first plan it is nil.
func (r *Reporter) Unannounced() map[plan.Reason]int {
	if counts := r.unannounced.Load(); counts != nil {
		return *counts
	}
	return nil
}

func (r *Reporter) count(vips map[netip.Addr]plan.VIP) {
	counts := make(map[plan.Reason]int, len(reasonsOfVIPs))
	for _, reason := range reasonsOfVIPs {
		counts[reason] = 0
	}
	for _, vip := range vips {
		if vip.Reason != plan.Eligible {
			counts[vip.Reason]++
		}
	}
	r.unannounced.Store(&counts)
}
