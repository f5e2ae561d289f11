// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// better makes the VIP, which n1 holds, one that another node should hold.
func (s *steps) better(other, reason string) {
	s.view.Targets = map[netip.Addr]Target{stepVIP: {Candidates: []string{other, "n1"}, Eligible: true, Better: reason}}
}

func namings(out Actions) bool { return len(out.Namings) > 0 }

// E10: a VIP moves to a better place by hand-over, once the node there has been a speaker, and heard, for ten seconds.
func TestE10MovesToABetterPlace(t *testing.T) {
	for _, reason := range []string{Rebalance, PreferredNode, NotInSubnet} {
		t.Run(reason, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.better("n2", reason)
			if out := s.pass(9 * time.Second); namings(out) {
				t.Fatalf("moved after less than ten seconds: %+v", out.Namings)
			}
			var out Actions
			s.until(3*time.Second, "request to a successor", func(step Actions) bool {
				out = step
				return namings(step)
			})
			if got := out.Namings[0]; got.Successor != "n2" || got.Reason != reason {
				t.Errorf("asked %+v, want n2 for %s", got, reason)
			}
			lease := s.view.Leases[stepVIP]
			lease.Holder, lease.Epoch = "n2", "n2/a"
			s.view.Leases[stepVIP] = lease
			if out := s.step(); len(out.Changes) > 0 {
				t.Errorf("stopped before the successor was heard: %+v", out.Changes)
			}
			out = s.step(Sighting{VIP: stepVIP, Node: "n2", MAC: "02:00:00:00:00:02"})
			if len(out.HandOvers) != 1 || len(out.Changes) != 1 {
				t.Fatalf("%d hand-overs, %d changes; want one of each", len(out.HandOvers), len(out.Changes))
			}
			if got := out.HandOvers[0]; got.To != "n2" || got.Reason != reason || got.Took <= 0 || got.Took > time.Second {
				t.Errorf("told of %+v", got)
			}
		})
	}
}

// E10: nothing moves without need while something is amiss.
func TestE10NothingMovesWhileSomethingIsAmiss(t *testing.T) {
	for name, amiss := range map[string]func(*steps){
		"it is turned off":               func(s *steps) { s.core.timing.RebalanceInterval = 0 },
		"the API server is away":         func(s *steps) { s.renewing = false },
		"the other backs off":            func(s *steps) { s.session("n2", func(session *Session) { session.BacksOff = true }) },
		"the other leaves":               func(s *steps) { s.session("n2", func(session *Session) { session.Leaving = true }) },
		"the other has begun anew":       func(s *steps) { s.session("n2", func(session *Session) { session.Since = s.view.Now }) },
		"the other cannot renew":         func(s *steps) { s.renews["n2"] = false; s.pass(4 * time.Second) },
		"the other gives its own away":   func(s *steps) { s.session("n2", func(session *Session) { session.GaveAt = s.view.Now }) },
		"the other has no session":       func(s *steps) { s.session("n2", func(session *Session) { session.Epoch = "" }) },
		"the other is silent":            func(s *steps) { s.hears["n2"] = false },
		"this one has no interface":      func(s *steps) { s.view.LinkDown = true },
		"this one backs off":             func(s *steps) { s.core.HoldOff(s.view.Now.Add(time.Minute)) },
		"the place it has is as good":    nil,
		"the records have not been read": func(s *steps) { s.view.Synced = false },
		"this one does not answer, it yields": func(s *steps) {
			vip := s.core.vips[stepVIP]
			vip.answering, vip.yielded, vip.yieldedAt = false, true, s.view.Now.Add(time.Hour) // no renewal since
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(15 * time.Second)
			better := Rebalance
			if amiss == nil {
				better = ""
			} else {
				amiss(s)
			}
			s.pass(3 * time.Second) // it takes some time to notice
			s.better("n2", better)
			for _, naming := range s.pass(5 * time.Second).Namings {
				if naming.Reason == Rebalance {
					t.Errorf("asked %s to take the VIP", naming.Successor)
				}
			}
		})
	}
}

func (s *steps) session(node string, change func(*Session)) {
	session := s.view.Sessions[node]
	change(&session)
	s.view.Sessions[node] = session
}

// E10: one VIP in an interval, whatever there is to move.
func TestE10MovesAreBounded(t *testing.T) {
	s := newSteps(t, 3, func(timing *Timing) { timing.RebalanceInterval = 2 * time.Second })
	address := stepVIP
	for range 50 {
		s.view.Targets[address] = Target{Candidates: []string{"n2", "n1"}, Eligible: true, Better: Rebalance}
		s.view.Leases[address] = Lease{VIP: address, Holder: "n1", Epoch: "n1/a", Object: s.view.Sessions["n1"].Object}
		address = address.Next()
	}
	s.pass(15 * time.Second)
	asked := map[netip.Addr]bool{}
	for _, naming := range s.pass(20 * time.Second).Namings {
		if naming.Successor != "" {
			asked[naming.VIP] = true
		}
	}
	if len(asked) < 9 || len(asked) > 11 {
		t.Errorf("%d VIPs were to move in 20 s, want one every 2 s", len(asked))
	}
}

// E10: a node that does not take what it is offered is not asked again and again, and nobody else is asked instead.
func TestE10RefusedMoveIsTakenBack(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(15 * time.Second)
	s.better("n2", Rebalance)
	asked, back := 0, 0
	for from := s.view.Now; s.view.Now.Sub(from) < 5*time.Minute; {
		for _, naming := range s.step().Namings {
			lease := s.view.Leases[stepVIP]
			lease.Successor = naming.Successor
			s.view.Leases[stepVIP] = lease
			switch naming.Successor {
			case "n2":
				asked++
			case "":
				back++
			default:
				t.Fatalf("asked %s", naming.Successor)
			}
		}
	}
	if asked != back || asked < 2 || asked > 4 {
		t.Errorf("asked %d times and took it back %d times in 5 minutes, want the same number, 2 to 4", asked, back)
	}
	if !s.core.Answering(stepVIP) {
		t.Error("stopped answering")
	}
}

// E10: where all candidates refuse, a node that is not listed takes the VIP in the end; but not one that backs off.
func TestE10SpareNodeTakesWhatAllCandidatesRefuse(t *testing.T) {
	others := []string{"n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}
	for name, backsOff := range map[string]bool{"it may": false, "it backs off": true} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 9, nil)
			s.freed()
			s.view.Targets = map[netip.Addr]Target{stepVIP: {Candidates: others, Eligible: true}}
			if backsOff {
				s.core.HoldOff(s.began.Add(time.Hour))
			}
			first := s.pass(s.core.timing.silence() + time.Duration(len(others))*s.core.timing.Stagger)
			if claims(first) {
				t.Error("claimed before every candidate had its turn")
			}
			if got := claims(s.pass(8 * time.Second)); got == backsOff {
				t.Errorf("claimed: %v", got)
			}
		})
	}
}

// E10: a node that backs off takes what nobody else may announce.
func TestE10LastResort(t *testing.T) {
	s := newSteps(t, 2, nil)
	s.freed()
	s.core.HoldOff(s.began.Add(time.Hour))
	s.candidates("n1")
	if claims(s.pass(5 * time.Second)) {
		t.Fatal("claimed in its back-off")
	}
	s.view.Targets = map[netip.Addr]Target{stepVIP: {Candidates: []string{"n1"}, Eligible: true, LastResort: true}}
	s.until(time.Second, "claim", claims)
}

// targetsOf computes what a VIP is to a node.
func targetsOf(node string, vips map[netip.Addr]plan.VIP, live, backsOff []string, held map[netip.Addr]string) map[netip.Addr]Target {
	in := inputs{node: node, plan: vips, held: held, live: map[string]bool{}, reserve: map[string]bool{}}
	for _, each := range live {
		in.live[each], in.reserve[each] = true, true
	}
	for _, each := range backsOff {
		in.live[each], in.reserve[each] = false, true
	}
	return in.targets()
}

func planOf(vips int, verdicts map[string]plan.Verdict) map[netip.Addr]plan.VIP {
	planned := map[netip.Addr]plan.VIP{}
	address := stepVIP
	for range vips {
		planned[address] = plan.VIP{Addr: address, Nodes: verdicts}
		address = address.Next()
	}
	return planned
}

// What a VIP is to a node: why it should move, and who takes what only nodes that back off may announce.
func TestTargets(t *testing.T) {
	both := func(n1, n2 plan.Verdict) map[string]plan.Verdict {
		n1.Eligible, n2.Eligible = true, true
		return map[string]plan.Verdict{"n1": n1, "n2": n2}
	}
	for name, test := range map[string]struct {
		verdicts       map[string]plan.Verdict
		vips           int
		live, backsOff []string
		heldBy, better string
		lastResort     bool
	}{
		"in its place":                          {both(plan.Verdict{}, plan.Verdict{}), 1, []string{"n1", "n2"}, nil, "n1", "", false},
		"a preferred node":                      {both(plan.Verdict{InSubnet: true}, plan.Verdict{Score: 10}), 1, []string{"n1", "n2"}, nil, "n1", PreferredNode, false},
		"a node in the subnet":                  {both(plan.Verdict{}, plan.Verdict{InSubnet: true}), 1, []string{"n1", "n2"}, nil, "n1", NotInSubnet, false},
		"more than its share":                   {both(plan.Verdict{}, plan.Verdict{}), 2, []string{"n1", "n2"}, nil, "n1", Rebalance, false},
		"the better node backs off":             {both(plan.Verdict{}, plan.Verdict{Score: 10}), 1, []string{"n1"}, []string{"n2"}, "n1", "", false},
		"all back off":                          {both(plan.Verdict{}, plan.Verdict{}), 1, nil, []string{"n1", "n2"}, "", "", true},
		"held by another that has its share":    {both(plan.Verdict{}, plan.Verdict{}), 1, []string{"n1", "n2"}, nil, "n2", "", false},
		"held by another that should hand over": {both(plan.Verdict{Score: 10}, plan.Verdict{}), 1, []string{"n1", "n2"}, nil, "n2", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			planned := planOf(test.vips, test.verdicts)
			held := map[netip.Addr]string{}
			for vip := range planned {
				held[vip] = test.heldBy
			}
			var better []string
			for _, target := range targetsOf("n1", planned, test.live, test.backsOff, held) {
				if target.Better != "" {
					better = append(better, target.Better)
				}
				if target.LastResort != test.lastResort || len(target.Candidates) == 0 || !target.Eligible {
					t.Errorf("target %+v, want last resort %v", target, test.lastResort)
				}
			}
			if got := slices.Equal(better, []string{test.better}) || len(better) == 0 && test.better == ""; !got {
				t.Errorf("better places %v, want %q", better, test.better)
			}
		})
	}
}

// E10: in random histories of nodes that come and go, moves come to an end after each change, and no VIP moves twice on the average. In a
// round each holder moves one, by what it sees now or saw a round ago: nobody waits for anybody.
func TestE10MovesComeToAnEnd(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			nodes, vips := 2+random.IntN(7), 1+random.IntN(120)
			verdicts, present := map[string]plan.Verdict{}, map[string]bool{}
			var names []string
			for i := range nodes {
				name := fmt.Sprintf("n%d", i)
				names = append(names, name)
				verdicts[name], present[name] = plan.Verdict{Eligible: true, InSubnet: random.IntN(8) > 0, Score: int32(random.IntN(6) / 5)}, true
			}
			planned, held := planOf(vips, verdicts), map[netip.Addr]string{}
			for range 12 {
				if each := names[random.IntN(nodes)]; present[each] {
					present[each] = len(liveOf(present)) == 1
				} else {
					present[each] = true
				}
				live := liveOf(present)
				for vip, target := range targetsOf(live[0], planned, live, nil, held) { // what is free is claimed by who stands first
					if !present[held[vip]] {
						held[vip] = target.Candidates[0]
					}
				}
				moves, before := 0, held
				for {
					moved := map[netip.Addr]string{}
					for _, node := range live {
						seen := held
						if random.IntN(2) == 0 {
							seen = before
						}
						for vip, target := range targetsOf(node, planned, live, nil, seen) {
							if target.Better != "" && held[vip] == node {
								moved[vip] = target.Candidates[0]
								break
							}
						}
					}
					if len(moved) == 0 && maps.Equal(before, held) {
						break
					}
					before, held = held, maps.Clone(held)
					maps.Copy(held, moved)
					if moves += len(moved); moves > vips {
						t.Fatalf("%d moves of %d VIPs on %v, and no end", moves, vips, live)
					}
				}
				for _, node := range live {
					for vip, target := range targetsOf(node, planned, live, nil, held) {
						if target.Better != "" {
							t.Fatalf("%s should move from %s still: %s", vip, node, target.Better)
						}
					}
				}
			}
		})
	}
}

func liveOf(present map[string]bool) []string {
	var live []string
	for node, is := range present {
		if is {
			live = append(live, node)
		}
	}
	slices.Sort(live)
	return live
}

// E10: a node that comes back takes its share again, slowly, and no client notices; then nothing moves any more.
func TestE10NodeComesBackAndTakesItsShare(t *testing.T) {
	inWorld(t, 3, 12, func(w *world) {
		w.pass(atRest)
		w.node("node-1").crash()
		w.pass(5 * time.Second)
		w.settled()
		w.node("node-1").restart()
		w.pass(settled)
		from := time.Now()
		if count := countOf(w, "node-1"); count > 2 {
			t.Errorf("node-1 has taken %d VIPs within %v of its return", count, settled)
		}
		w.pass(15 * time.Second)
		if count := countOf(w, "node-1"); count != 4 {
			t.Errorf("node-1 has %d of 12 VIPs again, want its share of 4", count)
		}
		if gap, overlap := w.gap(from); gap > 0 || overlap > 50*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want none and at most 50 ms", gap, overlap)
		}
		before := w.settled()
		w.pass(time.Minute)
		for vip, holder := range w.settled() {
			if before[vip] != holder {
				t.Errorf("%s moved from %s to %s, and nothing had changed", vip, before[vip], holder)
			}
		}
	})
}

func countOf(w *world, node string) int {
	count := 0
	for _, holder := range w.settled() {
		if holder == node {
			count++
		}
	}
	return count
}
