// SPDX-License-Identifier: Apache-2.0

package election

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// moment is what clients see of a VIP from a time on: who answers those on the gateway's side of the LAN, and how many
// answer on the same side at most.
type moment struct {
	at    time.Time
	who   []string
	crowd int
}

// note writes down who answers clients from now on.
func (w *world) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for address := range w.vips {
		w.noteVIP(address)
	}
}

// noteVIP does so for one VIP. The caller holds the world's lock.
func (w *world) noteVIP(address netip.Addr) {
	var now moment
	sides := map[int]int{}
	for _, node := range w.nodes {
		if node.answering[address] == nil || node.weather.cut || !node.answers(address) {
			continue
		}
		side := node.weather.side
		sides[side]++
		now.crowd = max(now.crowd, sides[side])
		if side == 0 {
			now.who = append(now.who, node.name)
		}
	}
	seen := w.history[address]
	if len(seen) == 0 || seen[len(seen)-1].crowd != now.crowd || !slices.Equal(seen[len(seen)-1].who, now.who) {
		now.at = time.Now()
		w.history[address] = append(seen, now)
	}
}

// gap is the longest time since from in which nobody answered for some VIP, and overlap the longest in which more than one did.
func (w *world) gap(from time.Time) (gap, overlap time.Duration) {
	w.note()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seen := range w.history {
		var silent, crowded time.Duration // runs of moments of a kind
		for i, now := range seen {
			until := time.Now()
			if i+1 < len(seen) {
				until = seen[i+1].at
			}
			if !until.After(from) {
				continue
			}
			lasted := until.Sub(later(now.at, from))
			if len(now.who) > 0 {
				silent = 0
			} else {
				silent += lasted
			}
			if now.crowd < 2 {
				crowded = 0
			} else {
				crowded += lasted
			}
			gap, overlap = max(gap, silent), max(overlap, crowded)
		}
	}
	return gap, overlap
}

// who answers a client for a VIP now.
func (w *world) who(address netip.Addr) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteVIP(address)
	seen := w.history[address]
	return seen[len(seen)-1].who
}

// unsettled says what is not as it should be at rest: each VIP has one node that answers, which its Lease names. It
// returns who that is.
func (w *world) unsettled() (holders map[netip.Addr]string, err error) {
	holders = map[netip.Addr]string{}
	for address := range w.plan() {
		who := w.who(address)
		if len(who) != 1 {
			return holders, fmt.Errorf("%s: answered by %v, want one node", address, who)
		}
		lease := w.api.lease(names.VIPLease(address))
		if lease == nil || holder(lease) != who[0] {
			return holders, fmt.Errorf("%s: answered by %s, but its Lease says %v", address, who[0], lease)
		}
		session := w.api.lease(names.SessionLease(who[0]))
		if session == nil || holder(session) != lease.Annotations[names.AnnotationEpoch] {
			return holders, fmt.Errorf("%s: its Lease names an epoch of %s which has ended", address, who[0])
		}
		holders[address] = who[0]
	}
	return holders, nil
}

// settled fails the test unless all is as it should be at rest; it returns who holds each VIP.
func (w *world) settled() map[netip.Addr]string {
	w.t.Helper()
	holders, err := w.unsettled()
	if err != nil {
		w.t.Fatal(err)
	}
	return holders
}

// settles waits until all is as it should be at rest, at most for a time, and tells how long that took.
func (w *world) settles(within time.Duration) (time.Duration, error) {
	return w.settlesEvery(50*time.Millisecond, within)
}

// settlesEvery looks only that often.
func (w *world) settlesEvery(interval, within time.Duration) (time.Duration, error) {
	from := time.Now()
	for {
		_, err := w.unsettled()
		if took := time.Since(from); err == nil || took >= within {
			return took, err
		}
		w.pass(interval)
	}
}

// lawbook checks each write that the API server accepted against what the records promise. The world's lock guards it.
type lawbook struct {
	// ended are the epochs that are over, holders who last held each VIP.
	ended   map[string]bool
	holders map[string]string
	broken  []string
	// moves counts VIPs that went from one node to another, fences the sessions that a peer ended, falseFences those of them
	// in which nothing was wrong with the node.
	moves, fences, falseFences int
}

func newLawbook() lawbook { return lawbook{ended: map[string]bool{}, holders: map[string]string{}} }

// calmFor is how long nothing must have been wrong with a node for its fence to be a false one.
const calmFor = 10 * time.Second

// recordWrite takes in an accepted write; the API server's lock is held, so that writes come in their order.
func (w *world) recordWrite(before, after *coordinationv1.Lease, sessions func(node string) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	had, has := "", ""
	if before != nil {
		had = holder(before)
	}
	if after != nil {
		has = holder(after)
	}
	lease := cmp.Or(after, before)
	if node, ok := names.ParseSessionLease(lease.Name); ok {
		w.law.session(w, node, had, has, after)
		return
	}
	if had != "" && has != "" && had != has {
		epoch, successor := before.Annotations[names.AnnotationEpoch], before.Annotations[names.AnnotationSuccessor]
		if valid := sessions(had) == epoch; valid && successor != has {
			w.law.breaks("%s: %s took it from %s, whose session %s goes on and which asked %q", lease.Name, has, had, epoch, successor)
		}
	}
	if has != "" {
		epoch := after.Annotations[names.AnnotationEpoch]
		if node, _, _ := strings.Cut(epoch, "/"); node != has {
			w.law.breaks("%s: held by %s under the epoch %q of another", lease.Name, has, epoch)
		}
		if last := w.law.holders[lease.Name]; last != "" && last != has {
			w.law.moves++
		}
		w.law.holders[lease.Name] = has
	}
}

// session takes in a write to a session.
func (l *lawbook) session(w *world, node, had, has string, after *coordinationv1.Lease) {
	if had == has {
		return
	}
	if had != "" {
		l.ended[had] = true
	}
	if l.ended[has] {
		l.breaks("the session of %s names the epoch %s again, which had ended", node, has)
	}
	if has == "" && after != nil && after.Annotations[names.AnnotationFencedBy] != "" {
		l.fences++
		for _, each := range w.nodes {
			if each.name == node && !each.sound.IsZero() && time.Since(each.sound) > calmFor {
				l.falseFences++
			}
		}
	}
}

func (l *lawbook) breaks(format string, args ...any) {
	l.broken = append(l.broken, fmt.Sprintf(format, args...))
}

// lawful fails the test when the records ever broke their promises.
func (w *world) lawful() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, broken := range w.law.broken {
		w.t.Errorf("by the records: %s", broken)
	}
}
