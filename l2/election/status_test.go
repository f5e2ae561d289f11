// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

// statusOf asks a node's speaker what it does.
func statusOf(t *testing.T, n *node) inspect.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, err := n.speaker.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// states of the VIPs that a speaker is concerned with.
func states(status inspect.Status) map[string]inspect.State {
	states := map[string]inspect.State{}
	for _, vip := range status.VIPs {
		states[vip.Address.String()] = vip.State
	}
	return states
}

// In health a speaker says that it takes VIPs, whom it hears, and which VIPs are its own; together they answer for each VIP once.
func TestStatusInHealth(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(10 * time.Second)
		holders := map[netip.Addr]string{}
		for _, n := range w.all() {
			status := statusOf(t, n)
			if !status.Takes || status.WhyNot != "" || status.Isolated || !status.Session.Fresh || status.Session.Epoch == "" ||
				status.Session.Renewed == nil || *status.Session.Renewed > 2 {
				t.Errorf("%s: %+v", n.name, status)
			}
			if status.Gateway == nil || !status.Gateway.Answers || status.Gateway.Address != gatewayAddress {
				t.Errorf("%s: gateway %+v", n.name, status.Gateway)
			}
			if len(status.Interfaces) != 1 || status.Interfaces[0].MAC != n.mac() || status.SpeakerWith(n.mac()) != n.name || status.SpeakerWith(strangerMAC) != "" {
				t.Errorf("%s: interfaces %+v", n.name, status.Interfaces)
			}
			var speakers []string
			for _, each := range status.Speakers {
				speakers = append(speakers, each.Node)
				if each.Self != (each.Node == n.name) || !each.Self && (!each.Heard || *each.HeardAgo > 0.2) || !each.GatewayAnswers || !strings.HasPrefix(each.Epoch, each.Node+"/") {
					t.Errorf("%s: %+v", n.name, each)
				}
			}
			if diff := cmp.Diff([]string{"node-1", "node-2", "node-3"}, speakers); diff != "" {
				t.Errorf("%s: speakers -want +got:\n%s", n.name, diff)
			}
			for _, vip := range status.VIPs {
				if vip.State != inspect.Announcing || vip.Holder != n.name || vip.Held == nil || vip.Pool != "pool" || len(vip.Candidates) != 3 || !status.AnswersFor(vip.Address) {
					t.Errorf("%s: %+v", n.name, vip)
				}
				if other, twice := holders[vip.Address]; twice {
					t.Errorf("%s is announced by %s and %s", vip.Address, other, n.name)
				}
				holders[vip.Address] = n.name
			}
		}
		if len(holders) != 6 {
			t.Errorf("announced are %v", holders)
		}
	})
}

// What is out of the ordinary has a name.
func TestStatusOutOfTheOrdinary(t *testing.T) {
	taken := netip.AddrFrom4([4]byte{192, 168, 1, 200})
	for _, test := range []struct {
		name   string
		change func(*world)
		fault  func(*world, *node)
		why    string
		check  func(*testing.T, inspect.Status)
	}{
		{name: "it has just started", fault: func(_ *world, n *node) { n.crash(); n.restart() }, why: StartsUp},
		{name: "it has started while the API server is away", fault: func(w *world, n *node) {
			n.change(func(weather *weather) { weather.apiDown = true })
			n.crash()
			n.restart()
			w.pass(10 * time.Second)
		}, why: NoSession},
		{name: "no interface", fault: func(_ *world, n *node) { n.speaker.SetInterfaces(nil) }, why: LinkDown, check: func(t *testing.T, status inspect.Status) {
			if len(status.Interfaces) != 0 {
				t.Errorf("interfaces %v", status.Interfaces)
			}
		}},
		{name: "isolated", fault: func(w *world, n *node) {
			n.change(func(weather *weather) { weather.cut = true })
			w.pass(2 * time.Second)
		}, why: Isolated,
			check: func(t *testing.T, status inspect.Status) {
				if !status.Isolated || status.Gateway.Answers {
					t.Errorf("isolated %v, gateway %+v", status.Isolated, status.Gateway)
				}
				for _, each := range status.Speakers {
					if each.Heard {
						t.Errorf("%s is heard", each.Node)
					}
				}
			}},
		{name: "the API server is away", fault: func(w *world, n *node) {
			n.change(func(weather *weather) { weather.apiDown = true })
			w.pass(10 * time.Second)
		}, why: SessionNotRenewed,
			check: func(t *testing.T, status inspect.Status) {
				if status.Session.Fresh || *status.Session.Renewed < 9 || len(status.VIPs) == 0 || status.VIPs[0].State != inspect.Announcing {
					t.Errorf("session %+v, VIPs %+v", status.Session, status.VIPs)
				}
			}},
		{name: "another host has a VIP", change: func(w *world) { w.strangers[taken] = strangerMAC }, fault: func(*world, *node) {}, check: func(t *testing.T, status inspect.Status) {
			for _, vip := range status.VIPs {
				if vip.Address == taken && vip.State == inspect.InConflict && vip.Conflict != nil && vip.Conflict.MAC == strangerMAC && vip.Conflict.Interface == "eth0" {
					return
				}
			}
			t.Errorf("VIPs %+v", status.VIPs)
		}},
		{name: "it backs off", fault: func(_ *world, n *node) {
			n.speaker.post(func() { n.speaker.core.HoldOff(time.Now().Add(time.Minute)) })
		}, why: BackOff, check: func(t *testing.T, status inspect.Status) {
			if status.BackOff < 59 || status.BackOff > 60 {
				t.Errorf("backs off for %v s", status.BackOff)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			prepare := func(*world) {}
			if test.change != nil {
				prepare = test.change
			}
			inWorldWith(t, 3, 3, prepare, func(w *world) {
				w.pass(10 * time.Second)
				test.fault(w, w.node("node-1"))
				w.pass(100 * time.Millisecond)
				status := statusOf(t, w.node("node-1"))
				if status.WhyNot != test.why || status.Takes != (test.why == "") {
					t.Errorf("takes %v, because %q; want %q", status.Takes, status.WhyNot, test.why)
				}
				if test.check != nil {
					test.check(t, status)
				}
			})
		})
	}
}

// A VIP that is handed over says to whom and why until it has gone.
func TestStatusDuringAHandOver(t *testing.T) {
	inWorld(t, 2, 1, func(w *world) {
		w.pass(10 * time.Second)
		holder := w.node(w.settled()[w.vip(0)])
		for _, n := range w.all() {
			if n != holder { // it cannot take what it is asked to
				n.change(func(weather *weather) { weather.apiDown = true })
			}
		}
		w.exclude(holder.name, true)
		w.pass(300 * time.Millisecond)
		status := statusOf(t, holder)
		if len(status.VIPs) != 1 || status.VIPs[0].State != inspect.HandingOver || status.VIPs[0].Successor == "" || status.VIPs[0].Reason != "Cordoned" {
			t.Errorf("VIPs %+v", status.VIPs)
		}
		for _, n := range w.all() {
			n.change(func(weather *weather) { weather.apiDown = false })
		}
		w.pass(10 * time.Second)
		if got := states(statusOf(t, holder)); len(got) > 0 {
			t.Errorf("states %v when it has gone", got)
		}
	})
}

// A loop that does not turn is an error within the time that was given, and not silence.
func TestStatusOfAStuckLoop(t *testing.T) {
	inWorld(t, 1, 1, func(w *world) {
		w.pass(atRest)
		n := w.all()[0]
		if err := n.leave(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		began := time.Now()
		_, err := n.speaker.Status(ctx)
		if err == nil || !strings.Contains(err.Error(), "decision loop of node node-1, which does not turn") || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
