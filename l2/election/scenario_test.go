// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// atRest is how long a world takes from nothing to calm: sessions, the time of listening, claims and hand-shakes.
const atRest = 5 * time.Second

// E2: each VIP is answered by the one node that its Lease names, and three VIPs on three nodes are one each.
func TestE2OneHolderByLease(t *testing.T) {
	inWorld(t, 3, 3, func(w *world) {
		w.pass(atRest)
		perNode := map[string]int{}
		for _, node := range w.settled() {
			perNode[node]++
		}
		if len(perNode) != 3 {
			t.Errorf("VIPs per node %v, want one each", perNode)
		}
	})
}

// E1: at rest the only API writes are one renewal per speaker and period, and there is no read.
func TestE1CostAtRestDoesNotGrowWithVIPs(t *testing.T) {
	inWorld(t, 3, 50, func(w *world) {
		w.pass(10 * time.Second)
		w.settled()
		writes, reads := w.api.counts()
		w.pass(60 * time.Second)
		afterWrites, afterReads := w.api.counts()
		if got, most := afterWrites-writes, 3*61; got > most {
			t.Errorf("%d writes in a minute by 3 speakers with 50 VIPs, want at most %d", got, most)
		}
		if got := afterReads - reads; got != 0 {
			t.Errorf("%d reads in a minute at rest, want none", got)
		}
	})
}

// E4 b: a dead node is fenced by its silence on the LAN, long before its session would run out.
func TestE4CrashIsFencedBySilence(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		victim := w.settled()[w.vip(0)]
		w.node(victim).crash()
		w.pass(5 * time.Second)
		gap, overlap := w.gap(from)
		if gap > 900*time.Millisecond || overlap > 0 {
			t.Errorf("gap %v, overlap %v; want at most 0.9 s and none", gap, overlap)
		}
		for vip, node := range w.settled() {
			if node == victim {
				t.Errorf("%s is still held by %s, which is dead", vip, victim)
			}
		}
	})
}

// E4: where no third speaker can bear witness, the gateway does; without one, or without heartbeats, the session's own duration decides.
func TestE4WhoBearsWitness(t *testing.T) {
	for _, test := range []struct {
		name   string
		nodes  int
		change func(*world)
		fault  func(*node)
		gap    time.Duration
	}{
		{"two nodes, one dies, the gateway answers", 2, func(*world) {}, (*node).crash, 1100 * time.Millisecond},
		{"two nodes, one speaker is killed, its node answers", 2, func(*world) {}, (*node).kill, 2600 * time.Millisecond},
		{"two nodes, one dies, there is no gateway", 2, func(w *world) { w.noGateway = true }, (*node).crash, 5500 * time.Millisecond},
		{"three nodes, one dies, multicast is filtered", 3, func(w *world) { w.filtered = true }, (*node).crash, 5500 * time.Millisecond},
		{"three nodes, one speaker is killed", 3, func(*world) {}, (*node).kill, 900 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorldWith(t, test.nodes, 3, test.change, func(w *world) {
				w.pass(atRest)
				from := time.Now()
				test.fault(w.node(w.settled()[w.vip(0)]))
				w.pass(10 * time.Second)
				if gap, overlap := w.gap(from); gap > test.gap || overlap > 0 {
					t.Errorf("gap %v, overlap %v; want at most %v and none", gap, overlap, test.gap)
				}
				w.settled()
			})
		})
	}
}

// E4 b: heartbeats that are blocked end no session while those who would send them renew.
func TestE4FilteredMulticastFencesNobody(t *testing.T) {
	for _, nodes := range []int{2, 3} {
		inWorld(t, nodes, 3, func(w *world) {
			w.pass(atRest)
			before := w.settled()
			for _, node := range w.all() {
				node.change(func(now *weather) { now.muted = true })
			}
			w.pass(time.Minute)
			for vip, holder := range w.settled() {
				if before[vip] != holder {
					t.Errorf("%d nodes: %s moved from %s to %s", nodes, vip, before[vip], holder)
				}
			}
			for _, node := range w.all() {
				if lease := w.api.lease(names.SessionLease(node.name)); lease.Annotations[names.AnnotationFencedBy] != "" || *lease.Spec.LeaseTransitions > 1 {
					t.Errorf("%d nodes: the session of %s was ended", nodes, node.name)
				}
			}
		})
	}
}

// A node that is cut off cannot know that it was fenced; when it is back it must not answer beside its successor. Nor must
// one that saw its cable go, which has stopped answering meanwhile.
func TestE7NodeYieldsWhenItIsBack(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(*node, bool)
		// overlap that is allowed once it is back
		overlap time.Duration
	}{
		{"frames dropped at the switch", (*node).setCut, 500 * time.Millisecond},
		{"cable pulled", (*node).setCable, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, 3, 3, func(w *world) {
				w.pass(atRest)
				from := time.Now()
				victim := w.settled()[w.vip(0)]
				test.cut(w.node(victim), true)
				w.pass(20 * time.Second)
				if gap, overlap := w.gap(from); gap > 900*time.Millisecond || overlap > 0 {
					t.Errorf("cut: gap %v, overlap %v; want at most 0.9 s and none", gap, overlap)
				}
				from = time.Now()
				test.cut(w.node(victim), false)
				w.pass(10 * time.Second)
				if gap, overlap := w.gap(from); gap > 0 || overlap > test.overlap {
					t.Errorf("healed: gap %v, overlap %v; want none and at most %v", gap, overlap, test.overlap)
				}
				w.settled()
			})
		})
	}
}

// E6: an API outage moves nothing and takes nothing away, also when the API server is back.
func TestE6OutageOfTheAPIServerMovesNothing(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		before := w.settled()
		for _, node := range w.all() {
			node.setAPIAway(true)
		}
		w.pass(time.Minute)
		for _, node := range w.all() {
			node.setAPIAway(false)
		}
		w.pass(10 * time.Second)
		if gap, overlap := w.gap(from); gap > 0 || overlap > 0 {
			t.Errorf("gap %v, overlap %v; want none", gap, overlap)
		}
		for vip, node := range w.settled() {
			if before[vip] != node {
				t.Errorf("%s moved from %s to %s", vip, before[vip], node)
			}
		}
	})
}

// E6, E4: one node loses the API and keeps its VIPs until it is fenced by its session; then its peers answer, and it hears them.
func TestE6OneNodeLosesTheAPI(t *testing.T) {
	inWorld(t, 3, 3, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		victim := w.settled()[w.vip(0)]
		w.node(victim).setAPIAway(true)
		w.pass(20 * time.Second)
		if gap, overlap := w.gap(from); gap > 100*time.Millisecond || overlap > 500*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want at most 0.1 s and 0.5 s", gap, overlap)
		}
		w.node(victim).setAPIAway(false)
		w.pass(20 * time.Second)
		w.settled()
	})
}

// E6: a speaker that was told to withdraws, once, when its session has run out, and answers again when it is back.
func TestE6WithdrawOnAPILoss(t *testing.T) {
	inWorldWith(t, 1, 2, func(w *world) { w.withdraw = true }, func(w *world) {
		w.pass(atRest)
		w.settled()
		node := w.node("node-1")
		node.setAPIAway(true)
		w.pass(3 * time.Second)
		if who := w.who(w.vip(0)); len(who) != 1 {
			t.Errorf("answered by %v before the session ran out, want node-1", who)
		}
		w.pass(15 * time.Second)
		if who := w.who(w.vip(0)); len(who) != 0 || node.withdrawals != 2 {
			t.Errorf("answered by %v after %d withdrawals of 2 VIPs, want nobody after 2", who, node.withdrawals)
		}
		node.setAPIAway(false)
		w.pass(10 * time.Second)
		w.settled()
	})
}

// E9: a node whose LAN is cut while it still reaches the API server gives its VIPs away, also where heartbeats never came through.
func TestE9IsolatedNodeGivesItsVIPsAway(t *testing.T) {
	for _, test := range []struct {
		name   string
		nodes  int
		change func(*world)
		fault  func(*node)
	}{
		{"three nodes", 3, func(*world) {}, func(n *node) { n.setLANCut(true) }},
		{"three nodes, multicast is filtered", 3, func(w *world) { w.filtered = true }, func(n *node) { n.setLANCut(true) }},
		{"two nodes, the cable is pulled, there is no gateway", 2, func(w *world) { w.noGateway = true }, func(n *node) {
			n.setLANCut(true)
			n.speaker.SetInterfaces(nil)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorldWith(t, test.nodes, 3, test.change, func(w *world) {
				w.pass(atRest)
				from := time.Now()
				victim := w.settled()[w.vip(0)]
				test.fault(w.node(victim))
				w.pass(20 * time.Second)
				if gap, _ := w.gap(from); gap > 2500*time.Millisecond {
					t.Errorf("gap %v, want at most 2.5 s", gap)
				}
				for vip, node := range w.settled() {
					if node == victim {
						t.Errorf("%s is still held by %s", vip, victim)
					}
				}
			})
		})
	}
}

// E6, E10: session Leases deleted by hand take no VIP away, and cost no back-off.
func TestSessionsDeletedByHandInterruptNothing(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		inWorld(t, nodes, 3, func(w *world) {
			w.pass(atRest)
			w.settled()
			from := time.Now()
			for _, node := range w.all() {
				w.api.delete(names.SessionLease(node.name))
			}
			w.pass(10 * time.Second)
			if gap, overlap := w.gap(from); gap > 20*time.Millisecond || overlap > 50*time.Millisecond {
				t.Errorf("%d nodes: gap %v, overlap %v; want at most 20 ms and 50 ms", nodes, gap, overlap)
			}
			w.settled()
		})
	}
}

// E8: when all speakers are told to stop at once, none waits for another to take its VIPs.
func TestE8AllStopAtOnce(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		for _, node := range w.all() {
			node.stop()
		}
		for _, node := range w.all() {
			node.ended <- <-node.ended
		}
		if took := time.Since(from); took > 4*time.Second {
			t.Errorf("stopping took %v, want at most 4 s", took)
		}
	})
}

// A successor written on a Lease by hand costs no more than the write that takes it back.
func TestSuccessorWrittenByHandIsTakenBack(t *testing.T) {
	inWorld(t, 3, 1, func(w *world) {
		w.pass(atRest)
		before := w.settled()[w.vip(0)]
		w.exclude(before, true)
		w.pass(2 * time.Second)
		holder := w.settled()[w.vip(0)]
		_, reads := w.api.counts()
		lease := w.api.lease(names.VIPLease(w.vip(0)))
		lease.Annotations[names.AnnotationSuccessor] = before
		if _, err := w.api.put(lease, false); err != nil {
			t.Fatal(err)
		}
		w.pass(10 * time.Second)
		if got := w.settled()[w.vip(0)]; got != holder {
			t.Errorf("moved from %s to %s", holder, got)
		}
		if _, after := w.api.counts(); after-reads > 5 {
			t.Errorf("%d reads, want at most 5", after-reads)
		}
		if got := w.api.lease(names.VIPLease(w.vip(0))).Annotations[names.AnnotationSuccessor]; got != "" {
			t.Errorf("successor is still %q", got)
		}
	})
}

// E8: a speaker that stops hands its VIPs over before it stops answering.
func TestE8StopIsMakeBeforeBreak(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		victim := w.settled()[w.vip(0)]
		if err := w.node(victim).leave(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(from); took > 2*time.Second {
			t.Errorf("stopping took %v, want at most 2 s", took)
		}
		w.pass(2 * time.Second)
		if gap, overlap := w.gap(from); gap > 0 || overlap > 50*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want none and at most 50 ms", gap, overlap)
		}
		w.settled()
		if session := w.api.lease(names.SessionLease(victim)); holder(session) != "" {
			t.Errorf("session of the stopped speaker is still held by %q", holder(session))
		}
	})
}

// E8: so does a node that loses its eligibility; it keeps its session.
func TestE8CordonIsMakeBeforeBreak(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		victim := w.settled()[w.vip(0)]
		w.exclude(victim, true)
		w.pass(3 * time.Second)
		if gap, overlap := w.gap(from); gap > 0 || overlap > 50*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want none and at most 50 ms", gap, overlap)
		}
		for vip, node := range w.settled() {
			if node == victim {
				t.Errorf("%s stayed on %s", vip, victim)
			}
		}
	})
}

// E8: a VIP that no other node may announce stays until its speaker has stopped.
func TestE8LastNodeStopsWithoutWaiting(t *testing.T) {
	inWorld(t, 1, 2, func(w *world) {
		w.pass(atRest)
		w.settled()
		from := time.Now()
		if err := w.node("node-1").leave(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(from); took > time.Second {
			t.Errorf("stopping took %v, want at most 1 s", took)
		}
	})
}

// E1: a speaker that starts ends its predecessor's session: what the dead process held is free at once.
func TestE1RestartEndsThePredecessorsSession(t *testing.T) {
	inWorld(t, 1, 2, func(w *world) {
		w.pass(atRest)
		w.settled()
		before := holder(w.api.lease(names.SessionLease("node-1")))
		w.node("node-1").crash()
		if got := holder(w.api.lease(names.SessionLease("node-1"))); got != before {
			t.Fatalf("a crash must not write: session %q became %q", before, got)
		}
		from := time.Now()
		w.node("node-1").restart()
		w.pass(2 * time.Second)
		w.settled()
		if after := holder(w.api.lease(names.SessionLease("node-1"))); after == before || after == "" {
			t.Errorf("epoch %q before and %q after the restart", before, after)
		}
		if gap, _ := w.gap(from); gap > 1500*time.Millisecond {
			t.Errorf("gap %v after the restart, want at most 1.5 s", gap)
		}
	})
}

// A VIP that no Service uses any more is withdrawn and its Lease given back.
func TestServiceDeletedReleasesTheLease(t *testing.T) {
	inWorld(t, 3, 2, func(w *world) {
		w.pass(atRest)
		w.settled()
		gone := w.vip(1)
		w.mu.Lock()
		delete(w.vips, gone)
		w.mu.Unlock()
		for _, node := range w.all() {
			node.speaker.SetPlan(w.plan())
		}
		w.pass(time.Second)
		if lease := w.api.lease(names.VIPLease(gone)); holder(lease) != "" {
			t.Errorf("Lease still held by %q", holder(lease))
		}
		if who := w.who(gone); len(who) != 0 {
			t.Errorf("%v still answer for %s", who, gone)
		}
	})
}
