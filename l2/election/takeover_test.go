// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// What a hand-over (E8) looks like on a cluster whose API server is overloaded: writes are done and their answers lost, reads time out, the watch is late.

// reads counts what was asked in some steps, which pass does not collect.
func (s *steps) reads(d time.Duration, sightings ...Sighting) (reads int) {
	s.t.Helper()
	for from := s.view.Now; s.view.Now.Sub(from) < d; {
		reads += len(s.step(sightings...).Reads)
		sightings = nil
	}
	return reads
}

// E8: that the successor announced the VIP long ago, when it held it, says nothing of now: the holder neither asks nor yields for it.
func TestE8OldAnnouncementIsNoSuccessor(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n2")
	s.pass(time.Second, Sighting{VIP: stepVIP, Node: "n2"})
	s.held("n1")
	s.pass(10 * time.Second)
	ineligible(plan.Cordoned)(s)
	s.until(time.Second, "request", namings)
	s.successor("n2")
	if reads := s.reads(800 * time.Millisecond); reads > 0 || !s.core.Answering(stepVIP) {
		t.Errorf("%d reads, answering %v, before the successor was heard", reads, s.core.Answering(stepVIP))
	}
	if reads := s.reads(300*time.Millisecond, Sighting{VIP: stepVIP, Node: "n2"}); reads != 1 {
		t.Errorf("%d reads when the successor announces and the watch is silent about it, want 1", reads)
	}
	s.pass(500 * time.Millisecond) // no answer
	if s.core.Answering(stepVIP) {
		t.Error("goes on answering beside the successor, which was heard")
	}
}

// E7: a doubt ends with the VIP's loss: who takes the VIP again by the records answers at once.
func TestE7DoubtDoesNotOutliveTheVIP(t *testing.T) {
	for name, end := range map[string]func(*steps){
		"the read is answered late":   func(s *steps) { s.core.ReadEnded(stepVIP, true, s.view.Now) },
		"the read fails after a loss": func(s *steps) { s.core.ReadEnded(stepVIP, false, s.view.Now) },
		"the read never ends":         func(*steps) {},
	} {
		for _, lost := range []string{"asked", "fenced"} {
			t.Run(name+"/"+lost, func(t *testing.T) {
				s := newSteps(t, 3, nil)
				s.held("n1")
				s.pass(5 * time.Second)
				if reads := s.reads(200*time.Millisecond, Sighting{VIP: stepVIP, Node: "n3"}); reads != 1 {
					t.Fatalf("%d reads, want 1", reads)
				}
				if lost == "fenced" {
					s.freed()
					s.step()
				}
				s.taken("n2")
				s.pass(500 * time.Millisecond)
				end(s)
				s.pass(5 * time.Second)
				if s.core.Answering(stepVIP) {
					t.Fatal("answers for a VIP of another")
				}
				s.taken("n1")
				if s.step(); !s.core.Answering(stepVIP) {
					t.Error("the records name it the holder, and it does not answer")
				}
			})
		}
	}
}

// E8: the successor expects to hear its predecessor, which answers until it hears the successor: it announces again, and has no doubt. Of anybody
// else, of a predecessor long after, or after a return, it has (E7).
func TestE8PredecessorIsExpected(t *testing.T) {
	for name, test := range map[string]struct {
		from   string
		before func(*steps)
		want   int
	}{
		"predecessor":                 {"n2", func(*steps) {}, 0},
		"another":                     {"n3", func(*steps) {}, 1},
		"predecessor long after":      {"n2", func(s *steps) { s.pass(takeOver) }, 1},
		"predecessor, not renewed":    {"n2", func(s *steps) { s.renewing = false; s.view.Ack = s.view.Now.Add(-3 * time.Second) }, 0},
		"predecessor, run out":        {"n2", func(s *steps) { s.renewing = false; s.view.Ack = s.view.Now.Add(-4 * time.Second) }, 1},
		"predecessor, after a return": {"n2", func(s *steps) { s.hears["n3"] = false; s.pass(time.Second); s.hears["n3"] = true; s.step() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.candidates("n1", "n3")
			s.eligible()
			s.held("n2")
			s.pass(5 * time.Second)
			s.successor("n1")
			if !claims(s.step()) {
				t.Fatal("did not take what it was asked to")
			}
			s.core.ClaimEnded(stepVIP, true, s.view.Now)
			s.taken("n1")
			s.pass(300 * time.Millisecond)
			test.before(s)
			out := s.step(Sighting{VIP: stepVIP, Node: test.from})
			if len(out.Reads) != test.want {
				t.Errorf("%d reads, want %d", len(out.Reads), test.want)
			}
			if again := len(out.Reannounce) > 0; test.want == 0 && !again {
				t.Error("not announced again")
			}
		})
	}
}

// E7: a holder that yielded because no read was answered returns when its session is renewed, unless somebody was asked to take the VIP.
func TestE7RenewalConfirms(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*steps)
		want   bool
	}{
		"renewed":              {func(*steps) {}, true},
		"not renewed":          {func(s *steps) { s.renewing = false }, false},
		"a successor is on it": {func(s *steps) { s.successor("n2") }, false},
		"one has been asked":   {func(s *steps) { s.core.vips[stepVIP].asked = []string{"n2"}; s.core.vips[stepVIP].namedAt = s.view.Now }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			test.change(s)
			renewing := s.renewing
			s.renewing = false // as long as it is in doubt
			s.step(Sighting{VIP: stepVIP, Node: "n3"})
			s.until(time.Second, "yielding", func(Actions) bool { return !s.core.Answering(stepVIP) })
			s.core.ReadEnded(stepVIP, false, s.view.Now)
			s.renewing = renewing
			s.pass(900 * time.Millisecond)
			if got := s.core.Answering(stepVIP); got != test.want {
				t.Errorf("answers again: %v, want %v", got, test.want)
			}
		})
	}
}

// E7: who yielded asks once at a time, however long the answer takes.
func TestE7OneReadAtATime(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.renewing = false // no renewal says anything either, and the last was just now
	if reads := s.reads(2*time.Second, Sighting{VIP: stepVIP, Node: "n3"}); reads != 1 {
		t.Errorf("%d reads under way at once", reads)
	}
}

// E8: while the new holder is on the LAN and does not answer yet, the old one does; not for ever, and not for one that is not there.
func TestE8OldHolderIsPatient(t *testing.T) {
	for heard, want := range map[bool]time.Duration{true: 12 * time.Second, false: 4 * time.Second} {
		t.Run(fmt.Sprintf("heard=%v", heard), func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			ineligible(plan.Cordoned)(s)
			s.until(time.Second, "request", namings)
			s.hears["n2"] = heard
			s.taken("n2")
			got := s.until(20*time.Second, "end", func(Actions) bool { return !s.core.Answering(stepVIP) })
			if got < want-600*time.Millisecond || got > want+200*time.Millisecond {
				t.Errorf("answered for %v more, want %v", got, want)
			}
		})
	}
}

// E8: VIPs go to and fro between nodes while the API server is overloaded; somebody answers all the time, and the server is not asked again and
// again by those who wait for it.
func TestE8OverloadedServer(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*weather)
		gap    time.Duration
	}{
		"answers take up to 0.8 s": {func(now *weather) { now.slow = 400 * time.Millisecond }, 0},
		// Where not every renewal gets through, a doubt may last until one does.
		"answers take up to 1.2 s":  {func(now *weather) { now.slow = 600 * time.Millisecond }, 2500 * time.Millisecond},
		"half the answers are lost": {func(now *weather) { now.loseAnswer = 0.5 }, 0},
		"slow, lost, and late requests arrive": {func(now *weather) {
			now.slow, now.loseAnswer, now.loseRequest, now.late = 400*time.Millisecond, 0.3, 0.1, 0.5
		}, 2500 * time.Millisecond},
		"all answers are lost, the watch stands": {func(now *weather) { now.loseAnswer, now.watchStands = 0.9, true }, 0},
	} {
		for seed := range int64(4) {
			t.Run(fmt.Sprintf("%s/seed=%d", name, seed), func(t *testing.T) {
				inWorldWith(t, 3, 20, func(w *world) {
					w.silent = true
					w.chance = newChance(seed)
					w.api.chance = w.chance
				}, func(w *world) {
					w.pass(atRest)
					from := time.Now()
					for range 2 {
						for _, node := range w.all() {
							_, before := w.api.counts()
							others := w.all()
							w.duringThat(others, test.change, func() {
								w.exclude(node.name, true)
								w.pass(6 * time.Second)
							})
							w.pass(6 * time.Second)
							w.exclude(node.name, false)
							w.pass(3 * time.Second)
							if _, after := w.api.counts(); after-before > 600 {
								t.Errorf("%d reads for one hand-over of at most 20 VIPs", after-before)
							}
						}
					}
					gap, overlap := w.gap(from)
					if gap > test.gap || overlap > overlapBound {
						t.Errorf("nobody answered for %v, two for %v", gap, overlap)
					}
					t.Log(gap, overlap)
				})
			})
		}
	}
}

// E7: a VIP that nobody handed over is announced again soon: the one that was fenced may answer still, and have missed the first announcement.
func TestE7TakenVIPIsAnnouncedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		from func(*steps)
		want int
	}{
		"fenced":      {(*steps).freed, 1},
		"handed over": {func(s *steps) { s.successor("n1") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.candidates("n1", "n3")
			s.eligible()
			s.held("n2")
			s.pass(5 * time.Second)
			test.from(s)
			s.until(time.Second, "claim", claims)
			s.taken("n1")
			s.core.ClaimEnded(stepVIP, true, s.view.Now)
			if got := len(s.pass(time.Second).Reannounce); got != test.want {
				t.Errorf("announced again %d times, want %d", got, test.want)
			}
		})
	}
}

// E7: who cannot have a session any more yields to another at the moment it hears it; whose session may be valid asks first.
func TestE7RunOutYieldsAtOnce(t *testing.T) {
	for since, want := range map[time.Duration]bool{3 * time.Second: true, 5 * time.Second: false} {
		t.Run(since.String(), func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			s.renewing, s.hears["n3"] = false, false // what is not heard says nothing of whose write is the newer
			s.pass(since)
			s.step(Sighting{VIP: stepVIP, Node: "n3"})
			if got := s.core.Answering(stepVIP); got != want {
				t.Errorf("answers: %v, want %v", got, want)
			}
			s.pass(400 * time.Millisecond)
			if s.core.Answering(stepVIP) {
				t.Error("answers still, and no read was answered")
			}
		})
	}
}

// E9: after a return a holder whose session is fresh announces three times, and one whose is not probes five times, within a second.
func TestE9ReturnIsToldAndAsked(t *testing.T) {
	for fresh, want := range map[bool][2]int{true: {3, 0}, false: {0, 5}} {
		t.Run(fmt.Sprintf("fresh=%v", fresh), func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			s.hears["n3"], s.renewing = false, fresh
			s.pass(4700 * time.Millisecond)
			s.core.vips[stepVIP].probedAt = s.view.Now // so that the probe of every 5 s is not among them
			s.hears["n3"] = true
			out := s.pass(1500 * time.Millisecond)
			if got := [2]int{len(out.Reannounce), len(out.Probes)}; got != want {
				t.Errorf("announcements and probes %v, want %v", got, want)
			}
		})
	}
}

// E7, E9: who answers for thousands of VIPs does not ask for all of them at once, and leaves none out.
func TestE9ManyVIPsAreAskedInTurn(t *testing.T) {
	const count = 3000
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.many(count)
	s.pass(5 * time.Second)
	if answering := len(s.core.AnsweringFor()); answering != count {
		t.Fatalf("answers for %d VIPs", answering)
	}
	s.hears["n3"], s.renewing = false, false
	s.pass(3 * time.Second)
	s.hears["n3"] = true
	asked := map[netip.Addr]int{}
	for range 95 { // 9.5 s: five rounds of 1.5 s, and some time for what is asked every 5 s
		out := s.step()
		if len(out.Probes) > asksAtOnce {
			t.Fatalf("%d probes in one step", len(out.Probes))
		}
		for _, each := range out.Probes {
			asked[each]++
		}
	}
	fewest := len(returnTimes)
	for _, vip := range s.core.AnsweringFor() {
		fewest = min(fewest, asked[vip])
	}
	if fewest < len(returnTimes) {
		t.Errorf("some VIP was asked for %d times, want %d", fewest, len(returnTimes))
	}
}
