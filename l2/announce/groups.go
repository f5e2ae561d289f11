// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// groups are the multicast groups in which the neighbours on one interface ask for the VIPs on it. Two memberships make
// one: the packet socket's lets the group's frames through the filter of the network card; that of an ordinary IPv6 socket has the
// kernel report it by MLD (RFC 3810), without which a switch that snoops keeps the questions to itself. Both end with their
// sockets. VIPs whose last 24 bits are the same share a group. Who holds Announcer.mu owns it.
//
// The price: for every multicast packet that comes in, the kernel looks for its group in a list of all that are joined
// (ipv6_chk_mcast_addr), before the packet sockets get it. 1,000 groups on one interface cost some 5 µs a packet, 10,000 some
// 150 µs, and the kernel's own answers take longer still. Without the IPv6 memberships it would be nothing, but then the reports would have
// to be made here, queries answered included.
type groups struct {
	index     int
	frames    *socket
	joined    map[netip.Addr]*membership
	renewing  []netip.Addr // whose IPv6 membership the kernel may have forgotten
	reporters []int        // descriptors of IPv6 sockets that neither send nor receive; net.core.optmem_max limits what one holds
}

// membership is one group's.
type membership struct {
	users    int
	reporter int // or notReported
}

const notReported = -1

// renewedAtOnce is how many groups are renewed while others wait for Announcer.mu: some 0.5 ms with 1,000 groups, 20 ms with 10,000.
const renewedAtOnce = 16

func newGroups(index int, frames *socket) *groups {
	return &groups{index: index, frames: frames, joined: map[netip.Addr]*membership{}}
}

// join adds a user to a group. When part of it fails, the rest is done all the same.
func (g *groups) join(group netip.Addr) error {
	if m := g.joined[group]; m != nil {
		m.users++
		return nil
	}
	m := &membership{users: 1, reporter: notReported}
	g.joined[group] = m
	return errors.Join(g.frames.join(groupMAC(group)), g.report(group, m))
}

// leave takes a user away; the last one ends the membership.
func (g *groups) leave(group netip.Addr) error {
	m := g.joined[group]
	if m == nil {
		return nil
	}
	if m.users--; m.users > 0 {
		return nil
	}
	delete(g.joined, group)
	err := g.frames.leave(groupMAC(group))
	if m.reporter != notReported {
		err = errors.Join(err, unix.SetsockoptIPv6Mreq(m.reporter, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, g.request(group)))
	}
	return err
}

// forgotten notes that every IPv6 membership is to be renewed.
func (g *groups) forgotten() {
	g.renewing = slices.Collect(maps.Keys(g.joined))
}

// renew makes up to most IPv6 memberships once more, for the kernel forgets them when it takes IPv6 away from an interface for a
// time. Each is ended first, or its end would later end the new one. Where nothing was forgotten, both follow each other
// before the kernel reports the first. It says whether there are more to renew.
func (g *groups) renew(most int) (more bool, failure error) {
	some := g.renewing[:min(most, len(g.renewing))]
	if g.renewing = g.renewing[len(some):]; len(g.renewing) == 0 {
		g.renewing = nil
	}
	for _, group := range some {
		m := g.joined[group]
		if m == nil { // left meanwhile
			continue
		}
		if m.reporter != notReported {
			_ = unix.SetsockoptIPv6Mreq(m.reporter, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, g.request(group))
			m.reporter = notReported
		}
		if err := g.report(group, m); err != nil {
			failure = err // one of them
		}
	}
	return len(g.renewing) > 0, failure
}

// report makes the IPv6 membership on a socket that has room for it.
func (g *groups) report(group netip.Addr, m *membership) error {
	for _, fd := range g.reporters {
		err := g.reportOn(fd, group, m)
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening an IPv6 socket: %w", err)
	}
	if err := g.reportOn(fd, group, m); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	g.reporters = append(g.reporters, fd)
	return nil
}

func (g *groups) reportOn(fd int, group netip.Addr, m *membership) error {
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, g.request(group)); err != nil {
		return fmt.Errorf("joining IPv6 multicast group %s: %w", group, err)
	}
	m.reporter = fd
	return nil
}

func (g *groups) request(group netip.Addr) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(g.index)}
}

// close ends the IPv6 memberships. Those of the packet socket end when that is closed.
func (g *groups) close() {
	for _, fd := range g.reporters {
		_ = unix.Close(fd)
	}
	g.reporters = nil
}
