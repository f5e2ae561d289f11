// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// The groups that heartbeats are sent to. Both have link-local scope, so that no router forwards them.
//
// The IPv4 one is in the Local Network Control Block, because switches that snoop IGMP always flood that block (RFC 4541
// section 2.1.2), while groups such as 239.x fall silent minutes after the last querier does. It is the block's address for
// protocols without an assignment of their own (RFC 4727); other users of it are told apart by port and signature. The IPv6
// one is a transient group (RFC 4291 section 2.7), which needs no assignment; its identifier is in the range for groups that
// hosts choose themselves (RFC 3307 section 4.3).
var (
	groupIPv4 = netip.MustParseAddr(names.HeartbeatGroupIPv4)
	groupIPv6 = netip.MustParseAddr(names.HeartbeatGroupIPv6)
)

const (
	// hopLimit is that of all heartbeats, sent and believed: a router on the way would have made it less (RFC 5082).
	hopLimit = 255
	// trafficClass is CS6, network control: heartbeats should not be what a full queue drops.
	trafficClass = 0xc0
	// receiveBuffer holds a few hundred heartbeats, for when this process has to wait for a CPU.
	receiveBuffer = 1 << 20
)

// socket multicasts and receives heartbeats on one interface over one family. It is bound to the group, so that it
// shares the port with programs that use it on the host's own addresses.
type socket struct {
	family string
	conn   *net.UDPConn
	raw    syscall.RawConn
	to     unix.Sockaddr
	// mute is set when the interface has no address to send from.
	mute bool
	// read reads a datagram, and with it the hop limit it arrived with.
	read func(buffer []byte) (n, hops int, from net.Addr, err error)
}

func openIPv4(on Interface, port uint16) (*socket, error) {
	group := groupIPv4.As4()
	to := &unix.SockaddrInet4{Port: int(port), Addr: group}
	source, hasSource := sourceIPv4(on.Addresses)
	conn, err := listen(unix.AF_INET, to, func(fd int) error {
		// Only what arrives on this interface, not on every one that some socket of the host joined the group on.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
			return fmt.Errorf("IP_MULTICAST_ALL: %w", err)
		}
		from := &unix.IPMreqn{Ifindex: int32(on.Index)}
		if hasSource {
			from.Address = source.As4()
		}
		if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, from); err != nil {
			return fmt.Errorf("IP_MULTICAST_IF: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	return finish(&socket{family: "IPv4", conn: conn, to: to, mute: !hasSource, read: func(buffer []byte) (int, int, net.Addr, error) {
		n, control, from, err := p.ReadFrom(buffer)
		if control == nil {
			return n, 0, from, err
		}
		return n, control.TTL, from, err
	}}, []option{
		{"join the group", func() error {
			return p.JoinGroup(&net.Interface{Index: on.Index, Name: on.Name}, &net.UDPAddr{IP: group[:]})
		}},
		{"set the hop limit", func() error { return p.SetMulticastTTL(hopLimit) }},
		{"read the hop limit", func() error { return p.SetControlMessage(ipv4.FlagTTL, true) }},
		{"not hear itself", func() error { return p.SetMulticastLoopback(false) }},
		{"set the traffic class", func() error { return p.SetTOS(trafficClass) }},
	})
}

func openIPv6(on Interface, port uint16) (*socket, error) {
	group := groupIPv6.As16()
	// The zone binds the socket to the interface, which an option could not do without a capability on old kernels.
	to := &unix.SockaddrInet6{Port: int(port), Addr: group, ZoneId: uint32(on.Index)}
	conn, err := listen(unix.AF_INET6, to, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("IPV6_V6ONLY: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(conn)
	ifi := &net.Interface{Index: on.Index, Name: on.Name}
	return finish(&socket{family: "IPv6", conn: conn, to: to, read: func(buffer []byte) (int, int, net.Addr, error) {
		n, control, from, err := p.ReadFrom(buffer)
		if control == nil {
			return n, 0, from, err
		}
		return n, control.HopLimit, from, err
	}}, []option{
		{"choose the interface", func() error { return p.SetMulticastInterface(ifi) }},
		{"join the group", func() error { return p.JoinGroup(ifi, &net.UDPAddr{IP: group[:]}) }},
		{"set the hop limit", func() error { return p.SetMulticastHopLimit(hopLimit) }},
		{"read the hop limit", func() error { return p.SetControlMessage(ipv6.FlagHopLimit, true) }},
		{"not hear itself", func() error { return p.SetMulticastLoopback(false) }},
		{"set the traffic class", func() error { return p.SetTrafficClass(trafficClass) }},
	})
}

// sourceIPv4 chooses the address to send from: the first of the interface that belongs to a subnet. A /32 is more likely a VIP
// that somebody added than the host's own, and receivers with a reverse-path filter might not take it.
func sourceIPv4(addresses []netip.Prefix) (source netip.Addr, ok bool) {
	for _, prefix := range addresses {
		addr := prefix.Addr().Unmap()
		if !addr.Is4() {
			continue
		}
		if prefix.Bits() < addr.BitLen() {
			return addr, true
		}
		if !ok {
			source, ok = addr, true
		}
	}
	return source, ok
}

// listen binds a socket to exactly the address given, which net.ListenPacket does not do for a multicast group.
func listen(family int, address unix.Sockaddr, prepare func(fd int) error) (*net.UDPConn, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "heartbeats")
	defer file.Close() // the connection has a descriptor of its own
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err := prepare(fd); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, address); err != nil {
		return nil, fmt.Errorf("bind UDP socket to the group: %w", err)
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, fmt.Errorf("watch UDP socket: %w", err)
	}
	return conn.(*net.UDPConn), nil
}

// option is a setting of a socket and what it is for.
type option struct {
	purpose string
	set     func() error
}

func finish(s *socket, options []option) (*socket, error) {
	for _, option := range options {
		if err := option.set(); err != nil {
			s.conn.Close()
			return nil, fmt.Errorf("%s: %w", option.purpose, err)
		}
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		s.conn.Close()
		return nil, err
	}
	s.raw = raw
	_ = s.conn.SetReadBuffer(receiveBuffer) // as much of it as the kernel allows
	return s, nil
}

// send sends a datagram now or not at all: to wait for room in a queue would stop the decision loop.
func (s *socket) send(datagram []byte) error {
	var sent error
	err := s.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), datagram, unix.MSG_DONTWAIT, s.to)
		return true
	})
	if err != nil {
		return err
	}
	return sent
}
