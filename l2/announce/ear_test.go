// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wire is one end of a wire, where whole frames are heard and said.
type wire struct {
	*packet.Conn
	t   testing.TB
	mac MAC
}

// wireAt is the end at an interface of a host, or of the node when that is nil. It is open until the test ends.
func wireAt(t testing.TB, h *host, name string, etherType int, filter ...bpf.Instruction) *wire {
	t.Helper()
	w := &wire{t: t}
	open := func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		program, err := bpf.Assemble(filter)
		if err != nil {
			return err
		}
		w.mac = MAC(ifi.HardwareAddr)
		w.Conn, err = packet.Listen(ifi, packet.Raw, etherType, &packet.Config{Filter: program})
		return err
	}
	if h != nil {
		h.do(t, open)
	} else {
		must(t, open())
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// leaving is what the node sends on an interface from now on. It is there as soon as it has been sent: nothing is under way.
func leaving(t testing.TB, name string) *wire {
	t.Helper()
	const everyProtocol, packetOutgoing = 0x0003, 4
	return wireAt(t, nil, name, everyProtocol,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 0xffff},
	)
}

func (w *wire) arp() ear  { return ear{w} }
func (w *wire) ndp() ear6 { return ear6{w} }

// next is the next frame, or nil when there is none before the deadline. What is there is found, however late one looks.
func (w *wire) next(deadline time.Time) []byte {
	w.t.Helper()
	raw, err := w.SyscallConn()
	must(w.t, err)
	buffer := make([]byte, 2048)
	var n int
	var result error
	look := func(fd uintptr) bool {
		n, result = unix.Read(int(fd), buffer)
		return result != unix.EAGAIN
	}
	for late := false; ; {
		must(w.t, raw.Control(func(fd uintptr) { look(fd) }))
		if result == unix.EAGAIN && !late {
			must(w.t, w.SetReadDeadline(deadline))
			err := raw.Read(look)
			if late = errors.Is(err, os.ErrDeadlineExceeded); late {
				continue
			}
			must(w.t, err)
		}
		switch result {
		case nil:
			return buffer[:n]
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ENETDOWN:
		default:
			w.t.Fatal(result)
		}
	}
}

// empty throws away what is there.
func (w *wire) empty() {
	w.t.Helper()
	for w.next(time.Now()) != nil {
	}
}

// say sends a frame.
func (w *wire) say(frame []byte) {
	w.t.Helper()
	to := &packet.Addr{HardwareAddr: frame[:6]}
	_, err := w.WriteTo(frame, to)
	if errors.Is(err, unix.ENETDOWN) { // was down
		_, err = w.WriteTo(frame, to)
	}
	must(w.t, err)
}

// ear hears and says ARP.
type ear struct{ *wire }

func (h *host) listen(t testing.TB) ear {
	t.Helper()
	return wireAt(t, h, "eth0", etherTypeARP).arp()
}

// say sends a packet to everybody, from the host's MAC.
func (e ear) say(operation arp.Operation, from, target netip.Addr) {
	e.t.Helper()
	frame, err := arpFrame(operation, e.mac, from, MAC{}, target)
	must(e.t, err)
	e.wire.say(frame)
}

// hear returns the next packet that matches, or nil when there is none in the time given.
func (e ear) hear(within time.Duration, matches func(*arp.Packet) bool) *arp.Packet {
	e.t.Helper()
	deadline := time.Now().Add(within)
	for {
		frame := e.next(deadline)
		if frame == nil {
			return nil
		}
		if binary.BigEndian.Uint16(frame[etherTypeOffset:]) != etherTypeARP {
			continue
		}
		p := &arp.Packet{}
		must(e.t, p.UnmarshalBinary(frame[etherHeader:]))
		if matches(p) {
			return p
		}
	}
}

// askAgain is how long a question waits for its answer before it is repeated, as hosts do. For a moment after a
// carrier's return the asker's kernel drops without a word what it is given to send.
const askAgain = 250 * time.Millisecond

// ask asks for an address until it is answered, and returns the MAC in the answer.
func (e ear) ask(from, target netip.Addr) (mac MAC, ok bool) {
	e.t.Helper()
	for began := time.Now(); time.Since(began) < soon; {
		e.say(arp.OperationRequest, from, target)
		if p := e.hear(askAgain, answers(from, target)); p != nil {
			return MAC(p.SenderHardwareAddr), true
		}
	}
	return MAC{}, false
}

// answers are those that one who asks from an address for one of the targets gets.
func answers(from netip.Addr, targets ...netip.Addr) func(*arp.Packet) bool {
	return func(p *arp.Packet) bool {
		return p.Operation == arp.OperationReply && p.TargetIP == from && slices.Contains(targets, p.SenderIP)
	}
}

func announcementOf(addr netip.Addr) func(*arp.Packet) bool {
	return func(p *arp.Packet) bool { return p.SenderIP == addr && p.TargetIP == addr }
}

// ear6 hears and says Neighbor Discovery.
type ear6 struct{ *wire }

// neighbourPacket is a solicitation or an advertisement that was heard.
type neighbourPacket struct {
	*ndp.NeighborSolicitation
	*ndp.NeighborAdvertisement
	from, to       netip.Addr
	fromMAC, toMAC MAC
}

func (h *host) listen6(t testing.TB) ear6 {
	t.Helper()
	return wireAt(t, h, "eth0", etherTypeIPv6).ndp()
}

// packetsOf is an ear on one of the node's own interfaces.
func packetsOf(t testing.TB, name string) ear6 {
	t.Helper()
	return wireAt(t, nil, name, etherTypeIPv6).ndp()
}

// hear returns the next packet that matches, or nil when there is none in the time given.
func (e ear6) hear(within time.Duration, matches func(neighbourPacket) bool) *neighbourPacket {
	e.t.Helper()
	deadline := time.Now().Add(within)
	for {
		frame := e.next(deadline)
		if frame == nil {
			return nil
		}
		if len(frame) < ndpOptions || binary.BigEndian.Uint16(frame[etherTypeOffset:]) != etherTypeIPv6 ||
			frame[ipv6NextHeader] != protocolICMPv6 || (frame[ndpType] != 135 && frame[ndpType] != 136) {
			continue
		}
		var p neighbourPacket
		ether, from, to, message := parseNDP(e.t, frame)
		p.from, p.to, p.fromMAC, p.toMAC = from, to, MAC(ether.Source), MAC(ether.Destination)
		switch message := message.(type) {
		case *ndp.NeighborSolicitation:
			p.NeighborSolicitation = message
		case *ndp.NeighborAdvertisement:
			p.NeighborAdvertisement = message
		}
		if matches(p) {
			return &p
		}
	}
}

func advertises(addr netip.Addr) func(neighbourPacket) bool {
	return func(p neighbourPacket) bool {
		return p.NeighborAdvertisement != nil && p.NeighborAdvertisement.TargetAddress == addr
	}
}

func asksFor(addr netip.Addr) func(neighbourPacket) bool {
	return func(p neighbourPacket) bool {
		return p.NeighborSolicitation != nil && p.NeighborSolicitation.TargetAddress == addr
	}
}

// mac is the one in an advertisement.
func (p *neighbourPacket) mac() MAC {
	for _, option := range p.NeighborAdvertisement.Options {
		if address, ok := option.(*ndp.LinkLayerAddress); ok && address.Direction == ndp.Target {
			return MAC(address.Addr)
		}
	}
	return MAC{}
}

// announce says that addr is the host's.
func (e ear6) announce(addr netip.Addr) {
	e.t.Helper()
	frames, err := ndpProtocol{}.announcements(e.mac, addr)
	must(e.t, err)
	e.say(frames[0])
}

// ask asks for an address until it is answered, and returns the answer.
func (e ear6) ask(from, target netip.Addr) *neighbourPacket {
	e.t.Helper()
	for began := time.Now(); time.Since(began) < soon; {
		e.question(from, target)
		if p := e.hear(askAgain, answers6(from, target)); p != nil {
			return p
		}
	}
	return nil
}

// question asks for an address once, without a sender as one does who would like to have it.
func (e ear6) question(from, target netip.Addr) {
	e.t.Helper()
	frame, err := ndpProtocol{}.ask(e.mac, from, target)
	if from.IsUnspecified() {
		frame, err = ndpProtocol{}.probe(e.mac, target)
	}
	must(e.t, err)
	e.say(frame)
}

// answers6 are those that one who asks from an address for one of the targets gets.
func answers6(from netip.Addr, targets ...netip.Addr) func(neighbourPacket) bool {
	return func(p neighbourPacket) bool {
		return p.NeighborAdvertisement != nil && slices.Contains(targets, p.NeighborAdvertisement.TargetAddress) &&
			p.Solicited != from.IsUnspecified()
	}
}
