// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
)

// E7, E9: a holder that was cut off from everything stops when it hears its successor, and waits neither for the API server, whose connections come back
// later than the LAN, nor because it was right in a doubt of before: nodes are cut off one after the other here.
func TestE9WhoWasCutOffGivesWayAtOnce(t *testing.T) {
	for variant, timing := range map[string]Timing{"default": DefaultTiming(), "fast": FastTiming()} {
		for _, cut := range []time.Duration{1200 * time.Millisecond, 3 * time.Second} {
			for _, late := range []time.Duration{0, 200 * time.Millisecond, 800 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s, for %v, the API server %v later", variant, cut, late), func(t *testing.T) {
					change := func(w *world) { w.timing, w.timing.FenceBackoff, w.silent = timing, 0, true }
					inWorldWith(t, 3, 1, change, func(w *world) {
						w.pass(atRest)
						for range 5 {
							victim := w.holder()
							victim.setCut(true)
							w.pass(cut)
							healed := time.Now()
							victim.setLANCut(false)
							w.pass(late)
							victim.setAPIAway(false)
							w.pass(2 * time.Second)
							if gap, both := w.gap(healed); gap > 0 || both > timing.Period+50*time.Millisecond {
								t.Errorf("%s: nobody answered for %v, two for %v", victim.name, gap, both)
							}
						}
						w.settled()
					})
				})
			}
		}
	}
}

// E6, E9: when all nodes were cut off from each other and from the API server, and hear each other again, those that held VIPs go on answering.
func TestE9AllWereCutOffAndNobodyGivesWay(t *testing.T) {
	for _, cut := range []time.Duration{800 * time.Millisecond, 2 * time.Second, 8 * time.Second} {
		for _, late := range []time.Duration{200 * time.Millisecond, 6 * time.Second} {
			t.Run(fmt.Sprintf("for %v, the API server %v later", cut, late), func(t *testing.T) {
				inWorldWith(t, 3, 3, func(w *world) { w.silent = true }, func(w *world) {
					w.pass(atRest)
					holders := w.settled()
					for _, node := range w.all() {
						node.setCut(true)
					}
					w.pass(cut)
					for _, node := range w.all() {
						node.setLANCut(false)
					}
					healed := time.Now()
					w.pass(late)
					if gap, both := w.gap(healed); gap > 0 || both > 0 {
						t.Errorf("before the API server was back nobody answered for %v, two for %v", gap, both)
					}
					for vip, before := range holders {
						if who := w.who(vip); len(who) != 1 || who[0] != before {
							t.Errorf("%s is answered by %v, want %s", vip, who, before)
						}
					}
					for _, node := range w.all() {
						node.setAPIAway(false)
					}
					w.pass(10 * time.Second)
					if gap, both := w.gap(healed); gap > 0 || both > 50*time.Millisecond {
						t.Errorf("nobody answered for %v, two for %v", gap, both)
					}
					w.settled()
				})
			})
		}
	}
}

// E7: of two that announce a VIP, and were both cut off, who has the older acknowledged write gives way at once, and the other waits for the API server's word.
func TestE7WhoWasCutOffAndKnowsLessGivesWay(t *testing.T) {
	for name, test := range map[string]struct {
		// cut is for how long this speaker heard nobody and renewed nothing, other how long before its return the other's last acknowledged write was.
		cut, other time.Duration
		stays      bool
	}{
		"the other's is newer":                          {2 * time.Second, 300 * time.Millisecond, false},
		"the other's is older":                          {2 * time.Second, 3 * time.Second, true},
		"the other's is newer by less than a period":    {2 * time.Second, 1950 * time.Millisecond, true},
		"cut off for less than a silence: not doubtful": {300 * time.Millisecond, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(15 * time.Second)
			s.hears["n2"], s.hears["n3"], s.renewing = false, false, false
			s.pass(test.cut)
			s.hears["n2"], s.hears["n3"] = true, true
			s.view.Liveness = tellingMembers{s.members, s.view.Now.Add(-test.other)}
			s.step()
			s.step(Sighting{VIP: stepVIP, Node: "n2"})
			if got := s.core.Answering(stepVIP); got != test.stays {
				t.Errorf("answers: %v, want %v", got, test.stays)
			}
			s.core.ReadEnded(stepVIP, true, s.view.Now) // the records name it still
			s.pass(time.Second)
			if !s.core.Answering(stepVIP) {
				t.Error("the API server has confirmed it, and it does not answer")
			}
		})
	}
}

// tellingMembers are steadyMembers whose heartbeats tell when their last acknowledged write was.
type tellingMembers struct {
	steadyMembers
	acked time.Time
}

func (m tellingMembers) Last(epoch string) (membership.Member, bool) {
	member, ok := m.steadyMembers.Last(epoch)
	member.AckedAt = m.acked
	return member, ok
}

// E7: an answer of the API server that shows another holder refutes no doubt, whichever of the two the loop learns first.
func TestE7AnswerThatShowsALossRefutesNothing(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.step(s.lie()...)
	s.taken("n2")
	s.step()
	s.core.ReadEnded(stepVIP, true, s.view.Now)
	if s.core.vips[stepVIP].lied(s.view.Now) {
		t.Error("counts as a lie")
	}
}
