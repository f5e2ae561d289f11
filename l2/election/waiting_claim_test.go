// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// E2, E9: a claim that waits for its turn and has become pointless is called off, and costs no write; one that has not is made when its turn comes.
func TestWaitingClaimIsCalledOff(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Speaker)
		writes int
	}{
		{"nothing changed", func(*Speaker) {}, 1},
		{"the Lease changed", func(s *Speaker) { s.records.Answered(vipObject("n2", "n2/a", 20), time.Now()) }, 0},
		{"the Lease is gone", func(s *Speaker) { s.records.Gone(names.VIPLease(testVIP), "15") }, 0},
		{"the epoch has ended", func(s *Speaker) { s.view.Epoch = "n1/b" }, 0},
		{"nobody wants the VIP", func(s *Speaker) { s.view.Targets = nil }, 0},
		{"the speaker is isolated", func(s *Speaker) { s.core.isolated = true }, 0},
		{"the speaker stops", func(s *Speaker) { s.view.Leaving = true }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newAPIServer(newChance(1))
				client := api.client(&node{})
				s := NewSpeaker(t.Context(), Config{Node: "n1", Timing: DefaultTiming(), Leases: client, Sessions: client, Doubts: client, Writes: 1})
				now := time.Now()
				s.records.Watched(sessionObject("n1", "n1/a", 10), now)
				s.records.Watched(vipObject("", "", 15), now)
				s.view = View{
					Now: now, Epoch: "n1/a", Ack: now, Synced: true, Sessions: s.records.sessions, Leases: s.records.leases,
					Targets: map[netip.Addr]Target{testVIP: {Candidates: []string{"n1"}, Eligible: true}},
				}
				s.plan = map[netip.Addr]plan.VIP{testVIP: {Addr: testVIP}}
				s.core.started = now.Add(-time.Minute)
				s.core.vip(testVIP).claiming = true
				free, err := s.slot(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.claim(t.Context(), Claim{VIP: testVIP, Base: s.view.Leases[testVIP]})
				synctest.Wait()
				test.change(s)
				s.dropElectors()
				synctest.Wait()
				free()
				synctest.Wait()
				if writes, _ := api.counts(); writes != test.writes {
					t.Errorf("%d writes, want %d", writes, test.writes)
				}
				for _, do := range s.mail {
					do()
				}
				if s.core.vips[testVIP].claiming {
					t.Error("the claim has not ended")
				}
				s.electors[testVIP].cancel()
				s.work.Wait()
			})
		})
	}
}

// E10: who stands behind a candidate that is busy taking the VIPs of a node that is gone gives it time, within bounds, and gives none to others.
func TestE10BusyCandidateIsGivenTime(t *testing.T) {
	const period, stagger = 100 * time.Millisecond, 150 * time.Millisecond
	for _, test := range []struct {
		name string
		// busy takes another VIP in each step, for so long; held are these VIPs before, by a node that is gone.
		busy       string
		busyFor    time.Duration
		held       bool
		candidates []string
		from, till time.Duration
	}{
		{"the one before takes nothing", "", 0, true, []string{"n2", "n1", "n3"}, stagger, stagger + period},
		{"the one before is busy for a while", "n2", time.Second, true, []string{"n2", "n1", "n3"}, time.Second + stagger, time.Second + stagger + 2*period},
		{"two before, and one is busy", "n2", time.Second, true, []string{"n3", "n2", "n1"}, time.Second + 2*stagger, time.Second + 2*stagger + 2*period},
		{"the one before is busy for long", "n2", time.Minute, true, []string{"n2", "n1", "n3"}, busyMost + stagger, busyMost + stagger + period},
		{"one behind is busy", "n3", time.Minute, true, []string{"n2", "n1", "n3"}, stagger, stagger + period},
		{"this one is first", "n2", time.Minute, true, []string{"n1", "n2", "n3"}, 0, period},
		{"the one before takes new VIPs", "n2", time.Minute, false, []string{"n2", "n1", "n3"}, stagger, stagger + period},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.held("n3")
			target := Target{Candidates: test.candidates, Eligible: true}
			s.view.Targets[stepVIP] = target
			var others []netip.Addr
			for address := stepVIP.Next(); len(others) < 100; address = address.Next() {
				others = append(others, address)
				s.view.Targets[address] = Target{Candidates: []string{test.busy}}
				if test.held {
					s.view.Leases[address] = Lease{VIP: address, Holder: "n4", Epoch: "n4/a", Object: s.view.Leases[stepVIP].Object}
				}
			}
			s.view.Sessions["n4"] = Session{Node: "n4", Epoch: "n4/a", Duration: time.Hour, ChangedAt: s.view.Now}
			s.pass(10 * time.Second)
			s.session("n4", func(gone *Session) { gone.Epoch = "" })
			s.freed()
			from := s.view.Now.Add(period) // which is the step that sees it
			for {
				if s.view.Now.Sub(from) < test.busyFor && test.busy != "" {
					lease := s.view.Leases[stepVIP]
					lease.VIP, lease.Holder, lease.Epoch = others[0], test.busy, s.view.Sessions[test.busy].Epoch
					s.view.Leases[others[0]], others = lease, others[1:]
				}
				out := s.step()
				waited := s.view.Now.Sub(from)
				if len(out.Claims) > 0 && out.Claims[0].VIP == stepVIP {
					if waited < test.from || waited > test.till {
						t.Errorf("claimed after %v, want %v to %v", waited, test.from, test.till)
					}
					return
				}
				if waited > 2*busyMost {
					t.Fatalf("nothing is claimed in %v", waited)
				}
			}
		})
	}
}
