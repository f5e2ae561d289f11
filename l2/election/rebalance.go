// SPDX-License-Identifier: Apache-2.0

package election

import (
	"hash/fnv"
	"time"
)

// How VIPs move that need not: to a node that has come back and has less than its share, or that is preferred. A move breaks the
// connections that are open through the VIP, so nothing moves that does not make the spread better, and nothing in a hurry.
const (
	// settled is how long a node has been a speaker that is heard, and this one able to take VIPs, before one moves to the other.
	settled = 10 * time.Second
	// moveRetry is how long a VIP stays that the better node did not take; it doubles with each time, moveRetries times.
	moveRetry   = 30 * time.Second
	moveRetries = 5
)

// keep is for a VIP that this speaker holds and may go on holding. It hands the VIP over, one at a time and one in an interval, if the plan
// has a better place for it (E10). The plan never asks for a move that leaves the spread as it was: so moves come to an end.
func (c *Core) keep(v *View, vip *vip, lease Lease, target Target, out *Actions) {
	if vip.moving {
		if v.Now.Sub(vip.namedAt) < 2*c.timing.SuccessorWait {
			return
		}
		vip.moveFrom = v.Now.Add(moveRetry << min(vip.refused, moveRetries))
		vip.refused++
	} else if c.mayMove(v, vip, target) {
		c.movedAt = v.Now
		vip.unname()
		c.name(v, vip, lease, target.Candidates[0], target.Better, out)
		vip.moving = true
		return
	}
	vip.unname()
	if lease.Successor == "" && v.Now.Sub(vip.namedAt) >= c.timing.SessionDuration {
		vip.asked = nil
	}
	if lease.Successor != "" && v.Now.Sub(vip.namedAt) >= c.timing.SuccessorWait {
		vip.namedAt = v.Now
		out.Namings = append(out.Namings, Naming{VIP: vip.address, Base: lease, Reason: "stays"})
	}
}

// mayMove says whether a VIP that may stay is to move now.
func (c *Core) mayMove(v *View, vip *vip, target Target) bool {
	interval := c.timing.RebalanceInterval
	return interval > 0 && target.Better != "" && vip.answering && !v.Now.Before(vip.moveFrom) && v.Now.Sub(c.movedAt) >= interval &&
		c.renewed(v) && c.takes(v, target) && v.Now.Sub(c.takesSince) >= settled && c.isSettled(v, target.Candidates[0])
}

// isSettled says that a node has had a session for some time and renews it, has given no VIP away, as one does that is about to stop and has not written it on
// its session yet, and has been heard all the while; where nobody is ever heard, because multicast is filtered, the session alone says so.
func (c *Core) isSettled(v *View, node string) bool {
	session := v.Sessions[node]
	if session.Epoch == "" || session.Leaving || session.BacksOff || v.Now.Sub(session.ChangedAt) >= session.Duration || v.Now.Sub(session.Since) < settled || v.Now.Sub(session.GaveAt) < settled {
		return false
	}
	if _, ever := v.Liveness.LastHeard(string(session.Epoch)); !ever {
		return !c.heardAny // else it may be on the other side of a LAN that is split
	}
	since, hears := c.heard[string(session.Epoch)]
	return hears && v.Now.Sub(since) >= settled
}

// spareRank is this node's place behind the candidates of a VIP that it may announce too: no order is computed for those, and where every
// candidate refuses they come in any order, a few at a time (E10).
func (c *Core) spareRank(vip *vip, target Target) int {
	const spread = 32
	hash := fnv.New32a()
	address := vip.address.As16()
	hash.Write(address[:])
	hash.Write([]byte(c.node))
	return len(target.Candidates) + 2 + int(hash.Sum32()%spread)
}
