// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// BenchmarkStep is what a step costs at rest, ten times a second, with 10,000 VIPs of which this speaker holds a fiftieth.
func BenchmarkStep(b *testing.B) {
	s := newSteps(&testing.T{}, 9, nil)
	address := netip.MustParseAddr("10.0.0.1")
	for i := range 10_000 {
		holder := "n2"
		if i%50 == 0 {
			holder = "n1"
		}
		s.view.Targets[address] = Target{Candidates: []string{"n2", "n1", "n3"}, Eligible: true}
		s.view.Leases[address] = Lease{VIP: address, Holder: holder, Epoch: Epoch(holder + "/a"), Object: &coordinationv1.Lease{}}
		address = address.Next()
	}
	for range 20 {
		s.step()
	}
	b.ReportAllocs()
	for b.Loop() {
		s.step()
	}
}
