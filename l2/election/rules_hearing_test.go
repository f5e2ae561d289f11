// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// E5: a node whose decision loop is stuck, or whose process stands still, does not go on answering for what may be another's.
func TestE5StuckLoopFallsSilent(t *testing.T) {
	t.Run("a stuck loop answers for 250 ms, and again once it has run", func(t *testing.T) {
		inWorld(t, 1, 2, func(w *world) {
			w.pass(atRest)
			from := time.Now()
			w.all()[0].stick(2 * time.Second)
			w.pass(2100 * time.Millisecond)
			gap, _ := w.gap(from)
			if least, most := 2*time.Second-stuckLoop-150*time.Millisecond, 2*time.Second-stuckLoop+50*time.Millisecond; gap < least || gap > most {
				t.Errorf("silent for %v, want %v to %v", gap, least, most)
			}
			w.settled()
		})
	})
	t.Run("a short stall silences nothing", func(t *testing.T) {
		inWorld(t, 1, 2, func(w *world) {
			w.pass(atRest)
			from := time.Now()
			w.all()[0].stick(200 * time.Millisecond)
			w.pass(time.Second)
			if gap, _ := w.gap(from); gap > 0 {
				t.Errorf("silent for %v, want not at all", gap)
			}
		})
	})
	t.Run("who stood still while it was fenced does not answer beside its successor", func(t *testing.T) {
		inWorld(t, 3, 3, func(w *world) {
			w.pass(atRest)
			from := time.Now()
			w.holder().stand(10 * time.Second)
			w.pass(20 * time.Second)
			if gap, overlap := w.gap(from); gap > 900*time.Millisecond || overlap > 50*time.Millisecond {
				t.Errorf("gap %v, overlap %v; want at most 0.9 s and 50 ms", gap, overlap)
			}
			w.settled()
		})
	})
}

// E5: a speaker stops answering as soon as the watch shows another holder.
func TestE5LosesByTheWatch(t *testing.T) {
	inWorld(t, 2, 1, func(w *world) {
		w.pass(atRest)
		loser := w.settled()[w.vip(0)]
		var other *node
		for _, node := range w.all() {
			if node.name != loser {
				other = node
			}
		}
		lease := w.api.lease(names.VIPLease(w.vip(0)))
		lease.Spec.HolderIdentity = &other.name
		lease.Annotations[names.AnnotationEpoch] = holder(w.api.lease(names.SessionLease(other.name)))
		lease.Annotations[names.AnnotationSuccessor] = ""
		if _, err := w.api.put(lease, false); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.law.broken = nil // that was by hand
		w.mu.Unlock()
		w.pass(50 * time.Millisecond)
		if who := w.who(w.vip(0)); len(who) != 1 || who[0] != other.name {
			t.Errorf("answered by %v 50 ms after the Lease named %s", who, other.name)
		}
	})
}

// E7: what a speaker does when it hears somebody else announce a VIP that it answers for.
func TestE7HearsAnother(t *testing.T) {
	for _, test := range []struct {
		name string
		// hears changes the world and is given the holder and another speaker.
		hears func(w *world, holder, other *node)
		gap   [2]time.Duration
		// conflicts that are told.
		conflicts int
	}{
		{"a speaker, and the records say that it is still holder: it stays", func(w *world, holder, other *node) {
			holder.speaker.Sight(w.vip(0), other.mac(), "eth0")
		}, [2]time.Duration{0, 0}, 0},
		{"a speaker, and the API server does not answer: it yields, and answers again when nobody else does", func(w *world, holder, other *node) {
			holder.setAPIAway(true)
			holder.speaker.Sight(w.vip(0), other.mac(), "eth0")
		}, [2]time.Duration{silentVIP - 400*time.Millisecond, silentVIP + 800*time.Millisecond}, 0},
		{"a stranger is no successor: it stays and says so, once in 10 s", func(w *world, holder, _ *node) {
			for range 5 {
				holder.speaker.Sight(w.vip(0), "02:aa:aa:aa:aa:aa", "eth0")
				w.pass(time.Second)
			}
		}, [2]time.Duration{0, 0}, 1},
		{"a stranger, while the API server is away: it stays", func(w *world, holder, _ *node) {
			holder.setAPIAway(true)
			holder.speaker.Sight(w.vip(0), "02:aa:aa:aa:aa:aa", "eth0")
		}, [2]time.Duration{0, 0}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, 2, 1, func(w *world) {
				w.pass(atRest)
				name := w.settled()[w.vip(0)]
				holder, other := w.all()[0], w.all()[1]
				if holder.name != name {
					holder, other = other, holder
				}
				from := time.Now()
				test.hears(w, holder, other)
				w.pass(3 * time.Second)
				if gap, _ := w.gap(from); gap < test.gap[0] || gap > test.gap[1] {
					t.Errorf("silent for %v, want %v to %v", gap, test.gap[0], test.gap[1])
				}
				if who := w.who(w.vip(0)); len(who) != 1 || who[0] != name {
					t.Errorf("answered by %v in the end, want %s", who, name)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if holder.conflicts != test.conflicts {
					t.Errorf("%d conflicts told, want %d", holder.conflicts, test.conflicts)
				}
			})
		})
	}
}

// E10: VIPs spread evenly, and a node that leaves moves its own and no others.
func TestE10SpreadInTheWorld(t *testing.T) {
	inWorldWith(t, 5, 100, func(w *world) { w.silent = true }, func(w *world) {
		w.pass(atRest)
		before := w.settled()
		count := map[string]int{}
		for _, node := range before {
			count[node]++
		}
		for node, vips := range count {
			if vips > 22 {
				t.Errorf("%s holds %d of 100 VIPs, want at most 1.1 times the mean", node, vips)
			}
		}
		gone := w.all()[0]
		if err := gone.leave(); err != nil {
			t.Fatal(err)
		}
		w.pass(3 * time.Second)
		for vip, node := range w.settled() {
			if before[vip] != gone.name && before[vip] != node {
				t.Errorf("%s moved from %s to %s, though %s left", vip, before[vip], node, gone.name)
			}
		}
	})
}

// E11: heartbeats come from the decision loop, so that a stuck loop is silent, and is fenced although its session is renewed.
func TestE11StuckLoopIsSilent(t *testing.T) {
	inWorld(t, 3, 3, func(w *world) {
		w.pass(atRest)
		w.settled()
		victim := w.holder()
		epoch := holder(w.api.lease(names.SessionLease(victim.name)))
		victim.stick(3 * time.Second)
		w.pass(2 * time.Second)
		if now := holder(w.api.lease(names.SessionLease(victim.name))); now == epoch {
			t.Errorf("the session %s of a stuck speaker goes on", now)
		}
		w.pass(10 * time.Second)
		w.settled()
	})
}

// E11: what one receiver loses is not taken for death, since others report whom they hear; nor is a recording taken for life.
func TestE11LossAtOneReceiver(t *testing.T) {
	inWorld(t, 4, 4, func(w *world) {
		w.pass(atRest)
		before := w.settled()
		w.all()[0].change(func(now *weather) { now.loss, now.copies, now.jitter = 0.4, 0.3, 80*time.Millisecond })
		w.pass(2 * time.Minute)
		for vip, node := range w.settled() {
			if before[vip] != node {
				t.Errorf("%s moved from %s to %s", vip, before[vip], node)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.law.fences != 0 {
			t.Errorf("%d sessions were ended, want none", w.law.fences)
		}
	})
}
