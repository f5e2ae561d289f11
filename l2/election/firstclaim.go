// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Times of the probe before a VIP's first claim. RFC 5227 section 1.1 and RFC 4862 section 5.1 want several seconds, for
// networks of all kinds and hosts that wake up; this is one LAN, on which a Service's user waits. An answer takes less than a millisecond.
const (
	// probeCount probes are sent probeInterval apart, and probeQuiet after the last the VIP is free: half a second in all.
	probeCount    = 3
	probeInterval = 150 * time.Millisecond
	probeQuiet    = 200 * time.Millisecond
	// probeTurn is what each rank adds before the next candidate probes a VIP that was never held, and probeTurnEach what it adds for each such
	// VIP there was, up to probeTurnMost: those before it claim a thousand one after the other.
	probeTurn, probeTurnEach, probeTurnMost = 800 * time.Millisecond, 100 * time.Millisecond, 30 * time.Second
	// probesStarted bounds for how many VIPs a step begins to probe, so that a thousand new Services are no storm of broadcasts.
	probesStarted = 250
	// conflictRetry is how often a VIP in conflict is probed again, and conflictRepeat how often users are told of the same conflict.
	conflictRetry, conflictRepeat = 30 * time.Second, 10 * time.Minute
)

// firstClaim is what Core remembers of a VIP that was never held: who claims it first makes sure that no other host has it. A
// failover never comes here.
type firstClaim struct {
	// since when it is being probed, zero when it is not; sent probes so far, the last of them at sentAt.
	since, sentAt time.Time
	sent          int
	// stranger answered, or announced the VIP meanwhile; from the time met on.
	stranger Sighting
	met      time.Time
	// confirm is set when a stranger answered in the round before, too.
	confirm bool
	// turn is how long each candidate before this one has for it.
	turn time.Duration
	// from is when the VIP may be probed next; contested is set while its Lease tells of a conflict.
	from      time.Time
	contested bool
	// toldAt is when users were last told of a conflict.
	toldAt time.Time
	// ownAt is when the VIP was last marked for being an address of this node.
	ownAt time.Time
}

// ownAddresses are those of a node's interfaces.
func ownAddresses(interfaces []LocalInterface) map[netip.Addr]LocalInterface {
	own := map[netip.Addr]LocalInterface{}
	for _, each := range interfaces {
		for _, prefix := range each.Addresses {
			own[prefix.Addr()] = each
		}
	}
	return own
}

// markOwn is for a VIP that nobody holds. If it is an address of this node, which the plan does not let anybody announce, this speaker marks
// the conflict: a Service that did not ask for just this address is given another.
func (c *Core) markOwn(v *View, vip *vip, lease Lease, target Target, out *Actions) {
	own, ok := v.Own[vip.address]
	if !ok || target.Reason != string(plan.AddressOfNode) || lease.Contested || !c.renewed(v) {
		return
	}
	if first := &vip.first; first.ownAt.IsZero() || v.Now.Sub(first.ownAt) >= conflictRetry {
		first.ownAt = v.Now
		out.Marks = append(out.Marks, Mark{VIP: vip.address, Base: lease, Conflict: names.Conflict{MAC: own.MAC, Interface: own.Name, Node: c.node, Time: v.Now}})
	}
}

// neverHeld says that no speaker ever held the VIP, or that it was found in conflict before anyone did.
func (v *vip) neverHeld(lease Lease) bool {
	return !v.answering && !v.everHeld && (lease.NeverHeld || lease.Object == nil || lease.Contested)
}

// unopposed probes a VIP that was never held, and says when it may be claimed: when nobody answered. It is called in each step in which this
// speaker may claim it.
func (c *Core) unopposed(v *View, vip *vip, lease Lease, target Target, rank int, out *Actions) bool {
	first := &vip.first
	switch {
	case lease.Contested && !first.contested: // by this speaker or another, just now or before this one started
		first.contested, first.from = true, v.Now.Add(conflictRetry)
	case !lease.Contested && first.contested: // the conflict was settled by hand
		first.contested, first.from = false, time.Time{}
	}
	if first.since.IsZero() {
		from := later(later(vip.voidSince, first.from), c.takingSince(target))
		first.turn = min(max(first.turn, probeTurn+time.Duration(c.backlog)*probeTurnEach), probeTurnMost)
		if v.Now.Sub(from) < time.Duration(rank)*first.turn || c.probesStarted >= probesStarted {
			return false
		}
		c.probesStarted++
		first.since, first.sent, first.stranger, first.met = v.Now, 0, Sighting{}, time.Time{}
	}
	if !first.met.IsZero() {
		c.oppose(v, vip, lease, rank, out)
		return false
	}
	if first.sent < probeCount {
		if v.Now.Sub(first.since) >= time.Duration(first.sent)*probeInterval {
			first.sent, first.sentAt = first.sent+1, v.Now
			out.Probes = append(out.Probes, vip.address)
		}
		return false
	}
	if v.Now.Sub(first.sentAt) < probeQuiet {
		return false
	}
	first.stop()
	return true
}

// stop ends a round of probes.
func (f *firstClaim) stop() { f.since, f.confirm = time.Time{}, false }

// meet takes in that a stranger has, or wants, a VIP that is being probed.
func (f *firstClaim) meet(v *View, sighting Sighting) {
	if !f.since.IsZero() && f.met.IsZero() {
		f.stranger, f.met = sighting, v.Now
	}
}

// oppose is for a VIP for which a stranger answered. It may be a speaker whose hardware address is not on its session yet: only
// one that is a stranger still when every session had the time to say so, and that answers again, is a conflict.
func (c *Core) oppose(v *View, vip *vip, lease Lease, rank int, out *Actions) {
	first := &vip.first
	if v.MACs.Node(first.stranger.MAC) != "" {
		first.stop()
		return
	}
	if v.Now.Sub(first.met) < c.strangerGrace(v) {
		return
	}
	if !first.confirm {
		first.stop()
		first.confirm, first.from = true, v.Now
		return
	}
	found := names.Conflict{MAC: first.stranger.MAC, Interface: first.stranger.Interface, Node: c.node, Time: v.Now}
	isNew := !lease.Contested || lease.ContestedBy != found.MAC
	if isNew {
		out.Marks = append(out.Marks, Mark{VIP: vip.address, Base: lease, Conflict: found})
	}
	if isNew || rank == 0 && v.Now.Sub(first.toldAt) >= conflictRepeat {
		first.toldAt = v.Now
		first.stranger.Unclaimed = true
		out.Conflicts = append(out.Conflicts, first.stranger)
	}
	first.stop()
	first.from = v.Now.Add(conflictRetry)
}

// strangerGrace is how long a hardware address may be unknown before it is a stranger's: for as long as a speaker may need to write
// a new one on its session, and longer while some session names none.
func (c *Core) strangerGrace(v *View) time.Duration {
	if v.MACs.Complete {
		return 2 * c.timing.RetryPeriod
	}
	return 2 * c.timing.SessionDuration
}

// meetStranger takes in that a host whose hardware address is no speaker's announced a VIP or answered for it. One that this speaker
// answers for is defended at once (RFC 5227 section 2.4 b), unless a successor was just asked to take it: it may be that.
func (c *Core) meetStranger(v *View, vip *vip, sighting Sighting, out *Actions) {
	vip.first.meet(v, sighting)
	if !vip.answering {
		return
	}
	if vip.named == "" && v.Now.Sub(vip.defendedAt) >= defendEvery && c.announce(v, vip, out) {
		vip.defendedAt = v.Now
	}
	if vip.strangerSince.IsZero() && v.Now.Sub(vip.strangerToldAt) >= defendEvery {
		vip.stranger, vip.strangerSince = sighting, v.Now
	}
}

// judgeStranger tells users of a stranger that announced a VIP of this speaker, once it is sure that it is one.
func (c *Core) judgeStranger(v *View, vip *vip, out *Actions) {
	if vip.strangerSince.IsZero() {
		return
	}
	if node := v.MACs.Node(vip.stranger.MAC); node != "" {
		sighting := vip.stranger
		sighting.Node, vip.strangerSince = node, time.Time{}
		c.sight(v, sighting, out)
		return
	}
	if v.Now.Sub(vip.strangerSince) < c.strangerGrace(v) {
		return
	}
	vip.strangerSince, vip.strangerToldAt = time.Time{}, v.Now
	out.Conflicts = append(out.Conflicts, vip.stranger)
}

// claimReason says in words why this speaker claims a VIP that nobody holds.
func claimReason(target Target, rank int, listed bool) string {
	if !listed {
		return fmt.Sprintf("none of %d candidates took it", len(target.Candidates))
	}
	return fmt.Sprintf("candidate %d of %d, and nobody holds it", rank+1, len(target.Candidates))
}
