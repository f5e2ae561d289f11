// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// heldBy counts the VIPs whose Leases name a node.
func (w *world) heldBy(name string) int {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	count := 0
	for _, lease := range w.api.leases {
		if lease.Labels[names.LabelLease] == names.LeaseVIP && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == name {
			count++
		}
	}
	return count
}

// manyNew is a world in which nodes have begun to claim 600 VIPs that nobody ever held, at an API server that takes its time.
func manyNew(t *testing.T, slow time.Duration, test func(w *world, first *node)) {
	t.Helper()
	prepare := func(w *world) {
		w.silent, w.coarse = true, true
		for _, n := range w.all() {
			n.weather.slow = slow
		}
	}
	inWorldWith(t, 3, 600, prepare, func(w *world) {
		for w.heldBy("node-1") < 20 {
			w.pass(50 * time.Millisecond)
		}
		test(w, w.node("node-1"))
	})
}

// A speaker that stops claims nothing more of what waits for its turn, and hands over what it holds.
func TestE8StoppingSpeakerClaimsNothingNew(t *testing.T) {
	for _, slow := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond} {
		t.Run(slow.String(), func(t *testing.T) {
			manyNew(t, slow, func(w *world, first *node) {
				began := time.Now()
				if err := first.leave(); err != nil {
					t.Error(err)
				}
				if took, left := time.Since(began), w.heldBy("node-1"); took > 5*time.Second || left > 0 {
					t.Errorf("left after %v, with %d VIPs by the records", took, left)
				}
			})
		})
	}
}

// A speaker that was cut off claims nothing that waits for its turn.
func TestE9IsolatedSpeakerClaimsNothingNew(t *testing.T) {
	manyNew(t, 30*time.Millisecond, func(w *world, first *node) {
		first.change(func(weather *weather) { weather.cut = true })
		w.pass(2 * time.Second)
		before := w.heldBy("node-1")
		w.pass(5 * time.Second)
		if after := w.heldBy("node-1"); after > before {
			t.Errorf("took %d VIPs 2 s and more after it was cut off", after-before)
		}
	})
}

// A place for first claims rests after each, for longer the longer the API server took, and within a second; other writes do not wait for it.
func TestPlaceOfAFirstClaimRests(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: 6 * time.Millisecond, 50 * time.Millisecond: 300 * time.Millisecond, 400 * time.Millisecond: time.Second,
	} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Speaker{slots: make(chan struct{}, firstClaims), firsts: make(chan struct{}, firstClaims)}
				var written []func()
				for range firstClaims {
					free, err := s.firstSlot(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					written = append(written, free)
				}
				time.Sleep(took)
				for _, free := range written {
					free()
				}
				from := time.Now()
				if free, err := s.slot(t.Context()); err != nil || time.Since(from) > 0 {
					t.Errorf("another write waited %v: %v", time.Since(from), err)
				} else {
					free()
				}
				if _, err := s.firstSlot(t.Context()); err != nil || time.Since(from) != want {
					t.Errorf("the next first claim waited %v, want %v: %v", time.Since(from), want, err)
				}
			})
		})
	}
}

// Who gives up waiting for one place leaves the other to those who come.
func TestFirstClaimThatIsGivenUpLeavesItsPlace(t *testing.T) {
	s := &Speaker{slots: make(chan struct{}, 1), firsts: make(chan struct{}, 1)}
	free, err := s.slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.firstSlot(over); err == nil || len(s.firsts) > 0 {
		t.Errorf("%d places taken, %v", len(s.firsts), err)
	}
	free()
}
