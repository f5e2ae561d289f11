// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// The targets are computed at once when the plan or the sessions have changed, at times when only VIPs have moved, and never without a pause
// when that takes long.
func TestRetargetKeepsItsPace(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		change func(*Speaker)
		after  time.Duration
		took   time.Duration
		want   bool
	}{
		"nothing has changed":                   {func(*Speaker) {}, time.Hour, 0, false},
		"the plan has":                          {func(s *Speaker) { s.plans++ }, 0, 0, true},
		"a session has":                         {func(s *Speaker) { s.records.sessionChanges++ }, 0, 0, true},
		"this speaker is told to stop":          {func(s *Speaker) { s.view.Leaving = true }, 0, 0, true},
		"a holder has":                          {func(s *Speaker) { s.records.holderChanges++ }, 900 * time.Millisecond, 0, false},
		"a holder has, for a second":            {func(s *Speaker) { s.records.holderChanges++ }, 1100 * time.Millisecond, 0, true},
		"a holder has, and it takes long":       {func(s *Speaker) { s.records.holderChanges++ }, 1100 * time.Millisecond, 60 * time.Millisecond, false},
		"a holder has, and it took long before": {func(s *Speaker) { s.records.holderChanges++ }, 1300 * time.Millisecond, 60 * time.Millisecond, true},
		"the plan has, and it takes long":       {func(s *Speaker) { s.plans++ }, 50 * time.Millisecond, 60 * time.Millisecond, false},
		"the plan has, and it took long before": {func(s *Speaker) { s.plans++ }, 70 * time.Millisecond, 60 * time.Millisecond, true},
		"it is under way":                       {func(s *Speaker) { s.plans++; s.targeting.busy = true }, time.Hour, 0, false},
		"it was never done, nothing is listed":  {func(s *Speaker) { s.listed, s.targeting = false, targeting{} }, time.Hour, 0, false},
		"it was never done":                     {func(s *Speaker) { s.targeting = targeting{} }, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Speaker{config: Config{Node: "n1"}, records: NewRecords(), planned: true, listed: true, wake: make(chan struct{}, 1)}
			s.targeting = targeting{done: true, began: now, endedAt: now, took: test.took}
			test.change(s)
			busy := s.targeting.busy
			s.retarget(now.Add(test.after))
			s.work.Wait()
			if got := len(s.mail) > 0; got != test.want || s.targeting.busy != (busy || test.want) {
				t.Errorf("computed: %v, want %v", got, test.want)
			}
		})
	}
}

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
