// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
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
