// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
)

// protocol is what differs between ARP and NDP. Implementations are values without state; frames are whole Ethernet
// frames. A method that takes a frame may be given anything a stranger can send.
type protocol interface {
	// name is the label of metrics.
	name() string
	etherType() int

	// requestGroup is the multicast group in which others ask for addr; the zero Addr means that they broadcast.
	requestGroup(addr netip.Addr) netip.Addr
	// claimGroup is the one to which everybody's announcements go.
	claimGroup() netip.Addr

	// requestFilter passes, in the kernel, what request may accept, cut after maxFrame+1 bytes.
	requestFilter() []bpf.Instruction
	// request finds out which address the frame asks for, or why it gets no answer. mac is the interface's.
	request(frame []byte, mac MAC) (netip.Addr, DropReason)
	// asker is in whose name a frame that request has accepted asks; the zero or unspecified Addr is nobody's.
	asker(frame []byte) (netip.Addr, MAC)
	// reply turns a frame that request has accepted into the answer, in place if there is room for it.
	reply(frame []byte, mac MAC) []byte

	// claimFilter passes, in the kernel, what claim may accept from one of the senders; nil means from anybody.
	// It is too long for the kernel when there are too many.
	claimFilter(senders []netip.Addr) []bpf.Instruction
	// claim finds out who says in the frame that an address is theirs, unasked or in reply, or would like it to be.
	claim(frame []byte) (netip.Addr, MAC, Kind, DropReason)

	// announcements tell everybody on the link that addr is at mac.
	announcements(mac MAC, addr netip.Addr) ([][]byte, error)
	// probe asks for addr so that nobody learns anything from the question.
	probe(mac MAC, addr netip.Addr) ([]byte, error)
	// ask asks for addr in the name of from.
	ask(mac MAC, from, addr netip.Addr) ([]byte, error)
}

const (
	protocolARP = "arp"
	protocolNDP = "ndp"
)

// protocols are those that every interface is served with.
func protocols() []protocol { return []protocol{arpProtocol{}, ndpProtocol{}} }

// protocolFor is nil for what is not an address.
func protocolFor(addr netip.Addr) protocol {
	switch {
	case addr.Is4():
		return arpProtocol{}
	case addr.Is6():
		return ndpProtocol{}
	}
	return nil
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// isHost says whether a host can have this MAC.
func (m MAC) isHost() bool { return m[0]&1 == 0 && m != MAC{} }

var ipv4Broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Lengths and offsets of an Ethernet frame without a VLAN tag. The kernel takes the tag off before it gets here.
const (
	etherDestination = 0
	etherSource      = 6
	etherTypeOffset  = 12
	etherHeader      = 14

	// maxFrame is longer than any request or reply, trailing padding included.
	maxFrame = 128
)

// forUs begins a filter: it drops what the kernel has marked as meant for another host or sent by this one. That
// covers a frame of a VLAN without an interface here, and what promiscuous mode brings in.
func forUs() []bpf.Instruction {
	const packetOtherHost = 3 // PACKET_HOST, _BROADCAST and _MULTICAST are below
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: packetOtherHost, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// acceptFrame ends a filter: one byte more than maxFrame, so that what is too long can be seen to be.
var acceptFrame = bpf.RetConstant{Val: maxFrame + 1}
