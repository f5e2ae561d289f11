// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
)

// Epoch is the holderIdentity of a session Lease: `<node>/<random>`. It ends only by a write (E4).
type Epoch string

// Session is what the record of a speaker's session says.
type Session struct {
	Node string
	// Epoch is empty when the session has ended.
	Epoch Epoch
	// Leaving is set while its speaker hands over in order to stop.
	Leaving bool
	// BacksOff is set while its speaker takes no VIPs because its sessions were ended too often (E10).
	BacksOff bool
	// GaveAt is when its speaker last asked another to take one of its VIPs.
	GaveAt time.Time
	// Withdraws is set when its speaker stops answering once it cannot renew (--on-api-loss=withdraw).
	Withdraws bool
	// Since when, by this speaker's clock, its epoch has been the present one.
	Since time.Time
	// Duration after which an unchanged session may be fenced without any other sign (E4 a).
	Duration time.Duration
	// ChangedAt is when this speaker last saw the record change, by its own clock.
	ChangedAt time.Time
	// AliveAt is what that was before the session ended; zero while it has not.
	AliveAt time.Time
	// Object is the record itself; a swap is made against exactly this version.
	Object *coordinationv1.Lease
}

// Lease is what the record of a VIP says.
type Lease struct {
	VIP netip.Addr
	// Holder is the node's name, or empty.
	Holder string
	// Epoch under which Holder took the VIP.
	Epoch Epoch
	// Successor is the node that Holder asks to take over, or empty (E8).
	Successor string
	// NeverHeld is set when no speaker ever held the VIP: the Lease was made to tell of a conflict.
	NeverHeld bool
	// Contested is set while the Lease tells of a conflict, and ContestedBy is the hardware address it names, if that can be read.
	Contested   bool
	ContestedBy string
	// Ahead is set when this version came from an answer of the API server that the watch has not caught up
	// with: sessions in the same view may be older than it (E3).
	Ahead bool
	// Object is the record itself; a swap is made against exactly this version.
	Object *coordinationv1.Lease
}

// Target is what the plan says of a VIP.
type Target struct {
	// Candidates are the eligible live nodes in the order in which they stand (E10).
	Candidates []string
	// Interfaces on which this node may announce the VIP; nil means all.
	Interfaces []string
	// Eligible is set when this node may announce the VIP, whether it is listed among the candidates or not.
	Eligible bool
	// LastResort is set when all that may announce the VIP back off: then they do not.
	LastResort bool
	// Reason says why this node is not eligible; empty when it is.
	Reason string
	// Better says why the first candidate should hold the VIP instead of this node, which does: PreferredNode, NotInSubnet or Rebalance;
	// empty when there is no better place.
	Better string
}

// Sighting is an announcement of, or an answer for, a VIP by another host.
type Sighting struct {
	VIP netip.Addr
	// Node is the speaker whose hardware address it came from; empty for a stranger.
	Node string
	// MAC and Interface say where it was seen.
	MAC, Interface string
	// Rival is set when the host did not say that it has the VIP, but asked whether anybody has, in order to take it (RFC 5227 section
	// 2.1.1, RFC 4862 section 5.4.3).
	Rival bool
	// Use is set when the host did not say that it has the VIP, but asked for another address in its name (RFC 5227 section 2.4). A stranger
	// has it then; a speaker's kernel may have it for reasons of its own, and that is no announcement (E8).
	Use bool
	// Unclaimed is set, in a conflict, when the VIP is not announced because of it.
	Unclaimed bool
}

// MACs tells the hardware addresses of speakers from those of strangers.
type MACs struct {
	// Nodes by the hardware addresses that their sessions name.
	Nodes map[string]string
	// Complete is set when every session names one, or says that its speaker has none.
	Complete bool
}

// Node is the node that a hardware address belongs to; empty for a stranger's.
func (m MACs) Node(mac string) string { return m.Nodes[mac] }

// Liveness is what heartbeats tell (E11); membership.Judge is the real one.
type Liveness interface {
	// LastHeard is when an epoch was last heard, by this speaker or as others report it.
	LastHeard(epoch string) (at time.Time, ok bool)
	// WitnessSince is the time since when, without a break, some member other than the given one was heard.
	WitnessSince(except string, now time.Time) (since time.Time, ok bool)
	// Period is the one by which the silence of an epoch is judged: the longer of this speaker's own and the one that it announced.
	Period(epoch string) time.Duration
	// Last is what the last heartbeat of an epoch said.
	Last(epoch string) (member membership.Member, ok bool)
}

// View is what a speaker sees at one moment. Maps in it belong to the caller and are only read.
type View struct {
	Now time.Time
	// Epoch of this speaker's own session, and when the last acknowledged renewal of it was sent.
	Epoch Epoch
	Ack   time.Time
	// ValidUntil is when others may take the session for expired sooner than by Ack, because a shorter duration was written that is not
	// acknowledged; zero when there is none.
	ValidUntil time.Time
	// Sessions by node, Leases by VIP: the records.
	Sessions map[string]Session
	Leases   map[netip.Addr]Lease
	// Targets are the VIPs of the plan.
	Targets map[netip.Addr]Target
	// SameVIPs is set when Leases and Targets have the same VIPs as at the last step.
	SameVIPs bool
	// Liveness of the other speakers.
	Liveness Liveness
	// MACs of the speakers.
	MACs MACs
	// Own has, by address, the interfaces of this node that have one.
	Own map[netip.Addr]LocalInterface
	// GatewayAnsweredAt is when the default gateway last answered on the LAN; zero when it never did.
	GatewayAnsweredAt time.Time
	// NodeAnsweredAt is when each other node's own address last answered on the LAN.
	NodeAnsweredAt map[string]time.Time
	// LinkDown is set while this node has no interface to announce on.
	LinkDown bool
	// Synced is set once everything this speaker decides by has been listed.
	Synced bool
	// Leaving is set when the process has been told to stop.
	Leaving bool
	// Sightings since the last step.
	Sightings []Sighting
}

// standing is what the records say of who holds a VIP.
type standing int

const (
	void   standing = iota // nobody: no Lease, no holder, or an epoch that has ended
	mine                   // this speaker, in its present epoch
	theirs                 // another speaker, in its present epoch
	unsure                 // the view of the session may be older than the Lease (E3): nothing is claimed
)

// standing judges a VIP's Lease by its holder's session (E2, E3).
func (v *View) standing(node string, vip netip.Addr) (Lease, standing) {
	lease, ok := v.Leases[vip]
	if !ok || lease.Holder == "" {
		return lease, void
	}
	session := v.Sessions[lease.Holder]
	switch {
	case session.Epoch != "" && session.Epoch == lease.Epoch:
		if lease.Holder != node {
			return lease, theirs
		}
		if lease.Epoch == v.Epoch {
			return lease, mine
		}
		return lease, unsure
	case lease.Ahead:
		return lease, unsure
	}
	return lease, void
}

// unrenewed is how long the session of a speaker whose node answers must stand unchanged before its silence counts (E4 b): one and a half times
// what passes between renewals, which is a quarter of its duration.
func (s Session) unrenewed() time.Duration { return s.Duration * 3 / 8 }
