// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func everyNode(string) bool { return true }

// spreadOf makes a plan in which so many nodes are eligible for so many VIPs.
func spreadOf(vips, nodes int) map[netip.Addr]VIP {
	verdicts := map[string]Verdict{}
	for n := range nodes {
		verdicts[nodeName(n)] = Verdict{Eligible: true, InSubnet: true}
	}
	return vipsWith(vips, verdicts)
}

func vipsWith(count int, verdicts map[string]Verdict) map[netip.Addr]VIP {
	vips := map[netip.Addr]VIP{}
	addr := netip.MustParseAddr("10.0.0.1")
	for range count {
		vips[addr] = VIP{Addr: addr, Nodes: verdicts}
		addr = addr.Next()
	}
	return vips
}

func nodeName(n int) string { return fmt.Sprintf("node-%d", n+1) }

func firsts(orders map[netip.Addr][]string) map[netip.Addr]string {
	held := map[netip.Addr]string{}
	for vip, order := range orders {
		held[vip] = order[0]
	}
	return held
}

func loads(orders map[netip.Addr][]string) map[string]int {
	loads := map[string]int{}
	for _, order := range orders {
		loads[order[0]]++
	}
	return loads
}

func fullest(orders map[netip.Addr][]string) int {
	most := 0
	for _, load := range loads(orders) {
		most = max(most, load)
	}
	return most
}

// E10: three VIPs on three nodes are one each, whatever the addresses and names.
func TestThreeVIPsOnThreeNodesAreOneEach(t *testing.T) {
	for trial := range 200 {
		verdicts := map[string]Verdict{}
		for n := range 3 {
			verdicts[fmt.Sprintf("host-%d-%d", trial, n)] = Verdict{Eligible: true}
		}
		if got := fullest(Candidates(vipsWith(3, verdicts), everyNode, nil)); got != 1 {
			t.Fatalf("trial %d: the fullest node has %d", trial, got)
		}
	}
}

// E10: of 1,000 VIPs on 5 nodes, the fullest node has at most 1.1 times the mean; and so on for other numbers.
func TestLoadsAreBounded(t *testing.T) {
	for _, c := range []struct{ vips, nodes, most int }{
		{1000, 5, 220}, {1000, 3, 366}, {10, 3, 4}, {2, 3, 1}, {100, 10, 11}, {7, 7, 1}, {10000, 200, 55}, {1, 1, 1}, {30, 1, 30},
	} {
		if got := fullest(Candidates(spreadOf(c.vips, c.nodes), everyNode, nil)); got > c.most {
			t.Errorf("%d VIPs on %d nodes: the fullest has %d, want at most %d", c.vips, c.nodes, got, c.most)
		}
	}
}

// E10: when holders are known, a node that leaves moves only its own VIPs, the loads stay bounded, and the VIPs go to those who
// stood second.
func TestNodeThatLeavesMovesOnlyItsOwn(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		nodes, count := 2+random.IntN(8), 1+random.IntN(300)
		vips := spreadOf(count, nodes)
		before := Candidates(vips, everyNode, nil)
		gone := nodeName(random.IntN(nodes))
		after := Candidates(vips, func(node string) bool { return node != gone }, firsts(before))
		for vip, order := range after {
			if was := before[vip][0]; was != gone && order[0] != was {
				t.Fatalf("seed %d: %s moved from %s to %s when %s left", seed, vip, was, order[0], gone)
			} else if was == gone && order[0] != before[vip][1] {
				t.Fatalf("seed %d: %s went from %s to %s, and %s stood second", seed, vip, was, order[0], before[vip][1])
			}
		}
		if got, most := fullest(after), share(count, nodes-1); got > most {
			t.Fatalf("seed %d: the fullest of %d nodes has %d of %d VIPs", seed, nodes-1, got, count)
		}
	}
}

// E10: a node that comes back takes only what is too much for others, and then nothing moves any more.
func TestNodeThatReturnsTakesAShare(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		nodes, count := 2+random.IntN(8), 1+random.IntN(300)
		vips := spreadOf(count, nodes)
		back := nodeName(random.IntN(nodes))
		before := Candidates(vips, func(node string) bool { return node != back }, nil)
		after := Candidates(vips, everyNode, firsts(before))
		moved := 0
		for vip, order := range after {
			if order[0] != before[vip][0] {
				moved++
			}
		}
		share := share(count, nodes)
		excess := 0
		for _, load := range loads(before) {
			excess += max(0, load-share)
		}
		if moved != excess || fullest(after) > share {
			t.Fatalf("seed %d: %d VIPs moved, %d were too much; the fullest of %d nodes has %d of %d", seed, moved, excess, nodes, fullest(after), count)
		}
		if diff := cmp.Diff(firsts(after), firsts(Candidates(vips, everyNode, firsts(after)))); diff != "" {
			t.Fatalf("seed %d: it does not come to rest: %s", seed, diff)
		}
	}
}

// Without knowing holders little moves all the same.
func TestLittleMovesWithoutHolders(t *testing.T) {
	vips := spreadOf(1000, 5)
	before := Candidates(vips, everyNode, nil)
	after := Candidates(vips, func(node string) bool { return node != "node-3" }, nil)
	moved := 0
	for vip, order := range after {
		if before[vip][0] != "node-3" && order[0] != before[vip][0] {
			moved++
		}
	}
	if moved > 100 {
		t.Errorf("%d of 1,000 VIPs moved between nodes that stayed", moved)
	}
}

// Score beats subnet, subnet beats the hash; the holder counts only in the top tier.
func TestTiers(t *testing.T) {
	vips := vipsWith(50, map[string]Verdict{
		"far":       {Eligible: true},
		"near":      {Eligible: true, InSubnet: true},
		"preferred": {Eligible: true, Score: 10},
		"cordoned":  {Score: 100, InSubnet: true, Reason: Cordoned},
		"dead":      {Eligible: true, Score: 50, InSubnet: true},
	})
	held := map[netip.Addr]string{}
	for vip := range vips {
		held[vip] = "far"
	}
	for vip, order := range Candidates(vips, func(node string) bool { return node != "dead" }, held) {
		if diff := cmp.Diff([]string{"preferred", "near", "far"}, order); diff != "" {
			t.Fatalf("%s: %s", vip, diff)
		}
	}
}

// VIPs that few nodes may announce are placed first, so that others do not take their room; where a whole tier is full, it
// holds more, evenly.
func TestConstrainedVIPs(t *testing.T) {
	vips := spreadOf(40, 4)
	few := map[string]Verdict{"node-1": {Eligible: true, InSubnet: true}}
	addr := netip.MustParseAddr("10.1.0.1")
	for range 11 {
		vips[addr] = VIP{Addr: addr, Nodes: few}
		addr = addr.Next()
	}
	got := loads(Candidates(vips, everyNode, nil))
	if most := share(51, 4); got["node-1"] > most {
		t.Errorf("loads %v: the share is %d", got, most)
	}

	two := vipsWith(1000, map[string]Verdict{"node-1": {Eligible: true}, "node-2": {Eligible: true}, "node-3": {}, "node-4": {}, "node-5": {}})
	two[addr] = VIP{Addr: addr, Nodes: spreadOf(1, 5)[netip.MustParseAddr("10.0.0.1")].Nodes}
	orders := Candidates(two, everyNode, nil)
	if got := fullest(orders); got > 550 {
		t.Errorf("1,000 VIPs that 2 nodes may announce: the fuller has %d", got)
	}
	if diff := cmp.Diff(firsts(orders), firsts(Candidates(two, everyNode, firsts(orders)))); diff != "" {
		t.Errorf("it does not come to rest: %s", diff)
	}
}

// A holder that has more than its share gives up what others can take, and keeps what only it may announce.
func TestHolderKeepsWhatOnlyItMayAnnounce(t *testing.T) {
	vips := spreadOf(20, 2)
	only := map[string]Verdict{"node-1": {Eligible: true, InSubnet: true}}
	for n, addr := range slices.SortedFunc(maps.Keys(vips), netip.Addr.Compare) {
		if n%2 == 0 {
			vips[addr] = VIP{Addr: addr, Nodes: only}
		}
	}
	held := map[netip.Addr]string{}
	for addr := range vips {
		held[addr] = "node-1"
	}
	if got := loads(Candidates(vips, everyNode, held)); got["node-1"] > 11 {
		t.Errorf("loads %v", got)
	}
}

func TestCandidatesListed(t *testing.T) {
	vips := spreadOf(100, 30)
	held := map[netip.Addr]string{}
	for vip := range vips {
		held[vip] = "node-7"
	}
	for vip, order := range Candidates(vips, everyNode, held) {
		if !slices.Contains(order, "node-7") {
			t.Errorf("%s: its holder is not listed: %v", vip, order)
		}
		if len(order) < MaxCandidates || len(order) > MaxCandidates+1 {
			t.Errorf("%s: %d candidates", vip, len(order))
		}
		sorted := slices.Sorted(slices.Values(order))
		if len(slices.Compact(sorted)) != len(order) {
			t.Errorf("%s: listed twice: %v", vip, order)
		}
	}
	if got := Candidates(spreadOf(3, 0), everyNode, nil); len(got) != 0 {
		t.Errorf("without nodes: %v", got)
	}
	if got := Candidates(spreadOf(3, 3), func(string) bool { return false }, nil); len(got) != 0 {
		t.Errorf("without live nodes: %v", got)
	}
}

// Random plans, random holders: every candidate is eligible and live, the answer does not depend on the order of maps, and it
// comes to rest.
func TestCandidatesOfRandomPlans(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		var kinds []map[string]Verdict
		for range 1 + random.IntN(6) {
			kind := map[string]Verdict{}
			for n := range 12 {
				kind[nodeName(n)] = Verdict{Eligible: random.IntN(3) > 0, Score: int32(random.IntN(2)), InSubnet: random.IntN(2) == 0}
			}
			kinds = append(kinds, kind)
		}
		vips := spreadOf(1+random.IntN(80), 0)
		held := map[netip.Addr]string{}
		for _, addr := range slices.SortedFunc(maps.Keys(vips), netip.Addr.Compare) {
			vips[addr] = VIP{Addr: addr, Nodes: kinds[random.IntN(len(kinds))]}
			held[addr] = nodeName(random.IntN(14))
		}
		dead := nodeName(random.IntN(12))
		live := func(node string) bool { return node != dead }
		got := Candidates(vips, live, held)
		for addr, order := range got {
			for _, node := range order {
				if !live(node) || !vips[addr].Nodes[node].Eligible {
					t.Fatalf("seed %d: %s has the candidate %s", seed, addr, node)
				}
			}
		}
		if diff := cmp.Diff(got, Candidates(vips, live, held)); diff != "" {
			t.Fatalf("seed %d: another answer to the same question: %s", seed, diff)
		}
		rested := false
		for range 5 {
			next := Candidates(vips, live, firsts(got))
			if rested = cmp.Equal(firsts(next), firsts(got)); rested {
				break
			}
			got = next
		}
		if !rested {
			t.Fatalf("seed %d: it does not come to rest", seed)
		}
	}
}

func betterThan(a, b Verdict) bool {
	return a.Score > b.Score || a.Score == b.Score && a.InSubnet && !b.InSubnet
}

// However nodes come and go, each move has a cause: its holder went, or held more than its share.
func TestMovesHaveACause(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 5))
		nodes, count := 3+random.IntN(10), 1+random.IntN(400)
		vips := spreadOf(count, nodes)
		up := make([]bool, nodes)
		for n := range up {
			up[n] = true
		}
		held := firsts(Candidates(vips, everyNode, nil))
		for range 30 {
			n := random.IntN(nodes)
			up[n] = !up[n]
			alive := 0
			live := map[string]bool{}
			for n := range up {
				live[nodeName(n)] = up[n]
				if up[n] {
					alive++
				}
			}
			if alive == 0 {
				up[n], live[nodeName(n)], alive = true, true, 1
			}
			orders := Candidates(vips, func(node string) bool { return live[node] }, held)
			was := map[string]int{}
			for _, holder := range held {
				was[holder]++
			}
			share := share(count, alive)
			for addr, order := range orders {
				if holder := held[addr]; order[0] != holder && live[holder] && was[holder] <= share {
					t.Fatalf("seed %d: %s moved from %s, which is there and holds %d; the share is %d", seed, addr, holder, was[holder], share)
				}
			}
			if got := fullest(orders); got > share {
				t.Fatalf("seed %d: the fullest of %d nodes has %d of %d", seed, alive, got, count)
			}
			held = firsts(orders)
		}
	}
}

// Where only some nodes are preferred, each VIP goes to one of them once, in whatever order holders hand theirs over, and what one of them holds stays
// unless it is more than its share of a tier that holds them all.
func TestPreferredNodesExchangeNothing(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 6))
		nodes, count := 3+random.IntN(4), 1+random.IntN(60)
		held := firsts(Candidates(spreadOf(count, nodes), everyNode, nil))
		preferred, verdicts := 1+random.IntN(nodes-1), map[string]Verdict{}
		for n := range nodes {
			verdicts[nodeName(n)] = Verdict{Eligible: true, InSubnet: true, Score: map[bool]int32{true: 10}[n < preferred]}
		}
		vips, share, moved := vipsWith(count, verdicts), share(count, preferred), map[netip.Addr]bool{}
		for {
			was := map[string]int{}
			for _, holder := range held {
				was[holder]++
			}
			var misplaced []netip.Addr
			orders := Candidates(vips, everyNode, held)
			for addr, order := range orders {
				if order[0] == held[addr] {
					continue
				}
				misplaced = append(misplaced, addr)
				if holder := held[addr]; verdicts[holder].Score > 0 && was[holder] <= share || moved[addr] {
					t.Fatalf("seed %d: %s is to move from %s, which holds %d of %d VIPs, to %s, one of %d preferred; has it moved before: %v",
						seed, addr, holder, was[holder], count, order[0], preferred, moved[addr])
				}
			}
			if len(misplaced) == 0 {
				if got := fullest(orders); got > share {
					t.Fatalf("seed %d: the fullest of %d preferred nodes has %d of %d", seed, preferred, got, count)
				}
				break
			}
			slices.SortFunc(misplaced, netip.Addr.Compare)
			addr := misplaced[random.IntN(len(misplaced))]
			held[addr], moved[addr] = orders[addr][0], true
		}
	}
}

func BenchmarkCandidates(b *testing.B) {
	for _, c := range []struct{ vips, nodes int }{{1000, 3}, {10000, 200}} {
		vips := spreadOf(c.vips, c.nodes)
		for _, state := range []string{"nobody holds", "held", "node gone"} {
			var held map[netip.Addr]string
			live := everyNode
			if state != "nobody holds" {
				held = firsts(Candidates(vips, everyNode, nil))
			}
			if state == "node gone" {
				live = func(node string) bool { return node != "node-1" }
			}
			b.Run(fmt.Sprintf("%d VIPs on %d nodes, %s", c.vips, c.nodes, state), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Candidates(vips, live, held)
				}
			})
		}
	}
}
