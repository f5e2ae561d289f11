// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"
)

// E9: who stood still has not listened: silence counts from when the loop turns again.
func TestE9StallIsNoIsolation(t *testing.T) {
	for name, stall := range map[string]time.Duration{"0.3 s": 300 * time.Millisecond, "0.7 s": 700 * time.Millisecond, "3 s": 3 * time.Second, "1 min": time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			for range 3 { // stalls in a row; what was said meanwhile is heard a moment after the loop turns again
				s.hears["n2"], s.hears["n3"], s.gateway = false, false, false
				s.check(s.stepAfter(stall))
				s.check(s.pass(200 * time.Millisecond))
				s.hears["n2"], s.hears["n3"], s.gateway = true, true, true
				s.check(s.pass(300 * time.Millisecond))
			}
		})
	}
}

// check fails the test when the core, which nobody is taking anything from, hands over, fences or stops answering.
func (s *steps) check(out Actions) {
	s.t.Helper()
	if s.core.isolated || len(out.Namings) > 0 || len(out.Fences) > 0 || len(out.Changes) > 0 {
		s.t.Fatalf("after %v: isolated %v, asked %v, fenced %v, changed %v", s.view.Now.Sub(s.began), s.core.isolated, out.Namings, out.Fences, out.Changes)
	}
}

// E9: a real isolation is noticed after a stall as before one, and a stall does not end it.
func TestE9StallDoesNotHideIsolation(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.hears["n2"], s.hears["n3"], s.gateway = false, false, false
	s.stepAfter(time.Second)
	s.until(1200*time.Millisecond, "isolation", func(Actions) bool { return s.core.isolated })
	s.stepAfter(time.Second)
	if !s.core.isolated {
		t.Error("a stall ended the isolation")
	}
	s.hears["n2"] = true
	s.step()
	if s.core.isolated {
		t.Error("isolated still, though another is heard")
	}
}

// E9: members that were not heard in a stall have not come back after it: nothing is announced for that.
func TestE9StallIsNoReturn(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.hears["n2"], s.hears["n3"], s.gateway = false, false, false
	s.stepAfter(2 * time.Second)
	s.hears["n2"], s.hears["n3"], s.gateway = true, true, true
	if out := s.pass(2 * time.Second); len(out.Reannounce) > 0 {
		t.Errorf("announced %d times after a stall", len(out.Reannounce))
	}
}

// E9: in the world, a node that stands for longer than any silence, and is not fenced for it because it was alone in that, hands nothing over.
func TestE9StallMovesNothing(t *testing.T) {
	inWorld(t, 2, 4, func(w *world) {
		w.pass(atRest)
		before := w.settled()
		for range 5 {
			for _, node := range w.all() { // the machine that both run on stands still
				node.stand(700 * time.Millisecond)
			}
			w.pass(3 * time.Second)
		}
		for vip, holder := range w.settled() {
			if before[vip] != holder {
				t.Errorf("%s moved from %s to %s", vip, before[vip], holder)
			}
		}
	})
}
