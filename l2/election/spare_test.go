// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

func fences(out Actions) bool { return len(out.Fences) > 0 }

// E4 a: a session that is not renewed is ended after its duration; while its speaker is heard, after 40 s.
func TestE4SparesWhoIsHeard(t *testing.T) {
	const minute = time.Minute
	for _, test := range []struct {
		name       string
		change     func(*steps)
		from, till time.Duration // zero: never
	}{
		{"heard, and cut off from the API server", func(s *steps) {}, 39 * time.Second, 43 * time.Second},
		{"never heard", func(s *steps) { s.hears["n2"] = false; delete(s.members, "n2/a") }, 3 * time.Second, 5 * time.Second},
		{"heard before, no witness now", func(s *steps) {
			s.hears["n2"], s.hears["n3"], s.gateway = false, false, false
			s.view.GatewayAnsweredAt = time.Time{}
		}, 3 * time.Second, 5500 * time.Millisecond},
		{"heard, and it withdraws", func(s *steps) { s.session("n2", func(each *Session) { each.Withdraws = true }) }, 3 * time.Second, 5 * time.Second},
		{"heard, and the observer is cut off too", func(s *steps) { s.renewing = false }, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n2")
			s.pass(10 * time.Second)
			s.renews["n2"] = false
			test.change(s)
			if test.till == 0 {
				if fences(s.pass(2 * minute)) {
					t.Error("fenced")
				}
				return
			}
			if took := s.until(2*minute, "fence", fences); took < test.from || took > test.till {
				t.Errorf("fenced after %v, want %v to %v", took, test.from, test.till)
			}
		})
	}
}

// E4 a: whoever is the first to reach the API server after an outage gives the others time to follow: the outage does not count.
func TestE4OutageDoesNotCount(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.pass(10 * time.Second)
	s.renewing, s.renews["n2"], s.renews["n3"] = false, false, false
	s.pass(2 * time.Minute)
	s.renewing = true
	if took := s.until(time.Minute, "fence", fences); took < 39*time.Second {
		t.Errorf("fenced %v after the own return", took)
	}
}

// E4 a: stalls of the observer make it wait a moment, and do not make it wait for ever.
func TestE4StallsDoNotSpareForEver(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.pass(10 * time.Second)
	s.renews["n2"] = false
	for from := s.view.Now; s.view.Now.Sub(from) < time.Minute; {
		if fences(s.stepAfter(200*time.Millisecond)) && s.view.Now.Sub(from) < 39*time.Second {
			t.Fatalf("fenced after %v", s.view.Now.Sub(from))
		}
		if fences(s.pass(2 * time.Second)) {
			return
		}
	}
	t.Error("never fenced")
}

// E6: when nodes reach the API server again one by one, some seconds apart, nothing moves.
func TestE6NodesReturnOneByOne(t *testing.T) {
	inWorld(t, 4, 8, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		before := w.settled()
		for _, node := range w.all() {
			node.setAPIAway(true)
		}
		w.pass(time.Minute)
		for _, node := range w.all() {
			node.setAPIAway(false)
			w.pass(8 * time.Second)
		}
		w.pass(10 * time.Second)
		if gap, overlap := w.gap(from); gap > 0 || overlap > 0 {
			t.Errorf("gap %v, overlap %v; want none", gap, overlap)
		}
		for vip, holder := range w.settled() {
			if before[vip] != holder {
				t.Errorf("%s moved from %s to %s", vip, before[vip], holder)
			}
		}
	})
}

// E6, E4 a: nodes lose the API server one after the other, and nobody's clients notice; when it is back, each VIP has one holder in 5 s.
func TestE6NodesLoseTheAPIOneAfterTheOther(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		for _, node := range w.all() {
			node.setAPIAway(true)
			w.pass(12 * time.Second)
		}
		w.pass(30 * time.Second)
		for _, node := range w.all() {
			node.setAPIAway(false)
		}
		w.pass(5 * time.Second)
		w.settled()
		if gap, overlap := w.gap(from); gap > 0 || overlap > 300*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want none and at most 0.3 s", gap, overlap)
		}
	})
}

// E4 a: a speaker that is cut off for good loses its VIPs in the end, and no client notices.
func TestE4NodeCutOffFromTheAPIForGood(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		from := time.Now()
		victim := w.settled()[w.vip(0)]
		w.node(victim).setAPIAway(true)
		w.pass(30 * time.Second)
		for _, holder := range w.settled() {
			if holder == victim {
				w.pass(25 * time.Second)
				break
			}
		}
		if gap, overlap := w.gap(from); gap > 0 || overlap > 500*time.Millisecond {
			t.Errorf("gap %v, overlap %v; want none and at most 0.5 s", gap, overlap)
		}
		for vip, holder := range w.settled() {
			if holder == victim {
				t.Errorf("%s is still held by %s after 55 s", vip, victim)
			}
		}
	})
}

// E4 a: a speaker that has lost an interface and cannot say so keeps silent: to be heard on another one must not spare it.
func TestE4SilentWithoutAnInterfaceItCannotTell(t *testing.T) {
	speaker := &Speaker{config: Config{Node: "n1"}, records: NewRecords()}
	told := []LocalInterface{{Name: "eth0"}, {Name: "eth1"}}
	lease := sessionObject("n1", "n1/a", 1)
	lease.Annotations = map[string]string{names.AnnotationInterfaces: FormatInterfaces(told)}
	speaker.records.Watched(lease, time.Time{})
	for name, test := range map[string]struct {
		has   []LocalInterface
		fresh bool
		want  bool
	}{
		"all it told of":                 {told, false, false},
		"one lost, and it can tell":      {told[:1], true, false},
		"one lost, and it cannot":        {told[:1], false, true},
		"one more than it could tell of": {append(told, LocalInterface{Name: "eth2"}), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			speaker.interfaces = test.has
			speaker.fresh.Store(test.fresh)
			if got := speaker.lostUntold(); got != test.want {
				t.Errorf("keeps silent: %v, want %v", got, test.want)
			}
		})
	}
}
