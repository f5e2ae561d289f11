// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
)

// steps drives one Core through time by hand: what it sees is a value, and so is what it does.
type steps struct {
	t    *testing.T
	core *Core
	view View
	// hears are the members that are heard in each step, renews those whose session changes every second; the core's own does while renewing.
	hears, renews map[string]bool
	renewing      bool
	// gateway answers in each step while it is set.
	gateway bool
	began   time.Time
	members steadyMembers
}

// steadyMembers is a Liveness in which each epoch was last heard at a given time.
type steadyMembers map[string]time.Time

func (m steadyMembers) LastHeard(epoch string) (time.Time, bool) {
	at, ok := m[epoch]
	return at, ok
}

func (m steadyMembers) WitnessSince(except string, now time.Time) (time.Time, bool) {
	for epoch, at := range m {
		if epoch != except && now.Sub(at) < 250*time.Millisecond {
			return time.Time{}.Add(time.Hour), true
		}
	}
	return time.Time{}, false
}

func (m steadyMembers) Last(epoch string) (membership.Member, bool) {
	at, ok := m[epoch]
	return membership.Member{Epoch: epoch, LastHeard: at, HeardAt: at}, ok
}

func (m steadyMembers) Period(string) time.Duration { return DefaultTiming().Period }

var stepVIP = netip.MustParseAddr("192.168.1.200")

// newSteps is a core on the first of some nodes, n1, n2, …, all of them heard and renewed, and one VIP that nobody holds yet.
func newSteps(t *testing.T, nodes int, change func(*Timing)) *steps {
	timing := DefaultTiming()
	if change != nil {
		change(&timing)
	}
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := &steps{
		t: t, core: NewCore("n1", timing, false), hears: map[string]bool{}, renews: map[string]bool{}, renewing: true, gateway: true,
		began: began, members: steadyMembers{},
	}
	s.view = View{
		Now: began, Epoch: "n1/a", Ack: began, Sessions: map[string]Session{}, Leases: map[netip.Addr]Lease{}, Liveness: s.members,
		MACs: MACs{Nodes: map[string]string{}, Complete: true}, NodeAnsweredAt: map[string]time.Time{}, Synced: true,
	}
	var candidates []string
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		candidates = append(candidates, name)
		s.view.Sessions[name] = Session{Node: name, Epoch: Epoch(name + "/a"), Duration: timing.SessionDuration, ChangedAt: began, Object: &coordinationv1.Lease{}}
		s.view.MACs.Nodes["02:00:00:00:00:0"+name[1:]] = name
		if i > 0 {
			s.hears[name], s.renews[name] = true, true
		}
	}
	s.view.Targets = map[netip.Addr]Target{stepVIP: {Candidates: candidates}}
	return s
}

// step is one step of the core, a period after the last.
func (s *steps) step(sightings ...Sighting) Actions {
	return s.stepAfter(s.core.timing.Period, sightings...)
}

// stepAfter is one step after any time: a longer one is a stall.
func (s *steps) stepAfter(d time.Duration, sightings ...Sighting) Actions {
	s.view.Now = s.view.Now.Add(d)
	if s.renewing {
		s.view.Ack = s.view.Now
	}
	if s.gateway && !s.view.GatewayAnsweredAt.After(s.view.Now.Add(-time.Second)) {
		s.view.GatewayAnsweredAt = s.view.Now
	}
	for node := range s.renews {
		if session := s.view.Sessions[node]; s.renews[node] && s.view.Now.Sub(session.ChangedAt) >= time.Second {
			session.ChangedAt = s.view.Now
			s.view.Sessions[node] = session
		}
	}
	for node, heard := range s.hears {
		if heard {
			s.members[string(s.view.Sessions[node].Epoch)] = s.view.Now
		}
	}
	s.view.Sightings = sightings
	return s.core.Step(&s.view)
}

// until steps until something is done, and says when that was; it fails the test after a while.
func (s *steps) until(within time.Duration, what string, done func(Actions) bool, sightings ...Sighting) time.Duration {
	s.t.Helper()
	from := s.view.Now
	for s.view.Now.Sub(from) < within {
		if done(s.step(sightings...)) {
			return s.view.Now.Sub(from)
		}
	}
	s.t.Fatalf("no %s within %v", what, within)
	return 0
}

// pass steps for some time and returns everything that was done.
func (s *steps) pass(d time.Duration, sightings ...Sighting) Actions {
	var all Actions
	for from := s.view.Now; s.view.Now.Sub(from) < d; {
		out := s.step(sightings...)
		all.Changes = append(all.Changes, out.Changes...)
		all.Claims = append(all.Claims, out.Claims...)
		all.Fences = append(all.Fences, out.Fences...)
		all.Namings = append(all.Namings, out.Namings...)
		all.Releases = append(all.Releases, out.Releases...)
		all.Reannounce = append(all.Reannounce, out.Reannounce...)
		all.Probes = append(all.Probes, out.Probes...)
		all.Conflicts = append(all.Conflicts, out.Conflicts...)
		all.Marks = append(all.Marks, out.Marks...)
	}
	return all
}

// held makes a node the holder of the VIP by the records.
func (s *steps) held(node string) {
	s.view.Leases[stepVIP] = Lease{
		VIP: stepVIP, Holder: node, Epoch: s.view.Sessions[node].Epoch,
		Object: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}},
	}
	if node == "n1" {
		s.core.ClaimEnded(stepVIP, true, s.view.Now)
	}
}

// many makes the holder of the VIP that of so many in all, with the same candidates.
func (s *steps) many(count int) {
	address, lease, target := stepVIP, s.view.Leases[stepVIP], s.view.Targets[stepVIP]
	for range count - 1 {
		address = address.Next()
		lease.VIP = address
		s.view.Leases[address], s.view.Targets[address] = lease, target
	}
}

// freed makes the VIP one that was held once and is no longer.
func (s *steps) freed() {
	s.view.Leases[stepVIP] = Lease{VIP: stepVIP, Object: &coordinationv1.Lease{}}
}

func claims(out Actions) bool { return len(out.Claims) > 0 }

func (s *steps) candidates(nodes ...string) {
	s.view.Targets = map[netip.Addr]Target{stepVIP: {Candidates: slices.Clone(nodes)}}
}
