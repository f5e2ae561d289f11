// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// A node is its speaker's Announcer, Sender and Observer: what is here is the LAN.

// burst is an announcement that is repeated, as the announcer's are.
type burst struct{ rounds int }

const (
	burstRounds   = 5
	burstInterval = 1100 * time.Millisecond
)

// hears says whether a frame from one host gets to another. The caller holds the world's lock.
func (w *world) hears(from, to *node) bool {
	return from != to && to.speaker != nil && !from.weather.cut && !to.weather.cut && !to.dead && from.weather.side == to.weather.side
}

// answers says whether a host that asks for a VIP gets an answer from this node: its process runs, and its decision loop turned lately
// (E5). The caller holds the world's lock.
func (n *node) answers(vip netip.Addr) bool {
	return !n.dead && n.answering[vip] != nil && !time.Now().Before(n.stoodUntil) && n.speaker.Alive()
}

// deliver gives something to a node as soon as its process runs.
func (n *node) deliver(after time.Duration, give func(*Speaker)) {
	n.world.mu.Lock()
	after = max(after, time.Until(n.stoodUntil))
	n.world.mu.Unlock()
	if after <= 0 {
		give(n.speaker)
		return
	}
	time.AfterFunc(after, func() { give(n.speaker) })
}

// listeners are the nodes that a frame of this node gets to; twice says that it is sent twice, so that it is lost only with both.
func (n *node) listeners(twice bool) []*node {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*node
	for _, other := range w.nodes {
		if !w.hears(n, other) {
			continue
		}
		if loss := other.weather.loss; !w.chance.happens(loss) || twice && !w.chance.happens(loss) {
			list = append(list, other)
		}
	}
	return list
}

// Announce begins answering, and tells the LAN in a burst.
func (n *node) Announce(vip netip.Addr, _ []string) {
	w := n.world
	w.mu.Lock()
	if n.dead || n.answering[vip] != nil {
		w.mu.Unlock()
		return
	}
	n.rightful(vip)
	begun := &burst{rounds: burstRounds}
	n.answering[vip] = begun
	w.noteVIP(vip)
	w.mu.Unlock()
	n.sayAgain(vip, begun)
}

func (n *node) sayAgain(vip netip.Addr, of *burst) {
	n.world.mu.Lock()
	over := n.answering[vip] != of || of.rounds == 0
	of.rounds--
	n.world.mu.Unlock()
	if over {
		return
	}
	n.say(vip)
	time.AfterFunc(burstInterval, func() { n.sayAgain(vip, of) })
}

// Withdraw ends answering.
func (n *node) Withdraw(vip netip.Addr) {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(n.answering, vip)
	w.noteVIP(vip)
}

// Reannounce tells the LAN once.
func (n *node) Reannounce(vip netip.Addr) {
	n.world.mu.Lock()
	n.rightful(vip)
	n.world.mu.Unlock()
	n.say(vip)
}

// rightful writes down when the decision loop, which calls it, announces a VIP while the speaker has no epoch, or one that has ended by the API server and by
// its own records. The caller holds the world's lock.
func (n *node) rightful(vip netip.Addr) {
	s := n.speaker
	epoch := s.view.Epoch
	if knows := n.world.law.ended[string(epoch)] && s.records.sessions[n.name].Epoch != epoch; !n.dead && (epoch == "" || knows) {
		n.world.law.breaks("%s announced %s under the epoch %q, which it knew had ended", n.name, vip, epoch)
	}
}

// say tells the LAN once, in both forms of ARP.
func (n *node) say(vip netip.Addr) {
	n.world.mu.Lock()
	mute := !n.answers(vip)
	n.world.mu.Unlock()
	if mute {
		return
	}
	for _, other := range n.listeners(true) {
		if n.world.coarse && !other.concerned(vip) {
			continue
		}
		other.deliver(0, func(s *Speaker) { s.Sight(vip, n.mac(), "eth0") })
	}
}

// concerned says whether a node answers for a VIP itself.
func (n *node) concerned(vip netip.Addr) bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.answering[vip] != nil
}

// Probe asks the LAN who else answers for a VIP.
func (n *node) Probe(vip netip.Addr, _ []string) {
	w := n.world
	for _, other := range n.listeners(false) {
		w.mu.Lock()
		replies := other.answers(vip) && !w.chance.happens(n.weather.loss)
		if replies && w.loseAnswers > 0 {
			w.loseAnswers--
			replies = false
		}
		w.mu.Unlock()
		if replies {
			n.deliver(0, func(s *Speaker) { s.Sight(vip, other.mac(), "eth0") })
		}
	}
	w.mu.Lock()
	mac, strange := w.strangers[vip], n.weather.side == 0 && !n.weather.cut
	w.mu.Unlock()
	if mac != "" && strange {
		n.deliver(0, func(s *Speaker) { s.Sight(vip, mac, "eth0") })
	}
}

// Ask asks the LAN for the gateway's address, or a node's own.
func (n *node) Ask(address netip.Addr) {
	w := n.world
	w.mu.Lock()
	mac := ""
	switch {
	case n.weather.cut:
	case address == gatewayAddress:
		if !w.noGateway && !w.gatewayDown && n.weather.side == 0 {
			mac = "02:00:00:00:ff:ff"
		}
	default:
		for _, other := range w.nodes {
			runs := !other.dead || other.killed // it is the kernel that answers
			if other.address() == address && runs && !other.weather.cut && other.weather.side == n.weather.side && !w.chance.happens(other.weather.loss) {
				mac = other.mac()
			}
		}
	}
	lost := w.chance.happens(n.weather.loss)
	w.mu.Unlock()
	if mac != "" && !lost {
		n.deliver(0, func(s *Speaker) { s.Sight(address, mac, "eth0") })
	}
}

// Watch and Unwatch only remember: all is reported.
func (n *node) Watch(address netip.Addr) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.watched[address]++
}

// Unwatch undoes Watch.
func (n *node) Unwatch(address netip.Addr) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.watched[address]--
	if n.watched[address] == 0 {
		delete(n.watched, address)
	}
}

// Send multicasts a heartbeat. It is called from the decision loop, which is stuck here while it shall be.
func (n *node) Send(datagram []byte) {
	w := n.world
	w.mu.Lock()
	stuck := time.Until(n.stuckUntil)
	w.mu.Unlock()
	if stuck > 0 {
		time.AfterFunc(stuckLoop, w.note)
		time.Sleep(stuck)
		n.waitWhileStanding()
		time.AfterFunc(time.Millisecond, w.note)
	}
	w.mu.Lock()
	unheard := n.weather.muted || w.filtered || n.dead
	w.mu.Unlock()
	if unheard {
		return
	}
	for _, other := range n.listeners(false) {
		w.mu.Lock()
		there := other.weather
		w.mu.Unlock()
		if there.deaf {
			continue
		}
		hear := func(s *Speaker) { s.Hear(datagram, time.Now()) }
		other.deliver(w.chance.below(there.jitter), hear)
		if w.chance.happens(there.copies) {
			other.deliver(w.chance.below(there.jitter), hear)
		}
	}
}

// Announced and the others below are what the speaker tells of itself.
func (n *node) Announced(vip plan.VIP) {
	if !vip.Addr.IsValid() {
		n.world.t.Errorf("%s tells that it announces %+v", n.name, vip)
	}
}

// FirstAnnounced counts.
func (n *node) FirstAnnounced(plan.VIP) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.firsts++
}

// Moved keeps why.
func (n *node) Moved(vip plan.VIP, from, to, reason string) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.world.moved = append(n.world.moved, fmt.Sprintf("%s from %s to %s: %s", vip.Addr, from, to, reason))
}

// Withdrawn counts.
func (n *node) Withdrawn(netip.Addr) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.withdrawals++
}

// Conflict counts.
func (n *node) Conflict(plan.VIP, Sighting) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.conflicts++
}

// MembersHeard and Sessions do nothing.
func (n *node) MembersHeard(int)                 {}
func (n *node) Sessions(map[string]plan.Speaker) {}
