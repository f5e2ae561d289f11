// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Reasons for a hand-over that are not the plan's. Those of the plan, such as plan.Cordoned, say why this node may not announce the VIP any more.
const (
	// SpeakerStops: the speaker was told to stop.
	SpeakerStops = "SpeakerStops"
	// Isolated: neither the gateway nor any other speaker is heard (E9).
	Isolated = "Isolated"
	// LinkDown: the node has no interface to announce on.
	LinkDown = "LinkDown"
	// PreferredNode: a node that the preferredNodeSelectors weigh more may announce the VIP.
	PreferredNode = "PreferredNode"
	// NotInSubnet: a node with an address in the VIP's subnet may announce it; this one has none.
	NotInSubnet = "NotInSubnet"
	// Rebalance: this node holds more than its share, and another less.
	Rebalance = "Rebalance"
	// BackOff: this node, whose sessions were ended too often lately, holds the VIP for want of another, and there is another now.
	BackOff = "BackOff"
)

// longestWait is how often the wait for a successor doubles.
const longestWait = 5

// HandOver is a hand-over that has ended: the new holder was heard, or did not need to be.
type HandOver struct {
	VIP    netip.Addr
	To     string
	Reason string
	// Took is the time from the first request to a successor until this speaker stopped answering.
	Took time.Duration
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
	asked := vip.askedAt
	if asked.IsZero() { // the request has been dropped
		asked = vip.namedAt
	}
	if at, seen := vip.seen[lease.Successor]; seen && !at.Before(asked) && !at.Equal(vip.readFor) && v.Now.Sub(at) >= watchLag {
		vip.readFor = at
		c.read(v, vip, out) // the successor announces, and the watch is silent about it
	}
	reason := c.mustLeave(v, target)
	if reason == "" {
		c.keep(v, vip, lease, target, out)
		return
	}
	if !c.otherCandidate(target) {
		if !v.Leaving && !c.isolated && !v.LinkDown {
			c.stop(vip, reason, out)
			c.release(v, vip, lease, out)
		}
		return
	}
	// Each round in which nobody took it doubles the wait. Who never heard any of them may only have lost its gateway, as all others have: they
	// would not take it, and each request is a write.
	rounds := min(vip.rounds, longestWait)
	if reason == Isolated && !c.everHeard(v, target) {
		rounds = longestWait
	}
	if vip.named != "" && v.Now.Sub(vip.namedAt) < c.timing.SuccessorWait<<rounds {
		return
	}
	vip.moving = false
	c.name(v, vip, lease, c.successor(v, vip, target), reason, out)
}

// mustLeave says why this speaker may not keep a VIP that it holds; empty when it may.
func (c *Core) mustLeave(v *View, target Target) string {
	switch {
	case v.Leaving:
		return SpeakerStops
	case c.isolated:
		return Isolated
	case v.LinkDown:
		return LinkDown
	case c.rank(target) >= 0:
		return ""
	case target.Reason != "":
		return target.Reason
	case target.Eligible && len(target.Candidates) > 0:
		return BackOff
	}
	return string(plan.NoSpeaker)
}

// name asks a node to take a VIP.
func (c *Core) name(v *View, vip *vip, lease Lease, successor, reason string, out *Actions) {
	if vip.askedAt.IsZero() {
		vip.askedAt = v.Now
	}
	again := vip.named != ""
	vip.named, vip.namedAt, vip.why = successor, v.Now, reason
	vip.passed = append(vip.passed, successor)
	if !slices.Contains(vip.asked, successor) {
		vip.asked = append(vip.asked, successor)
	}
	out.Namings = append(out.Namings, Naming{VIP: vip.address, Base: lease, Successor: successor, Reason: reason, Again: again})
}

// unname ends a request to take a VIP. Whom it went to is remembered: one that takes the VIP all the same is still a successor.
func (v *vip) unname() {
	v.named, v.passed, v.rounds, v.askedAt, v.moving = "", nil, 0, time.Time{}, false
}

// successor is the first candidate that was not asked yet: among those heard in their current epoch, unless none is. One whose
// session is not renewed cannot take the VIP, heard or not.
func (c *Core) successor(v *View, vip *vip, target Target) string {
	var heard, unheard []string
	for _, node := range target.Candidates {
		if node == c.node {
			continue
		}
		session := v.Sessions[node]
		if c.hears(v, session.Epoch) && v.Now.Sub(session.ChangedAt) < session.Duration {
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

// everHeard says that another candidate has been heard in its current epoch, by this speaker or as others reported it.
func (c *Core) everHeard(v *View, target Target) bool {
	return slices.ContainsFunc(target.Candidates, func(node string) bool {
		_, ever := v.Liveness.LastHeard(string(v.Sessions[node].Epoch))
		return node != c.node && ever
	})
}

func (c *Core) otherCandidate(target Target) bool {
	return slices.ContainsFunc(target.Candidates, func(node string) bool { return node != c.node })
}

// stand is for a VIP that is another speaker's: this one stops answering, and takes it when asked to.
func (c *Core) stand(v *View, vip *vip, lease Lease, target Target, out *Actions) {
	c.lose(v, vip, lease, out)
	// Whoever is asked does not hold back: it says on its session that it backs off, so there was nobody else to ask.
	if lease.Successor == c.node && !vip.claiming && !v.Now.Before(vip.claimFrom) && !c.takesSince.IsZero() && target.Eligible {
		c.claim(v, vip, lease, "asked by "+lease.Holder, out)
	}
}

// lose is for a VIP whose Lease names another speaker: this one stops answering (E5), at the right moment if it handed the VIP over (E8).
func (c *Core) lose(v *View, vip *vip, lease Lease, out *Actions) {
	if vip.lostAt.IsZero() {
		vip.lostAt = v.Now
		vip.handedOver = slices.Contains(vip.asked, lease.Holder)
		vip.handOver = HandOver{VIP: vip.address, To: lease.Holder, Reason: vip.why, Took: v.Now.Sub(vip.askedAt)}
		if vip.askedAt.IsZero() { // the request had been dropped
			vip.handOver.Took = v.Now.Sub(vip.namedAt)
		}
		vip.asked = nil
		vip.yielded, vip.refused = false, 0
		vip.refutedAt = time.Time{} // who was in doubt was right
		vip.unname()
		if vip.handedOver && !vip.answering { // its interface was lost before
			out.HandOvers = append(out.HandOvers, vip.handOver)
		}
	}
	vip.lostTo = lease.Holder
	if vip.answering {
		c.letGo(v, vip, lease, out)
	}
	if !vip.answering {
		vip.yielded = false // it is not this speaker's to return to
	}
}

func (c *Core) letGo(v *View, vip *vip, lease Lease, out *Actions) {
	heardAt, heard := vip.seen[lease.Holder]
	switch {
	case !vip.handedOver:
		c.stop(vip, "lost to leader "+lease.Holder, out)
	case heard && !heardAt.Before(vip.namedAt):
		c.stop(vip, fmt.Sprintf("handed over to leader %s, which was heard", lease.Holder), out)
		c.completed(v, vip, out)
	case v.Now.Sub(vip.lostAt) >= c.unheardPatience(v, lease.Holder):
		c.stop(vip, "handed over to leader "+lease.Holder+", which was never heard", out)
		c.completed(v, vip, out)
	default:
		c.probe(v, vip, probeHandOver, out)
	}
}

// unheardPatience is how long a speaker that handed a VIP over goes on answering while the new holder does not. That one may not know yet that it has the VIP:
// its answer was lost and its watch stands. As long as its heartbeats show that both are on one LAN, it would answer a probe if it did.
func (c *Core) unheardPatience(v *View, holder string) time.Duration {
	if c.hears(v, v.Sessions[holder].Epoch) {
		return unheardDurations * c.timing.SessionDuration
	}
	return c.timing.SessionDuration
}

func (c *Core) completed(v *View, vip *vip, out *Actions) {
	vip.handOver.Took += v.Now.Sub(vip.lostAt)
	out.HandOvers = append(out.HandOvers, vip.handOver)
}
