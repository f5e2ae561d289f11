// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// sight takes in that another host announced a VIP or answered for it (E7).
func (c *Core) sight(v *View, sighting Sighting, out *Actions) {
	vip := c.vips[sighting.VIP]
	if vip == nil || sighting.Node == c.node || sighting.Use && sighting.Node != "" {
		return
	}
	if sighting.Rival { // other speakers probe as well, and their Leases say who may have it
		if sighting.Node == "" {
			vip.first.meet(v, sighting)
		}
		return
	}
	vip.quietFrom = v.Now
	if sighting.Node == "" {
		c.meetStranger(v, vip, sighting, out)
		return
	}
	if vip.seen == nil {
		vip.seen = map[string]time.Time{}
	}
	if _, known := vip.seen[sighting.Node]; !known {
		maps.DeleteFunc(vip.seen, func(node string, _ time.Time) bool { return v.Sessions[node].Node == "" })
	}
	vip.seen[sighting.Node] = v.Now
	vip.rightful = c.newer(v, sighting.Node)
	lease, standing := v.standing(c.node, vip.address)
	switch {
	case standing == theirs && lease.Holder == sighting.Node:
	case standing == mine && lease.Successor == sighting.Node:
	case standing == mine && c.justTook(v, vip, sighting.Node):
		if vip.answering && v.Now.Sub(vip.announcedAt) >= announceAgain { // it has not heard this one
			c.announce(v, vip, out)
		}
	default:
		c.read(v, vip, out)
		if vip.answering && c.older(v, sighting.Node) {
			c.yield(v, vip, "another speaker announces it, which the API server has acknowledged since this one was cut off", out)
		}
	}
}

// justTook says that this speaker has just taken the VIP from another at its request (E8): that one answers until it hears this one, and to hear
// it say so is no reason for a doubt. After a return it is one, or when the session may have run out: this speaker may have been fenced meanwhile.
func (c *Core) justTook(v *View, vip *vip, from string) bool {
	return from == vip.tookFrom && v.Now.Sub(vip.tookAt) < takeOver && c.valid(v) && c.returnedAt.Before(vip.tookAt)
}

// newer says that neither this speaker's session nor the other's is fresh, and that this one's last acknowledged write is the
// newer: if both have been cut off from the API server, this one knew it last, and stays (E7).
func (c *Core) newer(v *View, node string) bool {
	acked, heard := c.acked(v, node)
	return heard && !c.renewed(v) && v.Now.Sub(acked) >= c.timing.RenewDeadline && v.Ack.After(acked)
}

// older says that others may have ended this speaker's session, and that the other's last acknowledged write is the newer: that one knows better whose the VIP is,
// and this one does not wait for the API server to say so (E7). It is newer by a period at least, so that of two which both were alone one stays.
func (c *Core) older(v *View, node string) bool {
	acked, heard := c.acked(v, node)
	return heard && c.mayHaveEnded(v) && acked.Sub(v.Ack) >= c.timing.Period
}

// acked is when the API server last acknowledged a write of another speaker, as that one said lately: what it said long ago says nothing of its writes since.
func (c *Core) acked(v *View, node string) (at time.Time, heard bool) {
	epoch := v.Sessions[node].Epoch
	last, heard := v.Liveness.Last(string(epoch))
	return last.AckedAt, heard && within(c.silenceOf(v, epoch), last.HeardAt, v.Now)
}

// read doubts that a VIP which this speaker answers for is its own, and asks the API server, unless that is being asked already, or for too many VIPs:
// then the next renewal of the session must do (see confirmed).
func (c *Core) read(v *View, vip *vip, out *Actions) {
	if !vip.answering || !vip.reading.IsZero() || v.Now.Sub(vip.readAt) < readEvery {
		return
	}
	if vip.doubtedAt.IsZero() {
		vip.doubtedAt = v.Now
	}
	vip.readAt = v.Now
	c.get(v, vip, out)
}

// get asks the API server who holds a VIP, if it may be asked now.
func (c *Core) get(v *View, vip *vip, out *Actions) {
	if c.reads >= 1 {
		c.reads--
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
	case answered || vip.rightful: // if it is ours, announce; if not, the records say so, and the doubt was right
		vip.yielded, vip.doubtedAt, vip.announcedAt = false, time.Time{}, time.Time{}
		if vip.lostAt.IsZero() {
			vip.refutedAt = now
		}
	case vip.answering && !vip.lied(now):
		vip.yielded, vip.quietFrom = true, now
	}
}

// yieldOrReturn is for a speaker that does not know whether a VIP is still its own: after another speaker was heard, or
// its link was down, it answers again only when the API server confirms it, or nobody else answers (E7).
func (c *Core) yieldOrReturn(v *View, vip *vip, lease Lease, standing standing, target Target, out *Actions) {
	if vip.answering && !vip.doubtedAt.IsZero() && standing == mine && c.confirmed(v, vip.doubtedAt, vip, lease) {
		vip.reading, vip.doubtedAt, vip.refutedAt, vip.announcedAt = time.Time{}, time.Time{}, v.Now, time.Time{}
	}
	if vip.rightful && vip.reading.IsZero() {
		vip.doubtedAt = time.Time{}
	}
	wait := c.timing.ReadWait
	switch {
	case !c.valid(v): // another may have taken its session for expired long ago
		wait = 0
	case vip.lied(v.Now) && !c.mayHaveEnded(v): // what proved wrong before that says nothing of what is so since
		wait += c.timing.RetryPeriod
	}
	if !vip.doubtedAt.IsZero() && v.Now.Sub(vip.doubtedAt) >= wait && vip.answering && !vip.rightful {
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
		if v.Now.Sub(vip.probedAt) >= probeHeld {
			c.ask(v, vip, out)
		}
	case !vip.yielded || v.LinkDown:
	case standing == mine && c.confirmed(v, vip.yieldedAt, vip, lease):
		vip.refutedAt = v.Now
		c.answer(v, vip, "its session was renewed since it yielded, and it asked nobody to take the VIP", out)
	case standing == mine && c.renewed(v):
		if vip.reading.IsZero() && v.Now.Sub(vip.readAt) >= c.timing.ReadWait {
			c.get(v, vip, out)
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
	if vip.answering && vip.repeat && v.Now.Sub(vip.tookAt) >= announceAgain {
		vip.repeat, vip.announcedAt = false, time.Time{}
	}
	if vip.answering && vip.announcedAt.IsZero() {
		c.announce(v, vip, out)
	}
}

// confirmed says that the API server has acknowledged a renewal of this speaker's epoch that was sent after a doubt arose: the epoch had not ended then,
// and nobody takes a VIP from a living epoch who was not asked to (E4). One answer speaks for all VIPs, where a server that is
// slow may have none for a read of each.
func (c *Core) confirmed(v *View, doubt time.Time, vip *vip, lease Lease) bool {
	return v.Ack.After(doubt) && c.renewed(v) && lease.Successor == "" && len(vip.asked) == 0 && c.mayAnswer(v)
}

// lied says that a doubt has proved wrong lately. Whoever sends false announcements in a speaker's name goes on doing it, and the next time this speaker
// waits for the next renewal of its session before it yields.
func (v *vip) lied(now time.Time) bool { return within(liedFor, v.refutedAt, now) }

func (c *Core) yield(v *View, vip *vip, reason string, out *Actions) {
	c.stop(vip, reason, out)
	vip.yielded, vip.yieldedAt, vip.quietFrom, vip.doubtedAt = true, v.Now, v.Now, time.Time{}
}
