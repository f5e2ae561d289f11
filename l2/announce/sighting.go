// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Sighting is somebody else's claim to a watched or announced address, or interest in it.
type Sighting struct {
	Addr      netip.Addr
	MAC       MAC
	Interface string // where it was heard
	Kind      Kind
	At        time.Time
}

// Kind tells claims apart.
type Kind uint8

const (
	// KindAnnouncement was told to everybody, unasked. So is the answer to an NDP probe, by its flags.
	KindAnnouncement Kind = iota + 1
	// KindReply was told to this host, which had asked.
	KindReply
	// KindProbe is no claim yet: another host finds out whether it can have the address, as this one does. It is reported
	// from a Probe on, for two seconds, while the address is not announced here (RFC 5227 section 2.1.1, RFC 4862 section 5.4.3).
	KindProbe
	// KindUse is neither told nor asked: another host asks for a third address in the name of this one, as a kernel does that has
	// it (RFC 5227 section 2.4 takes any ARP packet for a conflict). It is reported while the address is announced here, or
	// within two seconds of a Probe for it. Solicitations come in only by chance or through the groups of VIPs, for they are not broadcast.
	KindUse
)

func (k Kind) String() string {
	switch k {
	case KindAnnouncement:
		return "announcement"
	case KindReply:
		return "reply"
	case KindProbe:
		return "probe"
	case KindUse:
		return "use"
	}
	return "unknown"
}

// claim is what is known of an address whose claims are reported: why, how many more may be, and when this host last probed
// for it. Who holds Announcer.mu owns the reasons; the rest is shared with the readers.
type claim struct {
	announced, watched bool
	limiters           limiters
	probed             atomic.Pointer[time.Time]
}

// probing says whether another host's probe matters.
func (c *claim) probing() bool {
	at := c.probed.Load()
	return at != nil && time.Since(*at) < probeWindow
}

const (
	// probeWindow is how long after a probe of its own a host looks for those of others (ANNOUNCE_WAIT, RFC 5227 section 1.1).
	probeWindow = 2 * time.Second

	// narrowDelay is how long the set of watched addresses must have been at rest before the filters are made for it.
	narrowDelay = 100 * time.Millisecond
)

// SetMembers says whose claims are not to be hidden by those of others: the MACs of the speakers. It replaces the list before.
func (a *Announcer) SetMembers(macs []MAC) {
	members := make(map[MAC]struct{}, len(macs))
	for _, mac := range macs {
		members[mac] = struct{}{}
	}
	a.members.Store(&members)
}

// hear begins reporting claims to an address, for the reason that why notes. The caller holds mu.
func (a *Announcer) hear(addr netip.Addr, why func(*claim)) {
	c := a.heard.get(addr)
	if c == nil {
		c = &claim{}
		a.heard.set(addr, c)
		// Claims to the new address must get through from now on. Letting all through is quick; an exact filter follows.
		for _, l := range *a.links.Load() {
			l.widen()
		}
		signal(a.narrow)
	}
	why(c)
}

// unhear takes a reason back, and stops reporting when none is left. The caller holds mu.
func (a *Announcer) unhear(addr netip.Addr, whyNot func(*claim)) {
	c := a.heard.get(addr)
	if c == nil {
		return
	}
	whyNot(c)
	if !c.announced && !c.watched {
		a.heard.set(addr, nil)
		signal(a.narrow)
	}
}

// narrowFilters lets the kernel drop claims to addresses that nobody watches, while those that somebody does fit in a
// filter. Run calls it.
func (a *Announcer) narrowFilters() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var v4, v6 []netip.Addr
	for addr := range a.heard.all() {
		if addr.Is4() {
			v4 = append(v4, addr)
		} else {
			v6 = append(v6, addr)
		}
	}
	for _, l := range *a.links.Load() {
		l.narrowTo(v4, v6)
	}
}

// claimReader passes on what one link's claim socket hears, and whom its request socket hears ask. It has no state of its own, and both
// goroutines use it.
type claimReader struct {
	announcer *Announcer
	link      *link
	proto     protocol
	drops     *dropCounters
}

// receive looks at one frame.
func (r *claimReader) receive(_ int, frame []byte) {
	if reason := r.pass(frame); reason != passed {
		r.drops[reason].Inc()
	}
}

func (r *claimReader) pass(frame []byte) DropReason {
	addr, mac, kind, reason := r.proto.claim(frame)
	if reason != passed {
		return reason
	}
	if slices.Contains(*r.announcer.ownMACs.Load(), mac) {
		return OwnMAC
	}
	c := r.announcer.heard.get(addr)
	if c == nil {
		return NotWatched
	}
	if kind == KindProbe && (!c.probing() || r.announcer.vips.get(addr) != nil) {
		return NotProbed
	}
	return r.sight(c, addr, mac, kind)
}

// asks looks at who asks for what. That is no claim to be counted when it is not passed on because nobody cares.
func (r *claimReader) asks(addr netip.Addr, mac MAC) {
	c := r.announcer.heard.get(addr)
	if c == nil || (!c.probing() && r.announcer.vips.get(addr) == nil) || slices.Contains(*r.announcer.ownMACs.Load(), mac) {
		return
	}
	if reason := r.sight(c, addr, mac, KindUse); reason != passed {
		r.drops[reason].Inc()
	}
}

// sight passes a claim on, unless there are too many.
func (r *claimReader) sight(c *claim, addr netip.Addr, mac MAC, kind Kind) DropReason {
	_, member := (*r.announcer.members.Load())[mac]
	if !c.limiters.of(mac, member).allow(time.Since(r.announcer.born)) {
		return RateLimited
	}
	// Several readers may find the same place free: strangers take a few of those reserved then, which is no harm.
	if !member && len(r.announcer.sightings) >= sightingsBuffered-sightingsReserved {
		return QueueFull
	}
	sighting := Sighting{Addr: addr, MAC: mac, Interface: r.link.state.Load().name, Kind: kind, At: time.Now()}
	select {
	case r.announcer.sightings <- sighting:
		return passed
	default:
		return QueueFull
	}
}
