// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const strangerMAC = "02:ff:00:00:00:01"

func stranger() Sighting { return Sighting{VIP: stepVIP, MAC: strangerMAC, Interface: "eth0"} }

// A VIP that was never held is probed three times and claimed half a second after the first probe.
func TestFirstClaimProbes(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.until(2*time.Second, "probe", func(out Actions) bool { return len(out.Probes) > 0 })
	probes := 1
	took := s.until(time.Second, "claim", func(out Actions) bool {
		probes += len(out.Probes)
		return claims(out)
	})
	if probes != 3 || took > 600*time.Millisecond || took < 400*time.Millisecond {
		t.Errorf("%d probes and a claim %v after the first, want 3 and half a second", probes, took)
	}
}

// A failover never waits for a probe: what was held once is claimed at once.
func TestFailoverDoesNotProbe(t *testing.T) {
	for name, change := range map[string]func(*steps){
		"released, by its Lease": (*steps).freed,
		"its holder's epoch has ended": func(s *steps) {
			s.held("n2")
			session := s.view.Sessions["n2"]
			session.Epoch = ""
			s.view.Sessions["n2"] = session
		},
		"its Lease was deleted by hand": func(s *steps) {
			s.held("n2")
			s.step()
			delete(s.view.Leases, stepVIP)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n3")
			s.pass(2 * time.Second)
			change(s)
			if out := s.step(); !claims(out) || len(out.Probes) > 0 {
				t.Errorf("claims %v, probes %v; want one claim and no probe", out.Claims, out.Probes)
			}
		})
	}
}

// Only whose turn it is probes: the next candidate waits until the first had time to probe and claim.
func TestFirstClaimIsProbedByTheFirstCandidate(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.candidates("n2", "n1", "n3")
	s.pass(s.core.timing.silence()) // it listens after its start
	if out := s.pass(700 * time.Millisecond); len(out.Probes) > 0 || claims(out) {
		t.Errorf("probes %v and claims %v in the first candidate's turn", out.Probes, out.Claims)
	}
	s.until(time.Second, "claim", claims)
}

// A host that answers, and is no speaker, is a conflict: no claim, the mark on the Lease, one notice, and another try every 30 s.
func TestConflictBeforeFirstClaim(t *testing.T) {
	s := newSteps(t, 3, nil)
	var out Actions
	took := s.until(8*time.Second, "conflict", func(step Actions) bool {
		out = step
		return len(step.Marks) > 0
	}, stranger())
	if took > 5*time.Second {
		t.Errorf("the conflict was certain after %v, want at most 5 s", took)
	}
	mark := out.Marks[0].Conflict
	if mark.MAC != strangerMAC || mark.Interface != "eth0" || mark.Node != "n1" || !mark.Time.Equal(s.view.Now) {
		t.Errorf("marked %+v", mark)
	}
	if len(out.Conflicts) != 1 || !out.Conflicts[0].Unclaimed {
		t.Errorf("told %+v, want one conflict of an unclaimed VIP", out.Conflicts)
	}
	s.view.Leases[stepVIP] = Lease{VIP: stepVIP, NeverHeld: true, Contested: true, ContestedBy: mark.MAC, Object: &coordinationv1.Lease{}}
	if out := s.pass(29*time.Second, stranger()); len(out.Probes) > 0 || claims(out) {
		t.Errorf("%d probes, %d claims before the 30 s are over", len(out.Probes), len(out.Claims))
	}
	if out := s.pass(5*time.Minute, stranger()); claims(out) || len(out.Marks) > 0 || len(out.Conflicts) > 0 || len(out.Probes) < 15 {
		t.Errorf("the same conflict for 5 minutes: %d claims, %d marks, %d notices, %d probes", len(out.Claims), len(out.Marks), len(out.Conflicts), len(out.Probes))
	}
	if took := s.until(32*time.Second, "claim once the stranger is gone", claims); took < time.Second/2 {
		t.Errorf("claimed %v after the stranger fell silent, without a probe", took)
	}
}

// A host that asks for the same VIP at the same time is a conflict, if it goes on; a speaker that does is none, and neither is anybody who asks
// for a VIP that is held.
func TestRivals(t *testing.T) {
	rival := stranger()
	rival.Rival = true
	other := rival
	other.Node, other.MAC = "n2", "02:00:00:00:00:02"
	t.Run("a stranger", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.until(8*time.Second, "conflict", func(out Actions) bool { return len(out.Marks) > 0 }, rival)
	})
	t.Run("a speaker", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.until(2*time.Second, "claim", claims, other)
	})
	t.Run("on a held VIP", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.held("n1")
		s.pass(2 * time.Second)
		if out := s.pass(5*time.Second, rival, other); len(out.Reannounce) > 0 || len(out.Conflicts) > 0 || len(out.Changes) > 0 {
			t.Errorf("announced %v, told %v, changed %v", out.Reannounce, out.Conflicts, out.Changes)
		}
	})
}

// In the world: nobody announces a VIP that another host has, its Lease says who has it, and when that host is gone it is announced as others are.
func TestConflictInTheWorld(t *testing.T) {
	taken := netip.AddrFrom4([4]byte{192, 168, 1, 200})
	inWorldWith(t, 3, 3, func(w *world) { w.strangers[taken] = strangerMAC }, func(w *world) {
		w.pass(10 * time.Second)
		if who := w.who(taken); len(who) > 0 {
			t.Errorf("answered by %v, though another host has it", who)
		}
		lease := w.api.lease(names.VIPLease(taken))
		if lease == nil || holder(lease) != "" || lease.Labels[names.LabelLease] != names.LeaseVIP || lease.Labels[names.LabelPool] != "pool" {
			t.Fatalf("Lease %v", lease)
		}
		conflict, err := names.ParseConflict(lease.Annotations[names.AnnotationConflict])
		if err != nil || conflict.MAC != strangerMAC || conflict.Interface != "eth0" {
			t.Errorf("conflict %+v, %v", conflict, err)
		}
		told := 0
		for _, node := range w.all() {
			told += node.conflicts
		}
		writes := lease.ResourceVersion
		w.pass(2 * time.Minute)
		for _, node := range w.all() {
			told -= node.conflicts
		}
		if lease := w.api.lease(names.VIPLease(taken)); told != 0 || lease.ResourceVersion != writes {
			t.Errorf("told again %d times, written again %v", -told, lease.ResourceVersion != writes)
		}
		w.mu.Lock()
		delete(w.strangers, taken)
		w.mu.Unlock()
		w.pass(35 * time.Second)
		w.settled()
		if _, still := w.api.lease(names.VIPLease(taken)).Annotations[names.AnnotationConflict]; still {
			t.Error("the annotation is still there")
		}
	})
}

// A VIP that is the gateway's address, or that of a node, is in conflict as any other: that it answers is not only news of the gateway or the node.
func TestConflictWithTheGateway(t *testing.T) {
	node := netip.AddrFrom4([4]byte{192, 168, 0, 2})
	inWorldWith(t, 3, 2, func(w *world) {
		for i, address := range []netip.Addr{gatewayAddress, node} {
			vip := w.vips[w.vip(i)]
			delete(w.vips, w.vip(i))
			vip.Addr = address
			w.vips[address], w.strangers[address] = vip, fmt.Sprintf("02:00:00:00:f0:0%d", i)
		}
	}, func(w *world) {
		w.pass(15 * time.Second)
		for _, address := range []netip.Addr{gatewayAddress, node} {
			if who := w.who(address); len(who) > 0 {
				t.Errorf("%s is answered by %v, though another host has it", address, who)
			}
			lease := w.api.lease(names.VIPLease(address))
			if lease == nil || lease.Annotations[names.AnnotationConflict] == "" {
				t.Errorf("%s: no conflict on the Lease %v", address, lease)
			}
		}
	})
}

// A VIP that is an address of a node, which the plan refuses, is marked by that node, whether it was held or not, and announced by nobody.
func TestConflictWithANode(t *testing.T) {
	refused := Target{Reason: string(plan.AddressOfNode)}
	for name, before := range map[string]func(*steps){
		"never held":       func(*steps) {},
		"held by the node": func(s *steps) { s.held("n1"); s.pass(2 * time.Second) },
		"held before":      (*steps).freed,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			before(s)
			s.view.Targets = map[netip.Addr]Target{stepVIP: refused}
			s.view.Own = ownAddresses([]LocalInterface{{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []netip.Prefix{netip.PrefixFrom(stepVIP, 24)}}})
			out := s.pass(time.Second)
			if s.core.Answering(stepVIP) || name == "held by the node" && len(out.Releases) == 0 {
				t.Errorf("answers %v, releases %v", s.core.Answering(stepVIP), out.Releases)
			}
			if name == "held by the node" {
				s.freed()
			}
			later := s.pass(28 * time.Second)
			out.Marks, out.Claims, out.Probes = append(out.Marks, later.Marks...), append(out.Claims, later.Claims...), append(out.Probes, later.Probes...)
			if len(out.Marks) != 1 || claims(out) || len(out.Probes) > 0 {
				t.Fatalf("marks %+v, claims %v, probes %v; want one mark", out.Marks, out.Claims, out.Probes)
			}
			if mark := out.Marks[0].Conflict; mark.MAC != "02:00:00:00:00:01" || mark.Interface != "eth0" || mark.Node != "n1" {
				t.Errorf("marked %+v", mark)
			}
			s.view.Leases[stepVIP] = Lease{VIP: stepVIP, Contested: true, Object: &coordinationv1.Lease{}}
			if out := s.pass(2 * time.Minute); len(out.Marks) > 0 {
				t.Errorf("marked again: %+v", out.Marks)
			}
			s.view.Own = nil
			s.candidates("n1", "n2", "n3")
			s.until(32*time.Second, "claim once the node has the address no more", claims)
		})
	}
	t.Run("of another node", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.view.Targets = map[netip.Addr]Target{stepVIP: refused}
		if out := s.pass(40 * time.Second); len(out.Marks) > 0 || claims(out) {
			t.Errorf("marks %+v, claims %+v", out.Marks, out.Claims)
		}
	})
}

// Another speaker that answers is none, even if its hardware address is on its session only a moment later.
func TestNoConflictWithASpeaker(t *testing.T) {
	for name, appears := range map[string]time.Duration{"known": 0, "on its session after 1 s": time.Second, "after 5 s, its session naming none before": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.view.MACs.Complete = appears < 5*time.Second
			sees := func() Sighting { // the speaker resolves the address when it hears it
				sighting := stranger()
				sighting.Node = s.view.MACs.Node(strangerMAC)
				return sighting
			}
			for s.view.Now.Sub(s.began) < 10*time.Second {
				if s.view.Now.Sub(s.began) >= appears {
					s.view.MACs.Nodes[strangerMAC], s.view.MACs.Complete = "n2", true
				}
				out := s.step(sees())
				if len(out.Marks) > 0 || len(out.Conflicts) > 0 {
					t.Fatalf("after %v: conflict with n2: %+v", s.view.Now.Sub(s.began), out.Conflicts)
				}
				if claims(out) {
					return
				}
			}
			t.Error("never claimed")
		})
	}
}

// A stranger that announces a VIP which is held is answered at once, and told of when it is surely none of the speakers.
func TestStrangerOnAHeldVIP(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(2 * time.Second)
	if out := s.step(stranger()); len(out.Reannounce) != 1 || len(out.Conflicts) > 0 {
		t.Errorf("defended %v, told %v; want one defence and nothing told yet", out.Reannounce, out.Conflicts)
	}
	out := s.pass(9 * time.Second)
	if len(out.Conflicts) != 1 || out.Conflicts[0].MAC != strangerMAC || out.Conflicts[0].Unclaimed {
		t.Errorf("told %+v, want the conflict once", out.Conflicts)
	}
	if !s.core.Answering(stepVIP) {
		t.Error("a stranger made the holder stop")
	}
	s.step(stranger())
	s.view.MACs.Nodes[strangerMAC] = "n2"
	if out := s.pass(12 * time.Second); len(out.Conflicts) > 0 {
		t.Errorf("told %+v of what is a speaker's address by now", out.Conflicts)
	}
}

// A successor whose hardware address is not known yet is not defended against: the VIP is being handed to it.
func TestSuccessorIsNotDefendedAgainst(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(2 * time.Second)
	s.view.Leaving = true
	s.until(time.Second, "naming", func(out Actions) bool { return len(out.Namings) > 0 })
	if out := s.step(stranger()); len(out.Reannounce) > 0 {
		t.Error("announced against the successor")
	}
}

// Many new VIPs are probed a few at a time.
func TestProbesAreBounded(t *testing.T) {
	s := newSteps(t, 1, nil)
	target := s.view.Targets[stepVIP]
	address := stepVIP
	for range 1000 {
		address = address.Next()
		s.view.Targets[address] = target
	}
	for range 60 {
		if out := s.step(); len(out.Probes) > 3*probesStarted {
			t.Fatalf("%d probes in one step", len(out.Probes))
		}
		s.core.ClaimEnded(stepVIP, false, s.view.Now)
	}
	claimed := 0
	for _, vip := range s.core.vips {
		if vip.claiming {
			claimed++
		}
	}
	if claimed < 1000 {
		t.Errorf("%d of 1,001 VIPs claimed after 6 s", claimed)
	}
}

// When very many VIPs are new, the second candidate gives the first more time for each.
func TestProbesOfSecondCandidatesWaitForABacklog(t *testing.T) {
	for _, test := range []struct {
		vips        int
		least, most time.Duration
	}{
		{1, 800 * time.Millisecond, 2 * time.Second},
		{100, 10 * time.Second, 12 * time.Second},
	} {
		s := newSteps(t, 3, nil)
		target := s.view.Targets[stepVIP]
		target.Candidates = []string{"n2", "n1"}
		address := stepVIP
		for range test.vips {
			s.view.Targets[address] = target
			address = address.Next()
		}
		began := s.view.Now
		s.until(time.Minute, "probes", func(out Actions) bool { return len(out.Probes) > 0 })
		if waited := s.view.Now.Sub(began); waited < test.least || waited > test.most {
			t.Errorf("%d VIPs: probed after %v, want %v to %v", test.vips, waited, test.least, test.most)
		}
	}
}

// The mark can be read back from the Lease, and the claim removes it.
func TestRecordsReadAConflict(t *testing.T) {
	conflict := names.Conflict{MAC: strangerMAC, Interface: "eth0", Node: "n1", Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for name, test := range map[string]struct {
		text string
		want string
	}{"as written": {conflict.Format(), strangerMAC}, "by hand": {"yes", ""}} {
		t.Run(name, func(t *testing.T) {
			object := &coordinationv1.Lease{}
			object.Name, object.ResourceVersion = names.VIPLease(stepVIP), "7"
			object.Annotations = map[string]string{names.AnnotationConflict: test.text}
			records := NewRecords()
			records.Watched(object, time.Time{})
			lease := records.leases[stepVIP]
			if !lease.Contested || !lease.NeverHeld || lease.ContestedBy != test.want {
				t.Errorf("read %+v", lease)
			}
		})
	}
}
