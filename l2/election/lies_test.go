// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"
)

// lie is a false announcement in the name of a speaker, for each of some VIPs.
func (s *steps) lie() []Sighting {
	var sightings []Sighting
	for address := range s.view.Leases {
		sightings = append(sightings, Sighting{VIP: address, Node: "n2", MAC: "02:00:00:00:00:02", Interface: "eth0"})
	}
	return sightings
}

// renewedEverySecond is a step in which the session is renewed as it is in fact.
func (s *steps) renewedEverySecond(sightings ...Sighting) Actions {
	s.renewing = s.view.Now.Sub(s.view.Ack) >= 900*time.Millisecond
	return s.step(sightings...)
}

// E7: who sends false announcements in a speaker's name makes a holder whose session is renewed stop answering once, for less than a second, even if
// no read is ever answered.
func TestE7LiesAreSeenThrough(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	silent, reading := 0, time.Time{}
	for range 600 {
		if !reading.IsZero() && s.view.Now.Sub(reading) >= time.Second {
			s.core.ReadEnded(stepVIP, false, s.view.Now)
			reading = time.Time{}
		}
		if out := s.renewedEverySecond(s.lie()...); len(out.Reads) > 0 {
			reading = s.view.Now
		}
		if !s.core.Answering(stepVIP) {
			silent++
		}
	}
	if silent > 9 {
		t.Errorf("did not answer for %v of a minute", time.Duration(silent)*s.core.timing.Period)
	}
}

// E7: a doubt is no lie because the last was one: who is not renewed after it stops answering, a renewal later than usual at most.
func TestE7ALieIsNoProof(t *testing.T) {
	for name, test := range map[string]struct {
		lies bool
		want time.Duration
	}{"first doubt": {false, 400 * time.Millisecond}, "after a lie": {true, 1400 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(5 * time.Second)
			if test.lies {
				s.step(s.lie()...)
				s.core.ReadEnded(stepVIP, true, s.view.Now)
				s.pass(2 * time.Second)
			}
			s.renewing = false
			from := s.view.Now
			s.step(s.lie()...)
			s.core.ReadEnded(stepVIP, false, s.view.Now.Add(300*time.Millisecond))
			s.until(2*time.Second, "yielding", func(Actions) bool { return !s.core.Answering(stepVIP) })
			if got := s.view.Now.Sub(from); got > test.want {
				t.Errorf("yielded after %v, want %v", got, test.want)
			}
		})
	}
}

// E7: however many VIPs are announced falsely, the API server is asked for a few, and all are answered for again with the next renewal.
func TestE7ReadsAreBounded(t *testing.T) {
	const count, seconds = 1000, 20
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.many(count)
	s.pass(5 * time.Second)
	reads := 0
	for range 10 * seconds {
		out := s.renewedEverySecond(s.lie()...)
		for _, vip := range out.Reads {
			reads++
			s.core.ReadEnded(vip, true, s.view.Now)
		}
	}
	if most := readsAtOnce + readsPerSecond*(seconds+1); reads > most || reads < readsPerSecond {
		t.Errorf("%d reads in %d s for %d VIPs, want at most %d", reads, seconds, count, most)
	}
	s.pass(2 * time.Second)
	if got := len(s.core.AnsweringFor()); got != count {
		t.Errorf("answers for %d of %d VIPs", got, count)
	}
}
