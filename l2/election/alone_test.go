// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"
)

// Who heard nobody for a while may have been fenced, however fresh its last renewal is: back on the LAN it asks, and does not announce.
func TestE9WhoWasAloneAsksAndDoesNotAnnounce(t *testing.T) {
	for _, cut := range []time.Duration{800 * time.Millisecond, 1300 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		s := newSteps(t, 3, nil)
		s.held("n1")
		s.pass(15 * time.Second)
		s.hears["n2"], s.hears["n3"], s.gateway, s.renewing = false, false, false, false
		s.renews["n2"], s.renews["n3"] = false, false
		s.pass(cut)
		s.hears["n2"], s.hears["n3"], s.gateway = true, true, true
		out := s.pass(400 * time.Millisecond)
		if len(out.Reannounce) > 0 || len(out.Probes) == 0 {
			t.Errorf("cut off for %v: after the return %d announcements and %d probes", cut, len(out.Reannounce), len(out.Probes))
		}
	}
}

// A doubt that proved right is no lie: the next one counts at once.
func TestE7RightDoubtIsNoLie(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.step(s.lie()...) // n2 announces, and it is true
	s.taken("n2")
	s.core.ReadEnded(stepVIP, true, s.view.Now)
	s.step()
	if s.core.Answering(stepVIP) {
		t.Fatal("still answers")
	}
	s.pass(1500 * time.Millisecond)
	s.taken("n1")
	s.pass(1500 * time.Millisecond)
	s.renewing = false
	from := s.view.Now
	s.step(Sighting{VIP: stepVIP, Node: "n3", MAC: "02:00:00:00:00:03", Interface: "eth0"})
	s.core.ReadEnded(stepVIP, false, s.view.Now.Add(300*time.Millisecond))
	for s.core.Answering(stepVIP) && s.view.Now.Sub(from) < 5*time.Second {
		s.step()
	}
	if yielded := s.view.Now.Sub(from); yielded > 500*time.Millisecond {
		t.Errorf("yielded after %v", yielded)
	}
}
