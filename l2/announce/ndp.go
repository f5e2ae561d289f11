// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
)

// ndpProtocol answers Neighbor Discovery (RFC 4861) for IPv6 on Ethernet.
//
// Advertisements say what the kernel's say for an address of its own. They come from the VIP itself, which RFC 4861
// section 4.4 allows to whoever has it, so that switches which tie addresses to ports see it where it is and the
// interface needs no other address. Override is set, for there is one owner and what it says replaces what was known (section
// 7.2.4); Router is not, for nobody routes through a VIP, whatever else its host does. The option with the MAC is always there.
//
// What comes behind an extension header goes unheard: nobody sends solicitations so, and fragments of them must not
// be answered (RFC 6980 section 5).
type ndpProtocol struct{}

// Offsets in an Ethernet frame that carries a neighbour solicitation or advertisement right behind the IPv6 header (RFC
// 8200 section 3, RFC 4861 sections 4.3 and 4.4).
const (
	ipv6Version     = etherHeader // version, traffic class and flow label
	ipv6Length      = etherHeader + 4
	ipv6NextHeader  = etherHeader + 6
	ipv6HopLimit    = etherHeader + 7
	ipv6Source      = etherHeader + 8
	ipv6Destination = etherHeader + 24
	ndpType         = etherHeader + 40
	ndpCode         = ndpType + 1
	ndpChecksum     = ndpType + 2
	ndpFlags        = ndpType + 4 // of an advertisement
	ndpTarget       = ndpType + 8
	ndpOptions      = ndpType + 24

	etherTypeIPv6  = 0x86dd
	protocolICMPv6 = 58
	ndpHopLimit    = 255 // no router lets it through with that

	ndpSolicited = 1 << 6
	ndpOverride  = 1 << 5

	ndpOptionLength = 8 // of an option that carries a MAC (RFC 4861 section 4.6.1, RFC 2464 section 6)
)

var ipv6AllNodes = netip.MustParseAddr("ff02::1")

func (ndpProtocol) name() string   { return protocolNDP }
func (ndpProtocol) etherType() int { return etherTypeIPv6 }

// requestGroup is the solicited-node multicast address (RFC 4291 section 2.7.1).
func (ndpProtocol) requestGroup(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

func (ndpProtocol) claimGroup() netip.Addr { return ipv6AllNodes }

// requestFilter passes solicitations.
func (ndpProtocol) requestFilter() []bpf.Instruction {
	return append(forUs(),
		bpf.LoadAbsolute{Off: ipv6NextHeader, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6, SkipTrue: 2},
		bpf.LoadAbsolute{Off: ndpType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv6.ICMPTypeNeighborSolicitation), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		acceptFrame,
	)
}

func (ndpProtocol) request(frame []byte, mac MAC) (netip.Addr, DropReason) {
	if reason := ndpCheck(frame, ipv6.ICMPTypeNeighborSolicitation); reason != passed {
		return netip.Addr{}, reason
	}
	source, to, target := addressAt(frame, ipv6Source), addressAt(frame, ipv6Destination), addressAt(frame, ndpTarget)
	// A question to one host has that host's MAC: so a neighbour makes sure that we are still there (RFC 4861 section
	// 7.3). One to a group has the group's, unless an access point has made it our own (RFC 6085).
	destination := MAC(frame[etherDestination:])
	if destination != mac && !(to.IsMulticast() && destination == groupMAC(to)) {
		return netip.Addr{}, EthernetDestination
	}
	option, optioned, reason := ndpOption(frame, ndp.Source)
	if reason != passed {
		return netip.Addr{}, reason
	}
	switch {
	case source.IsUnspecified():
		// Duplicate address detection: answering it is what keeps others from taking a VIP (RFC 4862 section 5.4.4).
		if optioned || !isSolicitedNode(to) {
			return netip.Addr{}, Malformed
		}
	case source.IsMulticast(), source.IsLoopback(), source == target:
		return netip.Addr{}, SenderAddress
	}
	asker := MAC(frame[etherSource:])
	if !asker.isHost() || (optioned && !option.isHost()) {
		return netip.Addr{}, SenderMAC
	}
	if optioned {
		asker = option
	}
	if asker == mac {
		return netip.Addr{}, OwnMAC
	}
	return target, passed
}

func (ndpProtocol) asker(frame []byte) (netip.Addr, MAC) {
	mac, optioned, _ := ndpOption(frame, ndp.Source)
	if !optioned {
		mac = MAC(frame[etherSource:])
	}
	return addressAt(frame, ipv6Source), mac
}

// reply makes a solicitation into the advertisement that answers it (RFC 4861 section 7.2.4). It goes to the MAC inside the
// packet, which may differ from the frame's source, as in ARP; a question to one host needs not name one, and is answered to where it
// came from. Who has no address yet is answered by telling everybody.
func (p ndpProtocol) reply(frame []byte, mac MAC) []byte {
	_, asker := p.asker(frame)
	to := [16]byte(frame[ipv6Source:])
	flags := byte(ndpSolicited | ndpOverride)
	if to == ([16]byte{}) {
		to, asker, flags = ipv6AllNodes.As16(), groupMAC(ipv6AllNodes), ndpOverride
	}
	// What follows the target, be it options or a switch's trailer, is the stranger's.
	frame = append(frame[:ndpOptions], byte(ndp.Target), ndpOptionLength/8, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])

	copy(frame[etherDestination:], asker[:])
	copy(frame[etherSource:], mac[:])
	binary.BigEndian.PutUint32(frame[ipv6Version:], 6<<28)
	binary.BigEndian.PutUint16(frame[ipv6Length:], uint16(len(frame)-ndpType))
	copy(frame[ipv6Source:], frame[ndpTarget:ndpOptions])
	copy(frame[ipv6Destination:], to[:])
	frame[ndpType] = byte(ipv6.ICMPTypeNeighborAdvertisement)
	binary.BigEndian.PutUint32(frame[ndpFlags:], uint32(flags)<<24)
	binary.BigEndian.PutUint16(frame[ndpChecksum:], 0)
	binary.BigEndian.PutUint16(frame[ndpChecksum:], ^ndpSum(frame))
	return frame
}

// claimFilter passes advertisements, and the solicitations of duplicate address detection. The accumulator has room for a
// quarter of an address, so of targets it compares the sum without carry of the four, and of sources the first one: what gets
// through by chance is left to user space.
func (ndpProtocol) claimFilter(senders []netip.Addr) []bpf.Instruction {
	claims := append(forUs(),
		bpf.LoadAbsolute{Off: ipv6NextHeader, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6, SkipTrue: 5},
		bpf.LoadAbsolute{Off: ndpType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv6.ICMPTypeNeighborAdvertisement), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ipv6.ICMPTypeNeighborSolicitation), SkipTrue: 2},
		bpf.LoadAbsolute{Off: ipv6Source, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	)
	if senders == nil {
		return append(claims, acceptFrame)
	}
	values := make([]uint32, 0, len(senders))
	for _, sender := range senders {
		b := sender.As16()
		values = append(values, binary.BigEndian.Uint32(b[:])^binary.BigEndian.Uint32(b[4:])^
			binary.BigEndian.Uint32(b[8:])^binary.BigEndian.Uint32(b[12:]))
	}
	slices.Sort(values)
	return slices.Concat(claims, []bpf.Instruction{
		bpf.LoadAbsolute{Off: ndpTarget, Size: 4},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: ndpTarget + 4, Size: 4},
		bpf.ALUOpX{Op: bpf.ALUOpXor},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: ndpTarget + 8, Size: 4},
		bpf.ALUOpX{Op: bpf.ALUOpXor},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: ndpTarget + 12, Size: 4},
		bpf.ALUOpX{Op: bpf.ALUOpXor},
	}, acceptValues(slices.Compact(values)))
}

// claim takes any advertisement for one. That which defends an address against duplicate address detection is
// not solicited by its flags, so the answer to a probe is a KindAnnouncement.
func (p ndpProtocol) claim(frame []byte) (netip.Addr, MAC, Kind, DropReason) {
	if len(frame) > ndpType && frame[ndpType] == byte(ipv6.ICMPTypeNeighborSolicitation) {
		return p.detection(frame)
	}
	if reason := ndpCheck(frame, ipv6.ICMPTypeNeighborAdvertisement); reason != passed {
		return netip.Addr{}, MAC{}, 0, reason
	}
	mac, optioned, reason := ndpOption(frame, ndp.Target)
	if reason != passed {
		return netip.Addr{}, MAC{}, 0, reason
	}
	if !optioned {
		mac = MAC(frame[etherSource:])
	}
	if !mac.isHost() {
		return netip.Addr{}, MAC{}, 0, SenderMAC
	}
	target := addressAt(frame, ndpTarget)
	if target.IsUnspecified() || target.IsLoopback() {
		return netip.Addr{}, MAC{}, 0, SenderAddress
	}
	if frame[ndpFlags]&ndpSolicited == 0 {
		return target, mac, KindAnnouncement, passed
	}
	if addressAt(frame, ipv6Destination).IsMulticast() {
		return netip.Addr{}, MAC{}, 0, Malformed
	}
	return target, mac, KindReply, passed
}

// detection takes a solicitation that has no sender for a probe (RFC 4862 section 5.4.3).
func (ndpProtocol) detection(frame []byte) (netip.Addr, MAC, Kind, DropReason) {
	if reason := ndpCheck(frame, ipv6.ICMPTypeNeighborSolicitation); reason != passed {
		return netip.Addr{}, MAC{}, 0, reason
	}
	if !addressAt(frame, ipv6Source).IsUnspecified() {
		return netip.Addr{}, MAC{}, 0, Operation
	}
	_, optioned, reason := ndpOption(frame, ndp.Source)
	switch {
	case reason != passed:
		return netip.Addr{}, MAC{}, 0, reason
	case optioned, !isSolicitedNode(addressAt(frame, ipv6Destination)):
		return netip.Addr{}, MAC{}, 0, Malformed
	}
	mac, target := MAC(frame[etherSource:]), addressAt(frame, ndpTarget)
	switch {
	case !mac.isHost():
		return netip.Addr{}, MAC{}, 0, SenderMAC
	case target.IsUnspecified(), target.IsLoopback():
		return netip.Addr{}, MAC{}, 0, SenderAddress
	}
	return target, mac, KindProbe, passed
}

// announcements are one unsolicited advertisement to all nodes (RFC 4861 section 7.2.6).
func (ndpProtocol) announcements(mac MAC, addr netip.Addr) ([][]byte, error) {
	frame, err := ndpFrame(mac, addr, ipv6AllNodes, &ndp.NeighborAdvertisement{
		Override:      true,
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(mac[:])}},
	})
	if err != nil {
		return nil, err
	}
	return [][]byte{frame}, nil
}

// probe is what a host sends before it takes an address (RFC 4862 section 5.4.2).
func (p ndpProtocol) probe(mac MAC, addr netip.Addr) ([]byte, error) {
	return ndpFrame(mac, netip.IPv6Unspecified(), p.requestGroup(addr), &ndp.NeighborSolicitation{TargetAddress: addr})
}

func (p ndpProtocol) ask(mac MAC, from, addr netip.Addr) ([]byte, error) {
	return ndpFrame(mac, from, p.requestGroup(addr), &ndp.NeighborSolicitation{
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(mac[:])}},
	})
}

// ndpCheck is what every solicitation and advertisement must satisfy before its options and addresses are looked at
// (RFC 4861 sections 7.1.1 and 7.1.2).
func ndpCheck(frame []byte, icmpType ipv6.ICMPType) DropReason {
	switch {
	case len(frame) < ndpOptions:
		return Truncated
	case len(frame) > maxFrame:
		return Oversized
	case binary.BigEndian.Uint16(frame[etherTypeOffset:]) != etherTypeIPv6:
		return HardwareType
	case frame[ipv6Version]>>4 != 6, frame[ipv6NextHeader] != protocolICMPv6:
		return Malformed
	case frame[ndpType] != byte(icmpType):
		return Operation
	case frame[ipv6HopLimit] != ndpHopLimit:
		return HopLimit
	}
	end := ndpType + int(binary.BigEndian.Uint16(frame[ipv6Length:]))
	switch {
	case end < ndpOptions, end > len(frame):
		return Truncated
	case frame[ndpCode] != 0, ndpSum(frame[:end]) != 0xffff, addressAt(frame, ndpTarget).IsMulticast():
		return Malformed
	}
	return passed
}

// ndpOption is the MAC in the first option of that kind, if there is one, of a frame that has passed ndpCheck.
func ndpOption(frame []byte, kind ndp.Direction) (mac MAC, found bool, reason DropReason) {
	options := frame[ndpOptions : ndpType+int(binary.BigEndian.Uint16(frame[ipv6Length:]))]
	for len(options) > 0 {
		if len(options) < 2 {
			return MAC{}, false, Malformed
		}
		length := int(options[1]) * 8
		if length == 0 || length > len(options) {
			return MAC{}, false, Malformed
		}
		if options[0] == byte(kind) {
			if length != ndpOptionLength {
				return MAC{}, false, Malformed
			}
			if !found {
				mac, found = MAC(options[2:]), true
			}
		}
		options = options[length:]
	}
	return mac, found, passed
}

// ndpSum is the Internet checksum (RFC 4443 section 2.3, RFC 1071) of the packet in a frame without trailer: 0xffff when the
// checksum inside is right.
func ndpSum(frame []byte) uint16 {
	sum := uint64(len(frame)-ndpType) + protocolICMPv6
	b := frame[ipv6Source:]
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	var rest [4]byte
	copy(rest[:], b)
	sum += uint64(binary.BigEndian.Uint32(rest[:]))
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// ndpFrame builds a packet to a group.
func ndpFrame(mac MAC, from, group netip.Addr, message ndp.Message) ([]byte, error) {
	icmp, err := ndp.MarshalMessageChecksum(message, from, group)
	if err != nil {
		return nil, err
	}
	header := make([]byte, ndpType-etherHeader)
	header[0] = 6 << 4
	binary.BigEndian.PutUint16(header[ipv6Length-etherHeader:], uint16(len(icmp)))
	header[ipv6NextHeader-etherHeader] = protocolICMPv6
	header[ipv6HopLimit-etherHeader] = ndpHopLimit
	copy(header[ipv6Source-etherHeader:], from.AsSlice())
	copy(header[ipv6Destination-etherHeader:], group.AsSlice())
	destination := groupMAC(group)
	frame := ethernet.Frame{
		Destination: net.HardwareAddr(destination[:]),
		Source:      net.HardwareAddr(mac[:]),
		EtherType:   ethernet.EtherTypeIPv6,
		Payload:     append(header, icmp...),
	}
	return frame.MarshalBinary()
}

// groupMAC is the Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
func groupMAC(group netip.Addr) MAC {
	b := group.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

func isSolicitedNode(group netip.Addr) bool { return group == ndpProtocol{}.requestGroup(group) }

func addressAt(frame []byte, at int) netip.Addr { return netip.AddrFrom16([16]byte(frame[at:])) }
