// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

// arpProtocol answers ARP (RFC 826) for IPv4 on Ethernet.
type arpProtocol struct{}

// Offsets in an Ethernet frame that carries ARP for IPv4 (RFC 826, "Packet format").
const (
	arpFixed     = etherHeader      // hardware and protocol space, lengths of their addresses
	arpOperation = etherHeader + 6  // ar$op
	arpSenderMAC = etherHeader + 8  // ar$sha
	arpSender    = etherHeader + 14 // ar$spa
	arpTargetMAC = etherHeader + 18 // ar$tha
	arpTarget    = etherHeader + 24 // ar$tpa
	arpLength    = etherHeader + 28

	etherTypeARP = 0x0806

	// arpEthernetIPv4 is ar$hrd 1, ar$pro 0x0800, ar$hln 6, ar$pln 4.
	arpEthernetIPv4 = 0x0001_0800_06_04
)

var etherBroadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (arpProtocol) name() string   { return protocolARP }
func (arpProtocol) etherType() int { return etherTypeARP }

func (arpProtocol) requestGroup(netip.Addr) netip.Addr { return netip.Addr{} }
func (arpProtocol) claimGroup() netip.Addr             { return netip.Addr{} }

// requestFilter passes requests that are not announcements: those ask for their own sender (RFC 5227 section 3).
func (arpProtocol) requestFilter() []bpf.Instruction {
	return append(forUs(),
		bpf.LoadAbsolute{Off: arpOperation, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(arp.OperationRequest), SkipTrue: 4},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: arpTarget, Size: 4},
		bpf.JumpIfX{Cond: bpf.JumpNotEqual, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		acceptFrame,
	)
}

func (arpProtocol) request(frame []byte, mac MAC) (netip.Addr, DropReason) {
	if reason := arpCheck(frame); reason != passed {
		return netip.Addr{}, reason
	}
	if arp.Operation(binary.BigEndian.Uint16(frame[arpOperation:])) != arp.OperationRequest {
		return netip.Addr{}, Operation
	}
	if destination := MAC(frame[etherDestination:]); destination != etherBroadcast && destination != mac {
		return netip.Addr{}, EthernetDestination
	}
	// The answer goes to the MAC inside the packet, as the kernel's own does. It may differ from the frame's source:
	// repeaters, bonds and VRRP routers ask in another's name.
	sender := MAC(frame[arpSenderMAC:])
	if !sender.isHost() || !MAC(frame[etherSource:]).isHost() {
		return netip.Addr{}, SenderMAC
	}
	if sender == mac {
		return netip.Addr{}, OwnMAC
	}
	// A probe has no sender address; answering it is what keeps others from taking a VIP (RFC 5227 section 2.1.1).
	from := netip.AddrFrom4([4]byte(frame[arpSender:]))
	target := netip.AddrFrom4([4]byte(frame[arpTarget:]))
	if from == target {
		return netip.Addr{}, Announcement
	}
	if !from.IsUnspecified() && !isHostIPv4(from) {
		return netip.Addr{}, SenderAddress
	}
	return target, passed
}

func (arpProtocol) asker(frame []byte) (netip.Addr, MAC) {
	return netip.AddrFrom4([4]byte(frame[arpSender:])), MAC(frame[arpSenderMAC:])
}

func (arpProtocol) reply(frame []byte, mac MAC) []byte {
	frame = frame[:arpLength] // without the padding, which is the stranger's
	asker := [10]byte(frame[arpSenderMAC:])
	target := [4]byte(frame[arpTarget:])

	copy(frame[etherDestination:], asker[:6])
	copy(frame[etherSource:], mac[:])
	binary.BigEndian.PutUint16(frame[arpOperation:], uint16(arp.OperationReply))
	copy(frame[arpSenderMAC:], mac[:])
	copy(frame[arpSender:], target[:])
	copy(frame[arpTargetMAC:], asker[:])
	return frame
}

// claimFilter passes replies, requests that are announcements, and probes.
func (arpProtocol) claimFilter(senders []netip.Addr) []bpf.Instruction {
	bySender := []bpf.Instruction{acceptFrame}
	if senders != nil {
		values := make([]uint32, 0, len(senders))
		for _, sender := range senders {
			b := sender.As4()
			values = append(values, binary.BigEndian.Uint32(b[:]))
		}
		slices.Sort(values)
		bySender = acceptValues(slices.Compact(values))
	}
	return slices.Concat(forUs(), []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpTarget, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: arpOperation, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(arp.OperationReply), SkipTrue: 7},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(arp.OperationRequest), SkipTrue: 5},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 2},
		bpf.TXA{}, // a probe: what counts is the target
		bpf.Jump{Skip: 2},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
	}, bySender)
}

func (arpProtocol) claim(frame []byte) (netip.Addr, MAC, Kind, DropReason) {
	if reason := arpCheck(frame); reason != passed {
		return netip.Addr{}, MAC{}, 0, reason
	}
	mac := MAC(frame[arpSenderMAC:])
	if !mac.isHost() {
		return netip.Addr{}, MAC{}, 0, SenderMAC
	}
	operation := arp.Operation(binary.BigEndian.Uint16(frame[arpOperation:]))
	from, target := netip.AddrFrom4([4]byte(frame[arpSender:])), netip.AddrFrom4([4]byte(frame[arpTarget:]))
	if from.IsUnspecified() && operation == arp.OperationRequest && isHostIPv4(target) {
		return target, mac, KindProbe, passed
	}
	if !isHostIPv4(from) {
		return netip.Addr{}, MAC{}, 0, SenderAddress
	}
	toItself := from == target
	switch {
	case toItself && (operation == arp.OperationRequest || operation == arp.OperationReply):
		return from, mac, KindAnnouncement, passed
	case operation == arp.OperationReply:
		return from, mac, KindReply, passed
	case operation == arp.OperationRequest:
		return netip.Addr{}, MAC{}, 0, Announcement
	}
	return netip.Addr{}, MAC{}, 0, Operation
}

// announcements are both forms in use: a request (RFC 5227 section 3), and a reply (RFC 5944 section 4.6), since there
// are hosts that learn from only one of them.
func (arpProtocol) announcements(mac MAC, addr netip.Addr) ([][]byte, error) {
	request, err := arpFrame(arp.OperationRequest, mac, addr, MAC{}, addr)
	if err != nil {
		return nil, err
	}
	reply, err := arpFrame(arp.OperationReply, mac, addr, mac, addr)
	if err != nil {
		return nil, err
	}
	return [][]byte{request, reply}, nil
}

func (arpProtocol) probe(mac MAC, addr netip.Addr) ([]byte, error) {
	return arpFrame(arp.OperationRequest, mac, netip.IPv4Unspecified(), MAC{}, addr)
}

func (arpProtocol) ask(mac MAC, from, addr netip.Addr) ([]byte, error) {
	return arpFrame(arp.OperationRequest, mac, from, MAC{}, addr)
}

// arpCheck is what every ARP packet must satisfy before its fields are looked at.
func arpCheck(frame []byte) DropReason {
	switch {
	case len(frame) < arpLength:
		return Truncated
	case len(frame) > maxFrame:
		return Oversized
	case binary.BigEndian.Uint16(frame[etherTypeOffset:]) != etherTypeARP,
		binary.BigEndian.Uint64(frame[arpFixed:])>>16 != arpEthernetIPv4:
		return HardwareType
	}
	return passed
}

// arpFrame builds a broadcast.
func arpFrame(operation arp.Operation, mac MAC, from netip.Addr, targetMAC MAC, target netip.Addr) ([]byte, error) {
	packet, err := arp.NewPacket(operation, net.HardwareAddr(mac[:]), from, net.HardwareAddr(targetMAC[:]), target)
	if err != nil {
		return nil, err
	}
	payload, err := packet.MarshalBinary()
	if err != nil {
		return nil, err
	}
	frame := ethernet.Frame{
		Destination: ethernet.Broadcast,
		Source:      net.HardwareAddr(mac[:]),
		EtherType:   ethernet.EtherTypeARP,
		Payload:     payload,
	}
	return frame.MarshalBinary()
}

// isHostIPv4 says whether a host on a LAN can have this address.
func isHostIPv4(addr netip.Addr) bool {
	return addr.As4()[0] != 0 && !addr.IsLoopback() && !addr.IsMulticast() && addr != ipv4Broadcast
}
