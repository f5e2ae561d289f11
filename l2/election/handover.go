// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"time"
)

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
		switch { // who was named may take it until that is taken back, and is then a successor like any other
		case v.Now.Sub(vip.namedAt) < c.timing.SuccessorWait:
		case lease.Successor != "":
			vip.namedAt = v.Now
			out.Namings = append(out.Namings, Naming{VIP: vip.address, Base: lease, Reason: "stays"})
		default:
			vip.named, vip.passed, vip.rounds = "", nil, 0
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
