// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// longestBoth is the bound that docs/how-it-works.md states under "Measured": once two nodes that answer for one VIP can hear each other
// again, one of them stops within 1.5 s.
const longestBoth = 1500 * time.Millisecond

const (
	longestAPIGap    = time.Second     // while nodes lose the API server one after the other
	longestUnsettled = 5 * time.Second // until each VIP has one holder again
)

// beyondSession is longer than a session lasts that is not renewed, 4 s.
const beyondSession = 6 * time.Second

// A node that loses the API server alone goes on, and so do all when they lose it one after the other (E6). When they have it again,
// one node answers for each VIP.
func TestNodesLoseTheAPIServerOneAfterTheOther(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("severed")
	vips := []netip.Addr{a.vip}
	for _, name := range []string{"severed-b", "severed-c"} {
		b.apply(served(name))
		vips = append(vips, b.address(name))
	}
	for _, vip := range vips {
		b.holder(vip, lab.Anybody)
	}
	nodes, err := b.Nodes(b.ctx)
	b.must(err)
	first := slices.Index(nodes, a.holder)
	nodes[0], nodes[first] = nodes[first], nodes[0] // the node whose VIP is under load goes first

	w := b.watch(lab.Client, vips...)
	began := time.Now()
	var healed time.Time
	heal := b.later(func(ctx context.Context) error { return b.HealAll(ctx, nodes...) })
	report := b.under(a, 0, func(l *lab.Load) {
		for i, node := range nodes {
			b.must(b.IsolateFromAPI(b.ctx, node))
			alone := 2 * time.Second
			if i == 0 || i == len(nodes)-1 {
				alone = beyondSession
			}
			b.must(l.Await(b.ctx, int(alone.Seconds()*lab.Rate)))
		}
		heal()
		healed = time.Now()
		b.awaitReplies(w, healed.Add(longestUnsettled+time.Second))
	})
	if report.Gap.Length > longestAPIGap {
		t.Errorf("the longest gap was %v, want at most %v", round(report.Gap.Length), longestAPIGap)
	}
	b.must(b.AwaitCalm(b.ctx))
	all, settled := w.Since(began), w.Since(healed.Add(longestUnsettled))
	for _, vip := range vips {
		answers := of(vip, all)
		silence, both := arpwatch.Silence(answers), arpwatch.Both(answers, pause)
		t.Logf("%s was answered by %v, by nobody for %v, by two for %v", vip, hosts(answers), round(silence.Length()), round(both.Length()))
		if silence.Length() > longestAPIGap {
			t.Errorf("nobody answered for %s for %v, want at most %v", vip, round(silence.Length()), longestAPIGap)
		}
		if both := arpwatch.Both(of(vip, settled), pause); both.Length() > asked {
			t.Errorf("%v after the API server was back two nodes answered for %s, for %v", round(both.From.Sub(healed)), vip, round(both.Length()))
		}
		b.holder(vip, lab.Anybody)
	}
}

// A holder that is cut off from its peers and the API server, together with a client: each side of the LAN is answered by one node for
// as long as the split lasts, since a client must be served although the others are gone (E6). When the LAN is whole again,
// two nodes answer for no longer than the bound.
func TestIsolatedHolderServesItsSideUntilItHearsItsSuccessor(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("split")
	near, far := b.watch(lab.Client, a.vip), b.watch(lab.Gateway, a.vip)
	began := time.Now()
	heal := b.later(func(ctx context.Context) error { return b.HealAll(ctx, a.holder, lab.Client) })
	b.must(b.Split(b.ctx, a.holder, lab.Client))
	next, err := b.AwaitHolder(b.ctx, a.vip, lab.AnybodyBut(a.holder))
	b.must(err)
	apart := time.Now()
	b.awaitReplies(near, apart.Add(beyondSession))
	b.awaitReplies(far, apart.Add(beyondSession))
	healed := time.Now() // from here on the client may hear both sides
	heal()

	during := near.Since(began)
	during = slices.DeleteFunc(during, func(a arpwatch.Answer) bool { return !a.At.Before(healed) })
	if got, want := hosts(during), []string{a.holder}; !slices.Equal(got, want) {
		t.Errorf("on its side of the LAN %s was answered by %v, want %v", a.vip, got, want)
	}
	if silence := arpwatch.Silence(during); silence.Length() > longestAPIGap {
		t.Errorf("on its side of the LAN nobody answered for %s for %v", a.vip, round(silence.Length()))
	}
	if silence := arpwatch.Silence(far.Since(began)); silence.Length() > longestCrashGap {
		t.Errorf("on the other side nobody answered for %s for %v, want at most %v", a.vip, round(silence.Length()), longestCrashGap)
	}
	b.must(b.AwaitCalm(b.ctx))
	b.awaitReplies(near, healed.Add(longestBoth+time.Second))
	both := arpwatch.Both(near.Since(began), pause)
	t.Logf("%s went from %s to %s; once the LAN was whole two answered for %v", a.vip, a.holder, next, round(both.Length()))
	if both.Length() > longestBoth {
		t.Errorf("two nodes answered for %s for %v, want at most %v", a.vip, round(both.Length()), longestBoth)
	}
	b.holder(a.vip, lab.Anybody)
}
