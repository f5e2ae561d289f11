// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// vip is what Core remembers of one VIP beside the records.
type vip struct {
	address   netip.Addr
	answering bool

	// claiming is set while a claim is under way; claimFrom is when the next may start.
	claiming  bool
	claimFrom time.Time
	// voidSince is since when nobody holds the VIP by the records; zero while somebody does.
	voidSince time.Time

	// named is the successor this speaker asked to take the VIP, since namedAt; passed are those who did not.
	named   string
	namedAt time.Time
	passed  []string
	// rounds in which every candidate has been asked.
	rounds int
	// handedOver is set when the successor was asked by this speaker, so that it answers until it hears it (E8);
	// lostAt is when the records first showed another holder.
	handedOver bool
	lostAt     time.Time

	// seen is when each speaker was last heard announcing the VIP.
	seen map[string]time.Time
	// strangerAt is when a host that is no speaker was last answered with a defence.
	strangerAt time.Time
	// rightful is set when the speaker that was last seen has less of a claim than this one (see newer).
	rightful bool
	// reading is since when the API server is being asked who holds the VIP; zero when it is not.
	reading time.Time
	// readAt is when it was last asked, and readFor the sighting of a successor that it was last asked for.
	readAt, readFor time.Time
	// yielded is set when this speaker stopped answering although it may still hold the VIP (E7); quietFrom is since
	// when it has heard nobody answer.
	yielded   bool
	quietFrom time.Time

	probedAt, announcedAt time.Time
}

// decide brings what this speaker does for one VIP in line with the records and the plan.
func (c *Core) decide(v *View, vip *vip, out *Actions) {
	lease, standing := v.standing(c.node, vip.address)
	target, planned := v.Targets[vip.address]
	if standing != void {
		vip.voidSince = time.Time{}
	}
	switch standing {
	case mine:
		vip.handedOver, vip.lostAt = false, time.Time{}
		c.hold(v, vip, lease, target, planned, out)
	case theirs:
		c.stand(v, vip, lease, target, out)
	case void:
		c.seek(v, vip, lease, target, planned, out)
	}
	c.yieldOrReturn(v, vip, standing, target, out)
	if vip.answering && !c.mayAnswer(v) {
		c.stop(vip, "API server away for the session's duration, and told to withdraw", out)
	}
}

// hold is for a VIP that is this speaker's by the records: it answers, or hands over (E8).
func (c *Core) hold(v *View, vip *vip, lease Lease, target Target, planned bool, out *Actions) {
	if !planned {
		c.stop(vip, "no Service uses the address", out)
		c.release(v, vip, lease, out)
		return
	}
	if !vip.answering && !vip.yielded && !v.LinkDown && c.mayAnswer(v) {
		c.answer(v, vip, "elected leader by Lease", out)
	}
	if at, seen := vip.seen[lease.Successor]; seen && !at.Equal(vip.readFor) && v.Now.Sub(at) >= watchLag {
		vip.readFor = at
		c.read(v, vip, out) // the successor announces, and the watch is silent about it
	}
	stays := slices.Contains(target.Candidates, c.node) && !target.Misplaced && !v.Leaving && !c.isolated && !v.LinkDown
	if stays {
		vip.named, vip.passed, vip.rounds = "", nil, 0
		if lease.Successor != "" && v.Now.Sub(vip.namedAt) >= c.timing.SuccessorWait {
			vip.namedAt = v.Now
			out.Namings = append(out.Namings, Naming{VIP: vip.address, Base: lease, Reason: "stays"})
		}
		return
	}
	reason := target.Reason
	switch {
	case v.Leaving:
		reason = "speaker stops"
	case c.isolated:
		reason = "isolated from the LAN"
	case v.LinkDown:
		reason = "no interface to announce on"
	}
	if !c.otherCandidate(target) {
		if !v.Leaving && !c.isolated && !v.LinkDown {
			c.stop(vip, reason, out)
			c.release(v, vip, lease, out)
		}
		return
	}
	// Each round in which nobody took it doubles the wait.
	if vip.named != "" && v.Now.Sub(vip.namedAt) < c.timing.SuccessorWait<<min(vip.rounds, 5) {
		return
	}
	next := c.successor(v, vip, target)
	vip.named, vip.namedAt = next, v.Now
	vip.passed = append(vip.passed, next)
	out.Namings = append(out.Namings, Naming{VIP: vip.address, Base: lease, Successor: next, Reason: reason})
}

// successor is the first candidate that was not asked yet: among those heard in their current epoch, unless none is.
func (c *Core) successor(v *View, vip *vip, target Target) string {
	var heard, unheard []string
	for _, node := range target.Candidates {
		if node == c.node {
			continue
		}
		at, ok := v.Liveness.LastHeard(string(v.Sessions[node].Epoch))
		if ok && v.Now.Sub(at) < c.timing.silence() {
			heard = append(heard, node)
		} else {
			unheard = append(unheard, node)
		}
	}
	if len(heard) == 0 {
		heard = unheard
	}
	for _, node := range heard {
		if !slices.Contains(vip.passed, node) {
			return node
		}
	}
	vip.passed = nil
	vip.rounds++
	return heard[0]
}

func (c *Core) otherCandidate(target Target) bool {
	return slices.ContainsFunc(target.Candidates, func(node string) bool { return node != c.node })
}

// stand is for a VIP that is another speaker's: this one stops answering (E5), at the right moment if it handed the VIP
// over (E8), and takes it when asked to.
func (c *Core) stand(v *View, vip *vip, lease Lease, target Target, out *Actions) {
	if vip.lostAt.IsZero() {
		vip.lostAt = v.Now
		vip.handedOver = vip.answering && slices.Contains(vip.passed, lease.Holder)
		vip.named, vip.passed, vip.rounds, vip.yielded = "", nil, 0, false
	}
	if vip.answering {
		c.letGo(v, vip, lease, out)
	}
	if lease.Successor == c.node && !vip.claiming && !v.Now.Before(vip.claimFrom) && !c.takesSince.IsZero() &&
		slices.Contains(target.Candidates, c.node) {
		c.claim(v, vip, lease, "asked by "+lease.Holder, out)
	}
}

func (c *Core) letGo(v *View, vip *vip, lease Lease, out *Actions) {
	heardAt, heard := vip.seen[lease.Holder]
	switch {
	case !vip.handedOver:
		c.stop(vip, "lost to leader "+lease.Holder, out)
	case heard && !heardAt.Before(vip.namedAt):
		c.stop(vip, fmt.Sprintf("handed over to leader %s, which was heard after %s", lease.Holder, v.Now.Sub(vip.lostAt).Round(time.Millisecond)), out)
	case v.Now.Sub(vip.lostAt) >= c.timing.SessionDuration:
		c.stop(vip, "handed over to leader "+lease.Holder+", which was never heard", out)
	default:
		c.probe(v, vip, probeHandOver, out)
	}
}

// seek is for a VIP that nobody holds by the records: candidates claim it in their order (E10). A speaker that still
// answers for it, because it was fenced while it could not know, goes on until somebody holds it (E6).
func (c *Core) seek(v *View, vip *vip, lease Lease, target Target, planned bool, out *Actions) {
	vip.handedOver, vip.lostAt, vip.named, vip.passed, vip.rounds = false, time.Time{}, "", nil, 0
	if !planned {
		c.stop(vip, "no Service uses the address", out)
		return
	}
	rank := slices.Index(target.Candidates, c.node)
	if rank < 0 && len(target.Candidates) == 0 && target.Reason != "" && target.Reason != string(plan.NoSpeaker) {
		c.stop(vip, target.Reason, out)
	}
	if vip.voidSince.IsZero() {
		vip.voidSince = v.Now
	}
	// Speakers that start together may take VIPs at the same moment: their ranks count from then.
	if rank < 0 || vip.claiming || v.Now.Before(vip.claimFrom) || c.takesSince.IsZero() ||
		v.Now.Sub(later(vip.voidSince, c.takesSince)) < time.Duration(rank)*c.timing.Stagger {
		return
	}
	c.claim(v, vip, lease, fmt.Sprintf("candidate %d of %d, and nobody holds it", rank+1, len(target.Candidates)), out)
}

// sight takes in that another host announced a VIP or answered for it (E7).
func (c *Core) sight(v *View, sighting Sighting, out *Actions) {
	vip := c.vips[sighting.VIP]
	if vip == nil || sighting.Node == c.node {
		return
	}
	vip.quietFrom = v.Now
	if sighting.Node == "" {
		if vip.answering && v.Now.Sub(vip.strangerAt) >= defendEvery {
			vip.strangerAt = v.Now
			out.Conflicts = append(out.Conflicts, sighting)
			out.Reannounce = append(out.Reannounce, vip.address)
		}
		return
	}
	if vip.seen == nil {
		vip.seen = map[string]time.Time{}
	}
	vip.seen[sighting.Node] = v.Now
	vip.rightful = c.newer(v, sighting.Node)
	lease, standing := v.standing(c.node, vip.address)
	expected := standing == theirs && lease.Holder == sighting.Node || standing == mine && lease.Successor == sighting.Node
	if !expected {
		c.read(v, vip, out)
	}
}

// newer says that neither this speaker's session nor the other's is fresh, and that this one's last acknowledged write is the
// newer: if both have been cut off from the API server, this one knew it last, and stays (E7).
func (c *Core) newer(v *View, node string) bool {
	last, heard := v.Liveness.Last(string(v.Sessions[node].Epoch))
	return heard && !c.renewed(v) && v.Now.Sub(last.AckedAt) >= c.timing.RenewDeadline && v.Ack.After(last.AckedAt)
}

// read asks the API server who holds a VIP that this speaker answers for, unless it is being asked already.
func (c *Core) read(v *View, vip *vip, out *Actions) {
	if vip.answering && vip.reading.IsZero() && v.Now.Sub(vip.readAt) >= readEvery {
		vip.reading, vip.readAt = v.Now, v.Now
		out.Reads = append(out.Reads, vip.address)
	}
}

// ReadEnded takes in that the API server has, or has not, said who holds a VIP; what it said is in the records.
func (c *Core) ReadEnded(address netip.Addr, answered bool, now time.Time) {
	vip := c.vips[address]
	if vip == nil || vip.reading.IsZero() {
		return
	}
	vip.reading = time.Time{}
	switch {
	case answered || vip.rightful:
		vip.yielded, vip.announcedAt = false, time.Time{} // if it is ours, announce; if not, the records say so
	case !vip.yielded:
		vip.yielded, vip.quietFrom = true, now
	}
}

// yieldOrReturn is for a speaker that does not know whether a VIP is still its own: after another speaker was heard, or
// its link was down, it answers again only when the API server confirms it, or nobody else answers (E7).
func (c *Core) yieldOrReturn(v *View, vip *vip, standing standing, target Target, out *Actions) {
	if !vip.reading.IsZero() && v.Now.Sub(vip.reading) >= c.timing.ReadWait && vip.answering && !vip.rightful {
		c.yield(v, vip, "another speaker announces it, and the API server does not say whose it is", out)
	}
	if vip.answering && v.LinkDown {
		c.yield(v, vip, "no interface to announce on", out)
	}
	if vip.answering && vip.yielded {
		c.yield(v, vip, "another speaker announces it, and the API server is away", out)
	}
	if vip.yielded && v.LinkDown {
		vip.quietFrom = v.Now // who cannot hear does not know that it is quiet
	}
	switch {
	case vip.answering && !c.renewed(v):
		c.probe(v, vip, probeHeld, out)
	case !vip.yielded || v.LinkDown:
	case standing == mine && c.renewed(v):
		if vip.reading.IsZero() && v.Now.Sub(vip.readAt) >= c.timing.ReadWait {
			vip.reading, vip.readAt = v.Now, v.Now
			out.Reads = append(out.Reads, vip.address)
		}
	case standing == mine || standing == unsure:
		rank := max(0, slices.Index(target.Candidates, c.node))
		if c.mayAnswer(v) && v.Now.Sub(vip.quietFrom) >= silentVIP+time.Duration(rank)*rankWait {
			c.answer(v, vip, "nobody else answers, and the API server is away", out)
		} else {
			c.probe(v, vip, probeYielded, out)
		}
	case standing == void:
		vip.yielded = false
	}
	if vip.answering && vip.announcedAt.IsZero() {
		c.announce(v, vip, out)
	}
}

func (c *Core) yield(v *View, vip *vip, reason string, out *Actions) {
	c.stop(vip, reason, out)
	vip.yielded, vip.quietFrom = true, v.Now
}

func (c *Core) answer(v *View, vip *vip, reason string, out *Actions) {
	vip.answering, vip.yielded, vip.announcedAt = true, false, v.Now
	out.Changes = append(out.Changes, Change{VIP: vip.address, Announce: true, Reason: reason})
}

// stop makes the speaker not answer; it does nothing when it does not answer anyway.
func (c *Core) stop(vip *vip, reason string, out *Actions) {
	if vip.answering {
		vip.answering = false
		out.Changes = append(out.Changes, Change{VIP: vip.address, Reason: reason})
	}
}

// ClaimEnded takes in that a claim was answered; when it was won, the records say so.
func (c *Core) ClaimEnded(address netip.Addr, won bool, now time.Time) {
	vip := c.vips[address]
	if vip == nil {
		return
	}
	vip.claiming = false
	if !won {
		vip.claimFrom = now.Add(claimRetry)
	}
}

func (c *Core) claim(v *View, vip *vip, base Lease, reason string, out *Actions) {
	vip.claiming = true
	out.Claims = append(out.Claims, Claim{VIP: vip.address, Base: base, Reason: reason})
}

// release gives a VIP Lease back that this speaker holds and does not answer for any more.
func (c *Core) release(v *View, vip *vip, lease Lease, out *Actions) {
	if v.Now.Before(vip.claimFrom) {
		return
	}
	vip.claimFrom = v.Now.Add(c.timing.SuccessorWait)
	vip.yielded = false
	out.Releases = append(out.Releases, lease)
}

func (c *Core) probe(v *View, vip *vip, every time.Duration, out *Actions) {
	if v.Now.Sub(vip.probedAt) >= every {
		vip.probedAt = v.Now
		out.Probes = append(out.Probes, vip.address)
	}
}

func (c *Core) announce(v *View, vip *vip, out *Actions) {
	vip.announcedAt = v.Now
	out.Reannounce = append(out.Reannounce, vip.address)
}
