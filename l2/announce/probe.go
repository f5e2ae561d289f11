// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"slices"
	"time"
)

// Probe asks, once and on the named interfaces (none: all), whether somebody has addr, without touching anybody's
// neighbour table (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2). The answer is a Sighting, so addr must be watched or
// announced. So is, for two seconds, the probe of another host that would like to have addr at the same time.
func (a *Announcer) Probe(addr netip.Addr, interfaces []string) {
	addr = addr.Unmap().WithZone("")
	proto := protocolFor(addr)
	if proto == nil {
		return
	}
	a.hearProbes(addr, interfaces)
	for _, l := range *a.links.Load() {
		state := l.state.Load()
		if !state.up || (len(interfaces) > 0 && !slices.Contains(interfaces, state.name)) {
			continue
		}
		frame, err := proto.probe(state.mac, addr)
		a.sendOwn(l, proto, frame, err)
	}
}

// Ask asks for addr the ordinary way, as a host does before it sends. On an interface that has an address in the
// same subnet the request comes from there; when none has, it goes out on all, without a sender address as a probe has
// none. The answer is a Sighting, so addr must be watched.
func (a *Announcer) Ask(addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	proto := protocolFor(addr)
	if proto == nil {
		return
	}
	asked := false
	for _, l := range *a.links.Load() {
		state := l.state.Load()
		if from, ok := state.addressNear(addr); ok && state.up {
			frame, err := proto.ask(state.mac, from, addr)
			a.sendOwn(l, proto, frame, err)
			asked = true
		}
	}
	if !asked {
		a.Probe(addr, nil)
	}
}

// probedGroup is where an address is probed for that need not be announced: only who is in its group hears others that probe
// for it as well (RFC 4862 section 5.4.2).
type probedGroup struct {
	links []*link
	until time.Time
}

// hearProbes has others' probes for an address come in, and be reported, while this host probes for it.
func (a *Announcer) hearProbes(addr netip.Addr, interfaces []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.heard.get(addr)
	if c == nil || c.announced {
		return
	}
	now := time.Now()
	c.probed.Store(&now)
	group := a.probed[addr]
	for _, l := range *a.links.Load() {
		if state := l.state.Load(); len(interfaces) > 0 && !slices.Contains(interfaces, state.name) || slices.Contains(group.links, l) {
			continue
		}
		a.joinOrLeave(l, addr, false, true)
		group.links = append(group.links, l)
	}
	group.until = now.Add(probeWindow)
	a.probed[addr] = group
}

// leaveProbed leaves the groups of addresses that are no longer probed for. Run calls it now and then.
func (a *Announcer) leaveProbed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for addr, group := range a.probed {
		if now.Before(group.until) {
			continue
		}
		delete(a.probed, addr)
		for _, l := range group.links {
			if slices.Contains(*a.links.Load(), l) { // else its memberships have ended with it
				a.joinOrLeave(l, addr, true, false)
			}
		}
	}
}
