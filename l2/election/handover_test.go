// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// ineligible makes this node one that may not announce the VIP any more.
func ineligible(reason plan.Reason) func(*steps) {
	return func(s *steps) {
		target := s.view.Targets[stepVIP]
		target.Candidates, target.Eligible, target.Reason = []string{"n2", "n3"}, false, string(reason)
		s.view.Targets[stepVIP] = target
	}
}

// taken makes a node the holder, as its claim does.
func (s *steps) taken(by string) {
	lease := s.view.Leases[stepVIP]
	lease.Holder, lease.Epoch, lease.Successor = by, s.view.Sessions[by].Epoch, ""
	s.view.Leases[stepVIP] = lease
}

// E8: every reason to hand a VIP over ends in one line that says why, to whom and how long it took.
func TestE8ReasonsOfHandOvers(t *testing.T) {
	for _, test := range []struct {
		reason string
		change func(*steps)
		// silent: it does not answer while it hands over.
		silent bool
	}{
		{SpeakerStops, func(s *steps) { s.view.Leaving = true }, false},
		{Isolated, func(s *steps) { s.hears["n2"], s.hears["n3"], s.gateway = false, false, false }, false},
		{LinkDown, func(s *steps) { s.view.LinkDown = true }, true},
		{BackOff, func(s *steps) { s.candidates("n2", "n3"); s.eligible() }, false},
		{string(plan.Cordoned), ineligible(plan.Cordoned), false},
		{string(plan.ExcludeLabel), ineligible(plan.ExcludeLabel), false},
		{string(plan.NotSelected), ineligible(plan.NotSelected), false},
		{string(plan.NoSuchInterface), ineligible(plan.NoSuchInterface), false},
		{string(plan.NoLocalEndpoint), ineligible(plan.NoLocalEndpoint), false},
		{Rebalance, func(s *steps) { s.better("n2", Rebalance) }, false},
		{PreferredNode, func(s *steps) { s.better("n2", PreferredNode) }, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n1")
			s.pass(15 * time.Second)
			test.change(s)
			var out Actions
			s.until(3*time.Second, "request to a successor", func(step Actions) bool { out = step; return namings(step) })
			successor := out.Namings[0].Successor
			if out.Namings[0].Reason != test.reason || successor != "n2" && successor != "n3" {
				t.Fatalf("asked %+v", out.Namings[0])
			}
			if s.core.Answering(stepVIP) == test.silent {
				t.Errorf("answers while it hands over: %v", !test.silent)
			}
			s.pass(200 * time.Millisecond)
			s.taken(successor)
			out = s.step(Sighting{VIP: stepVIP, Node: successor})
			if len(out.HandOvers) != 1 || s.core.Answering(stepVIP) {
				t.Fatalf("%d hand-overs, still answering %v", len(out.HandOvers), s.core.Answering(stepVIP))
			}
			if got := out.HandOvers[0]; got.VIP != stepVIP || got.To != successor || got.Reason != test.reason || got.Took < 200*time.Millisecond || got.Took > time.Second {
				t.Errorf("told of %+v", got)
			}
			if out := s.pass(3 * time.Second); len(out.HandOvers) > 0 {
				t.Errorf("told again: %+v", out.HandOvers)
			}
		})
	}
}

func (s *steps) eligible() {
	target := s.view.Targets[stepVIP]
	target.Eligible = true
	s.view.Targets[stepVIP] = target
}

// E8: a successor that takes the VIP although the request was dropped is heard before the old holder stops.
func TestE8DroppedRequestIsStillARequest(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	before := s.view.Targets[stepVIP]
	ineligible(plan.Cordoned)(s)
	var out Actions
	s.until(time.Second, "request", func(step Actions) bool { out = step; return namings(step) })
	successor := out.Namings[0].Successor
	before.Eligible = true
	s.view.Targets[stepVIP] = before // uncordoned at once
	s.step()
	s.taken(successor)
	s.step()
	if !s.core.Answering(stepVIP) {
		t.Error("stopped before the successor was heard")
	}
	out = s.step(Sighting{VIP: stepVIP, Node: successor})
	if s.core.Answering(stepVIP) || len(out.HandOvers) != 1 {
		t.Errorf("still answering, or %d hand-overs told of", len(out.HandOvers))
	}
}

// E8: a successor is one that is heard and renews its session, as long as there is one.
func TestE8SuccessorIsOneThatCanTake(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*steps)
		want   string
	}{
		"the first in order":                    {func(*steps) {}, "n2"},
		"the first is silent":                   {func(s *steps) { s.hears["n2"] = false }, "n3"},
		"the first cannot reach the API server": {func(s *steps) { s.renews["n2"] = false }, "n3"},
		"nobody is heard, and nobody renews": {func(s *steps) {
			s.hears["n2"], s.hears["n3"], s.renews["n2"], s.renews["n3"] = false, false, false, false
		}, "n2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.candidates("n1", "n2", "n3")
			s.held("n1")
			s.pass(5 * time.Second)
			test.change(s)
			s.pass(4500 * time.Millisecond)
			s.view.Leaving = true
			var out Actions
			s.until(time.Second, "request", func(step Actions) bool { out = step; return namings(step) })
			if got := out.Namings[0].Successor; got != test.want {
				t.Errorf("asked %s, want %s", got, test.want)
			}
		})
	}
}

// E8: a VIP lost without having been asked for is no hand-over.
func TestE8LossIsNoHandOver(t *testing.T) {
	s := newSteps(t, 3, nil)
	s.held("n1")
	s.pass(5 * time.Second)
	s.taken("n2")
	if out := s.step(); len(out.HandOvers) > 0 || len(out.Changes) != 1 || s.core.Answering(stepVIP) {
		t.Errorf("hand-overs %+v, changes %+v", out.HandOvers, out.Changes)
	}
}

// E8, E10: who is asked takes the VIP, also one that backs off: it says so on its session, and there was nobody else.
func TestE8WhoIsAskedTakes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*steps)
		want   bool
	}{
		"eligible":             {func(*steps) {}, true},
		"backs off":            {func(s *steps) { s.core.HoldOff(s.began.Add(time.Hour)) }, true},
		"not eligible":         {func(s *steps) { ineligible(plan.Cordoned)(s) }, false},
		"leaves":               {func(s *steps) { s.view.Leaving = true }, false},
		"cannot renew":         {func(s *steps) { s.renewing = false; s.view.Ack = s.began }, false},
		"has no interface":     {func(s *steps) { s.view.LinkDown = true }, false},
		"has just started":     {func(s *steps) { s.core.started = s.view.Now }, false},
		"another one is asked": {func(s *steps) { s.successor("n3") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.candidates("n2", "n1", "n3")
			s.eligible()
			s.held("n2")
			s.pass(5 * time.Second)
			s.successor("n1")
			test.change(s)
			if got := claims(s.step()); got != test.want {
				t.Errorf("takes it: %v, want %v", got, test.want)
			}
		})
	}
}

func (s *steps) successor(node string) {
	lease := s.view.Leases[stepVIP]
	lease.Successor = node
	s.view.Leases[stepVIP] = lease
}

// E9: where heartbeats never got through, a gateway that restarts makes nobody write again and again: a successor is asked once. Where they did,
// the next is asked after a second.
func TestE9GatewayRestarts(t *testing.T) {
	for name, test := range map[string]struct {
		filtered bool
		want     int
	}{"heartbeats never heard": {true, 1}, "heartbeats heard": {false, 5}} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 5, nil)
			for node := range s.hears {
				s.hears[node] = !test.filtered
			}
			s.held("n1")
			requests := func(steps int) (count int) { // with a gateway that answers each question, or none
				for range steps {
					out := s.step()
					s.answering(out)
					count += len(out.Namings)
				}
				return count
			}
			if got := requests(50); got > 0 {
				t.Fatalf("%d requests before", got)
			}
			for node := range s.hears {
				s.hears[node] = false
			}
			s.gateway = false
			if got := requests(200); test.filtered && got != test.want || got < test.want {
				t.Errorf("%d requests in 20 s, want %d", got, test.want)
			}
			if !s.core.Answering(stepVIP) {
				t.Error("does not answer any more")
			}
			s.gateway = true
			requests(20)
			if s.core.isolated || !s.core.Answering(stepVIP) {
				t.Errorf("isolated %v, answers %v once the gateway is back", s.core.isolated, s.core.Answering(stepVIP))
			}
		})
	}
}
