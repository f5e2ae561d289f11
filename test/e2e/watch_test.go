// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// asked is how often a watch asks for each VIP.
const asked = 20 * time.Millisecond

// pause between two replies of one host, after which it is taken to have stopped: several askings, so that a machine that stalled for a
// moment is not.
const pause = 150 * time.Millisecond

// watch asks for VIPs from a host of the LAN for as long as the test runs, and returns when each has been answered.
func (b *bench) watch(host string, vips ...netip.Addr) *lab.Stream[arpwatch.Answer] {
	b.t.Helper()
	started := time.Now()
	w, err := b.StartWatch(context.WithoutCancel(b.ctx), host, asked, vips...) // it ends by Stop, which says whether it went well
	b.must(err)
	b.t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			b.t.Error(err)
		}
	})
	b.must(w.Await(b.ctx, started, func(answers []arpwatch.Answer) error {
		for _, vip := range vips {
			if len(of(vip, answers)) == 0 {
				return fmt.Errorf("nobody has answered for %s", vip)
			}
		}
		return nil
	}))
	return w
}

// awaitReplies returns when somebody has replied at a time or after it: the watch has gone on until then.
func (b *bench) awaitReplies(w *lab.Stream[arpwatch.Answer], until time.Time) {
	b.t.Helper()
	b.must(w.Await(b.ctx, until, func(answers []arpwatch.Answer) error {
		if len(answers) == 0 {
			return fmt.Errorf("no answer since %v", until.Format(time.StampMilli))
		}
		return nil
	}))
}

// of are the answers for one VIP.
func of(vip netip.Addr, answers []arpwatch.Answer) []arpwatch.Answer {
	var those []arpwatch.Answer
	for _, a := range answers {
		if a.Target == vip {
			those = append(those, a)
		}
	}
	return those
}

// hosts that replied, each once, in the order in which they first did.
func hosts(answers []arpwatch.Answer) []string {
	var all []string
	seen := map[string]bool{}
	for _, a := range answers {
		if a.Kind == arpwatch.Reply && !seen[a.Host] {
			seen[a.Host] = true
			all = append(all, a.Host)
		}
	}
	return all
}
