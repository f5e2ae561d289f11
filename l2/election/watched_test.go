// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// A speaker listens for the gateway, the other nodes and the VIPs of the plan, once each, and for nothing that is none of these any more,
// whether it held it or not.
func TestWatched(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		want := func(n *node) []netip.Addr {
			list := append(slices.Collect(maps.Keys(w.plan())), gatewayAddress)
			for _, other := range w.all() {
				if other != n {
					list = append(list, other.address())
				}
			}
			slices.SortFunc(list, netip.Addr.Compare)
			return slices.Compact(list)
		}
		check := func() {
			t.Helper()
			for _, n := range w.all() {
				w.mu.Lock()
				got := maps.Clone(n.watched)
				w.mu.Unlock()
				for address, times := range got {
					if times != 1 {
						t.Errorf("%s watches %s %d times", n.name, address, times)
					}
				}
				listed := slices.SortedFunc(maps.Keys(got), netip.Addr.Compare)
				if diff := cmp.Diff(want(n), listed, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("%s: %s", n.name, diff)
				}
			}
		}
		w.pass(atRest)
		w.settled()
		check()
		for i := range 6 {
			gone := w.vip(i)
			w.mu.Lock()
			delete(w.vips, gone)
			w.mu.Unlock()
			w.tellPlan()
			w.pass(time.Second)
			if who := w.who(gone); len(who) > 0 {
				t.Errorf("%s is answered by %v", gone, who)
			}
			w.api.delete(names.VIPLease(gone))
			w.pass(5 * time.Second)
			check()
		}
		for _, n := range w.all() {
			n.speaker.SetGateway(netip.Addr{})
		}
		w.pass(time.Second)
		for _, n := range w.all() {
			w.mu.Lock()
			if n.watched[gatewayAddress] != 0 {
				t.Errorf("%s watches a gateway it does not have", n.name)
			}
			w.mu.Unlock()
			n.speaker.SetGateway(gatewayAddress)
		}
		w.pass(atRest)
		check()
	})
}

// E8: a node that is gone for good is not remembered for what it announced once.
func TestGoneSpeakersAreForgotten(t *testing.T) {
	s := newSteps(t, 4, nil)
	s.held("n2")
	s.pass(2 * time.Second)
	s.step(Sighting{VIP: stepVIP, Node: "n3"})
	delete(s.view.Sessions, "n3")
	s.step(Sighting{VIP: stepVIP, Node: "n4"})
	if seen := slices.Collect(maps.Keys(s.core.vips[stepVIP].seen)); !slices.Equal(seen, []string{"n4"}) {
		t.Errorf("remembers %v", seen)
	}
}

// lastTold remembers which VIPs it was told of.
type lastTold struct {
	*node
	vips []netip.Addr
}

func (l *lastTold) Announced(vip plan.VIP)            { l.vips = append(l.vips, vip.Addr) }
func (l *lastTold) Conflict(vip plan.VIP, _ Sighting) { l.vips = append(l.vips, vip.Addr) }

// What is told of a VIP names it, even if a plan without it has come while the targets are still those of the plan before.
func TestObserverIsToldOfTheVIP(t *testing.T) {
	w := &world{t: t, history: map[netip.Addr][]moment{}, chance: newChance(1)}
	w.api = newAPIServer(w.chance)
	n := w.newNode("n1", 1)
	n.answering[stepVIP] = &burst{} // or it would begin to
	told := &lastTold{node: n}
	s := NewSpeaker(klog.NewContext(context.Background(), klog.Logger{}), Config{
		Node: "n1", Timing: DefaultTiming(), Leases: w.api.client(n), Doubts: w.api.client(n), Announcer: n, Sender: n, Observer: told, Writes: 1,
	})
	s.act(context.Background(), Actions{
		Changes: []Change{{VIP: stepVIP, Announce: true}}, Conflicts: []Sighting{{VIP: stepVIP, MAC: strangerMAC}},
	})
	if want := []netip.Addr{stepVIP, stepVIP}; !slices.Equal(told.vips, want) {
		t.Errorf("told of %v, want %v", told.vips, want)
	}
}
