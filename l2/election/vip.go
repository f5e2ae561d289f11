// SPDX-License-Identifier: Apache-2.0

package election

import (
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

	// named is the successor this speaker asked to take the VIP, since namedAt; passed are those who did not
	// in this round, asked are all who might still do it.
	named         string
	namedAt       time.Time
	passed, asked []string
	// rounds in which every candidate has been asked.
	rounds int
	// why the VIP is handed over, and askedAt when the first successor was asked; handOver is what becomes of it.
	why      string
	askedAt  time.Time
	handOver HandOver
	// moving is set while it is handed over without need, moveFrom is when it may be next, and refused how often nobody took it.
	moving   bool
	moveFrom time.Time
	refused  int
	// handedOver is set when the successor was asked by this speaker, so that it answers until it hears it (E8);
	// lostAt is when the records first showed another holder.
	handedOver bool
	lostAt     time.Time
	// lostTo is who that was at last; tookFrom handed the VIP over to this speaker at tookAt.
	lostTo, tookFrom string
	tookAt           time.Time
	// repeat is set until a VIP that nobody handed over has been announced again: who was fenced without knowing it may have missed the first.
	repeat bool

	// seen is when each speaker was last heard announcing the VIP.
	seen map[string]time.Time
	// everHeld is set once the records have shown a holder; first is for a VIP that never had one.
	everHeld bool
	first    firstClaim
	// stranger announced the VIP, which this speaker answers for, at strangerSince; that is zero when users have been told,
	// at strangerToldAt. defendedAt is when the VIP was last announced against one.
	stranger                                  Sighting
	strangerSince, strangerToldAt, defendedAt time.Time
	// rightful is set when the speaker that was last seen has less of a claim than this one (see newer).
	rightful bool
	// doubtedAt is since when another speaker's announcement has made it doubtful whose the VIP is; zero when nothing does. refutedAt is when such a
	// doubt last proved wrong.
	doubtedAt, refutedAt time.Time
	// reading is since when the API server is being asked who holds the VIP; zero when it is not.
	reading time.Time
	// readAt is when it was last asked, and readFor the sighting of a successor that it was last asked for.
	readAt, readFor time.Time
	// yielded is set when this speaker stopped answering, at yieldedAt, although it may still hold the VIP (E7); quietFrom is since
	// when it has heard nobody answer.
	yielded              bool
	yieldedAt, quietFrom time.Time

	probedAt, announcedAt time.Time
}

// decide brings what this speaker does for one VIP in line with the records and the plan, and says whether either knows it.
func (c *Core) decide(v *View, vip *vip, out *Actions) (known bool) {
	lease, standing := v.standing(c.node, vip.address)
	if standing == theirs && !vip.answering && !vip.yielded && !vip.lostAt.IsZero() && lease.Successor != c.node {
		return true // at rest, which most VIPs are, ten times a second
	}
	target, planned := v.Targets[vip.address]
	heldBefore := vip.everHeld
	vip.everHeld = heldBefore || lease.Holder != ""
	if standing == mine && !(vip.lostAt.IsZero() && vip.voidSince.IsZero()) {
		vip.taken(v)
	}
	if standing != void {
		if standing == theirs && !vip.voidSince.IsZero() && heldBefore {
			c.took[lease.Holder] = v.Now
		}
		vip.voidSince = time.Time{}
	}
	switch standing {
	case mine:
		vip.handedOver, vip.lostAt = false, time.Time{}
		c.hold(v, vip, lease, target, planned, out)
	case theirs:
		c.stand(v, vip, lease, target, out)
	case unsure:
		if lease.Holder != c.node { // whatever has become of that one's session since: it took the VIP when this speaker did not hold it any more
			c.lose(v, vip, lease, out)
		}
	case void:
		c.seek(v, vip, lease, target, planned, out)
	}
	c.yieldOrReturn(v, vip, lease, standing, target, out)
	if vip.answering {
		c.judgeStranger(v, vip, out)
	} else {
		vip.strangerSince = time.Time{}
	}
	if vip.answering && !c.mayAnswer(v) {
		c.stop(vip, "API server away for the session's duration, and told to withdraw", out)
	}
	if !planned {
		_, known = v.Leases[vip.address]
	}
	return known || planned
}

// seek is for a VIP that nobody holds by the records: candidates claim it in their order (E10), after a probe if it never was held. A speaker that still
// answers for it, because it was fenced while it could not know, goes on until somebody holds it (E6).
func (c *Core) seek(v *View, vip *vip, lease Lease, target Target, planned bool, out *Actions) {
	vip.handedOver, vip.lostAt = false, time.Time{}
	vip.unname()
	vip.asked = nil
	if !planned {
		c.stop(vip, "no Service uses the address", out)
		return
	}
	if vip.neverHeld(lease) && !lease.Contested && len(target.Candidates) > 0 {
		c.unclaimed++
	}
	c.markOwn(v, vip, lease, target, out)
	rank := c.rank(target)
	if rank < 0 && len(target.Candidates) == 0 && target.Reason != "" && target.Reason != string(plan.NoSpeaker) {
		c.stop(vip, target.Reason, out)
	}
	if vip.voidSince.IsZero() {
		vip.voidSince = v.Now
	}
	listed := rank >= 0
	if !listed && target.Eligible && len(target.Candidates) > 0 {
		rank = c.spareRank(vip, target)
	}
	if rank < 0 || vip.claiming || v.Now.Before(vip.claimFrom) || !c.takes(v, target) {
		vip.first.stop()
		return
	}
	if vip.neverHeld(lease) {
		if !c.unopposed(v, vip, lease, target, rank, out) {
			return
		}
	} else if v.Now.Sub(c.ranksSince(vip, target, rank)) < time.Duration(rank)*c.timing.Stagger {
		return
	}
	c.claim(v, vip, lease, claimReason(target, rank, listed), out)
}

// ranksSince is from when the ranks of the candidates for a VIP that nobody holds count (E10): since nobody does, and since they may take VIPs, for
// speakers that start together may do so at the same moment. One before this speaker that is busy taking the other VIPs of a node
// that died, and not new ones, is given more time, up to busyMost: whoever claims what it is about to claim costs both of them a write.
func (c *Core) ranksSince(vip *vip, target Target, rank int) time.Time {
	since := later(vip.voidSince, c.takingSince(target))
	most := since.Add(busyMost)
	for _, node := range target.Candidates[:min(rank, len(target.Candidates))] {
		since = later(since, c.took[node])
	}
	if since.After(most) {
		return most
	}
	return since
}

// taken takes in that the records show this speaker as the holder, and showed another or none before. The API server has said so: no doubt of
// the time before counts any more (E7).
func (v *vip) taken(view *View) {
	v.yielded, v.reading, v.doubtedAt = false, time.Time{}, time.Time{}
	v.tookFrom, v.tookAt, v.repeat = "", view.Now, v.lostAt.IsZero()
	if !v.lostAt.IsZero() {
		v.tookFrom = v.lostTo
	}
}

func (c *Core) answer(v *View, vip *vip, reason string, out *Actions) {
	vip.answering, vip.yielded, vip.reading, vip.doubtedAt, vip.announcedAt = true, false, time.Time{}, time.Time{}, v.Now
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
	out.Claims = append(out.Claims, Claim{VIP: vip.address, Base: base, Reason: reason, First: vip.neverHeld(base)})
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

// ask is probe for what is asked of all VIPs at once; it says whether that was possible now.
func (c *Core) ask(v *View, vip *vip, out *Actions) bool {
	if c.asks < 1 {
		return false
	}
	c.asks--
	c.probe(v, vip, 0, out)
	return true
}

// announce tells the LAN again that this speaker answers for a VIP, if the VIP is its own by the records. Until it hears a successor it may also answer for one that
// is another's, or nobody's since its epoch ended: it does not call clients back from whoever takes that. It says whether it announced.
func (c *Core) announce(v *View, vip *vip, out *Actions) bool {
	if _, standing := v.standing(c.node, vip.address); standing != mine {
		return false
	}
	vip.announcedAt = v.Now
	out.Reannounce = append(out.Reannounce, vip.address)
	return true
}

// rank is this node's place among the candidates, or -1.
func (c *Core) rank(target Target) int { return slices.Index(target.Candidates, c.node) }
