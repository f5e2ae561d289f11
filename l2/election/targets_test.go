// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// BenchmarkTargets is what one change of the plan or of the sessions costs, beside the loop and, for the snapshot, in it.
func BenchmarkTargets(b *testing.B) {
	const nodes, vips = 200, 10_000
	verdicts := map[string]plan.Verdict{}
	records := NewRecords()
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		verdicts[name] = plan.Verdict{Eligible: true, InSubnet: true}
		records.sessions[name] = Session{Node: name, Epoch: Epoch(name + "/a")}
	}
	planned := map[netip.Addr]plan.VIP{}
	address := netip.MustParseAddr("10.0.0.1")
	for i := range vips {
		planned[address] = plan.VIP{Addr: address, Nodes: verdicts}
		holder := fmt.Sprintf("n%d", i%nodes)
		records.leases[address] = Lease{VIP: address, Holder: holder, Epoch: Epoch(holder + "/a")}
		address = address.Next()
	}
	s := &Speaker{config: Config{Node: "n0"}, records: records, plan: planned}
	b.Run("in the loop", func(b *testing.B) {
		for b.Loop() {
			s.inputs(inputsVersion{})
		}
	})
	in := s.inputs(inputsVersion{})
	b.Run("beside it", func(b *testing.B) {
		for b.Loop() {
			in.targets()
		}
	})
}
