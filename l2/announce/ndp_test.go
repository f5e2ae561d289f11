// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

var (
	vip6      = netip.MustParseAddr("fd00:1::1:240")
	otherVIP6 = netip.MustParseAddr("fd00:1::2:241")
	nodeIP6   = netip.MustParseAddr("fd00:1::11")
	clientIP6 = netip.MustParseAddr("fd00:1::20")
)

// received is a frame as it lies in a reader's buffer.
func received(frame []byte) []byte {
	return append(make([]byte, 0, maxFrame+1), frame...)
}

// solicitation is as a host sends it to resolve target.
func solicitation(t testing.TB, from, target netip.Addr) []byte {
	t.Helper()
	frame, err := ndpProtocol{}.ask(theirMAC, from, target)
	must(t, err)
	return received(frame)
}

// detection is as a host sends it before it takes target.
func detection(t testing.TB, target netip.Addr) []byte {
	t.Helper()
	frame, err := ndpProtocol{}.probe(theirMAC, target)
	must(t, err)
	return received(frame)
}

// advertisement is as their host sends it.
func advertisement(t testing.TB, to, target netip.Addr, solicited bool, options ...ndp.Option) []byte {
	t.Helper()
	frame, err := ndpFrame(theirMAC, target, to, &ndp.NeighborAdvertisement{
		Solicited: solicited, Override: true, TargetAddress: target, Options: options,
	})
	must(t, err)
	if !to.IsMulticast() {
		put(frame, etherDestination, ourMAC[:]...)
	}
	return received(frame)
}

func targetMAC(mac MAC) ndp.Option {
	return &ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(mac[:])}
}

// patched changes a packet and makes its length and checksum right again.
func patched(frame []byte, at int, bytes ...byte) []byte { return resummed(put(frame, at, bytes...)) }

func resummed(frame []byte) []byte {
	binary.BigEndian.PutUint16(frame[ipv6Length:], uint16(len(frame)-ndpType))
	binary.BigEndian.PutUint16(frame[ndpChecksum:], 0)
	binary.BigEndian.PutUint16(frame[ndpChecksum:], ^ndpSum(frame))
	return frame
}

// withOptions replaces the options.
func withOptions(frame []byte, options ...byte) []byte {
	return resummed(append(frame[:ndpOptions], options...))
}

func TestNDPRequestDecisions(t *testing.T) {
	ordinary := func() []byte { return solicitation(t, clientIP6, vip6) }
	dad := func() []byte { return detection(t, vip6) }
	unicast := func() []byte {
		return patched(put(ordinary(), etherDestination, ourMAC[:]...), ipv6Destination, vip6.AsSlice()...)
	}
	linkLocal := netip.MustParseAddr("fe80::20")
	allNodes := groupMAC(ipv6AllNodes)
	for _, tt := range []struct {
		name  string
		frame []byte
		want  DropReason
	}{
		{"ordinary", ordinary(), passed},
		{"from a link-local address", solicitation(t, linkLocal, vip6), passed},
		{"to one host, is it still there", unicast(), passed},
		{"to one host, without a MAC", withOptions(unicast()), passed},
		{"to the group, without a MAC", withOptions(ordinary()), passed},
		{"duplicate address detection", dad(), passed},
		{"duplicate address detection with a nonce", withOptions(dad(), 14, 1, 1, 2, 3, 4, 5, 6), passed},
		{"group made unicast by an access point", put(ordinary(), etherDestination, ourMAC[:]...), passed},
		{"to all nodes", patched(put(ordinary(), etherDestination, allNodes[:]...), ipv6Destination, ipv6AllNodes.AsSlice()...), passed},
		{"flow label and traffic class", put(ordinary(), ipv6Version, 0x6f, 0xff, 0xff, 0xff), passed},
		{"trailer behind the packet", append(ordinary(), 0xaa, 0xaa, 0xaa), passed},
		{"reserved bits", patched(ordinary(), ndpFlags, 0xff, 0xff, 0xff, 0xff), passed},
		{"asked in another MAC's name", put(ordinary(), etherSource, 2, 0, 0, 0, 0, 3), passed},
		{"options unknown here come first", withOptions(ordinary(), 200, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 2), passed},
		{"empty", nil, Truncated},
		{"one byte short", ordinary()[:ndpOptions-1], Truncated},
		{"cut in its option", ordinary()[:ndpOptions+4], Truncated},
		{"shorter than a solicitation by its length", put(ordinary(), ipv6Length, 0, 23), Truncated},
		{"longer than the frame by its length", put(ordinary(), ipv6Length, 0xff, 0xff), Truncated},
		{"too long", append(ordinary(), make([]byte, maxFrame)...), Oversized},
		{"another EtherType", put(ordinary(), etherTypeOffset, 0x08, 0x00), HardwareType},
		{"IP version", put(ordinary(), ipv6Version, 0x40), Malformed},
		{"extension header", put(ordinary(), ipv6NextHeader, 0), Malformed},
		{"UDP", put(ordinary(), ipv6NextHeader, 17), Malformed},
		{"advertisement", patched(ordinary(), ndpType, 136), Operation},
		{"echo request", patched(ordinary(), ndpType, 128), Operation},
		{"from beyond a router", put(ordinary(), ipv6HopLimit, 254), HopLimit},
		{"hop limit 0", put(ordinary(), ipv6HopLimit, 0), HopLimit},
		{"code", patched(ordinary(), ndpCode, 1), Malformed},
		{"checksum", put(ordinary(), ndpChecksum, 0, 0), Malformed},
		{"target is a group", patched(ordinary(), ndpTarget, 0xff, 0x02), Malformed},
		{"option without length", withOptions(ordinary(), 1, 0, 2, 0, 0, 0, 0, 2), Malformed},
		{"option longer than the packet", withOptions(ordinary(), 1, 2, 2, 0, 0, 0, 0, 2), Malformed},
		{"option cut in its header", withOptions(ordinary(), 1), Malformed},
		{"option of another hardware", withOptions(ordinary(), 1, 2, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0), Malformed},
		{"length of an unknown option", withOptions(ordinary(), 200, 0, 0, 0, 0, 0, 0, 0), Malformed},
		{"duplicate address detection with a MAC", withOptions(dad(), 1, 1, 2, 0, 0, 0, 0, 2), Malformed},
		{"duplicate address detection to one host", patched(put(dad(), etherDestination, ourMAC[:]...), ipv6Destination, vip6.AsSlice()...), Malformed},
		{"duplicate address detection to all nodes", patched(put(dad(), etherDestination, allNodes[:]...), ipv6Destination, ipv6AllNodes.AsSlice()...), Malformed},
		{"to another host", put(unicast(), etherDestination, 2, 0, 0, 0, 0, 9), EthernetDestination},
		{"to a group that is not the packet's", put(ordinary(), etherDestination, 0x33, 0x33, 0, 0, 0, 1), EthernetDestination},
		{"to one host by broadcast", put(unicast(), etherDestination, etherBroadcast[:]...), EthernetDestination},
		{"MAC in the option broadcast", withOptions(ordinary(), 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), SenderMAC},
		{"MAC in the option zero", withOptions(ordinary(), 1, 1, 0, 0, 0, 0, 0, 0), SenderMAC},
		{"frame from a multicast MAC", put(ordinary(), etherSource, 3), SenderMAC},
		{"our own", withOptions(ordinary(), append([]byte{1, 1}, ourMAC[:]...)...), OwnMAC},
		{"our own probe", put(dad(), etherSource, ourMAC[:]...), OwnMAC},
		{"source is a group", patched(ordinary(), ipv6Source, 0xff, 0x02), SenderAddress},
		{"source is loopback", solicitation(t, netip.IPv6Loopback(), vip6), SenderAddress},
		{"source is the target", solicitation(t, vip6, vip6), SenderAddress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, reason := ndpProtocol{}.request(tt.frame, ourMAC)
			if reason != tt.want {
				t.Fatalf("reason %q, want %q", reason, tt.want)
			}
			if reason == passed && target != vip6 {
				t.Fatalf("target %v", target)
			}
		})
	}
}

// parseNDP reads a frame with the other implementation, whose checksum must be the frame's.
func parseNDP(t testing.TB, frame []byte) (e ethernet.Frame, source, destination netip.Addr, message ndp.Message) {
	t.Helper()
	must(t, e.UnmarshalBinary(frame))
	if e.EtherType != ethernet.EtherTypeIPv6 || len(e.Payload) < 40 {
		t.Fatalf("not IPv6: %x", frame)
	}
	header, icmp := e.Payload[:40], e.Payload[40:]
	if header[0] != 0x60 || int(binary.BigEndian.Uint16(header[4:])) != len(icmp) || header[6] != protocolICMPv6 || header[7] != 255 {
		t.Fatalf("IPv6 header %x", header)
	}
	source, destination = netip.AddrFrom16([16]byte(header[8:])), netip.AddrFrom16([16]byte(header[24:]))
	message, err := ndp.ParseMessage(icmp)
	must(t, err)
	again, err := ndp.MarshalMessageChecksum(message, source, destination)
	must(t, err)
	if !bytes.Equal(again, icmp) {
		t.Fatalf("ICMPv6 part\n%x, by the other implementation\n%x", icmp, again)
	}
	return e, source, destination, message
}

// RFC 4861 section 7.2.4.
func TestNDPReply(t *testing.T) {
	third := MAC{2, 0, 0, 0, 0, 3}
	for _, tt := range []struct {
		name      string
		frame     []byte
		to        netip.Addr
		mac       MAC
		solicited bool
	}{
		{"ordinary", solicitation(t, clientIP6, vip6), clientIP6, theirMAC, true},
		{"with a trailer", append(solicitation(t, clientIP6, vip6), 1, 2, 3), clientIP6, theirMAC, true},
		{"with more options", withOptions(solicitation(t, clientIP6, vip6), 14, 1, 1, 2, 3, 4, 5, 6, 1, 1, 2, 0, 0, 0, 0, 2), clientIP6, theirMAC, true},
		{"with a flow label", put(solicitation(t, clientIP6, vip6), ipv6Version, 0x6f, 1, 2, 3), clientIP6, theirMAC, true},
		{"in another's name", put(solicitation(t, clientIP6, vip6), etherSource, third[:]...), clientIP6, theirMAC, true},
		{"without a MAC", put(withOptions(solicitation(t, clientIP6, vip6)), etherSource, third[:]...), clientIP6, third, true},
		{"duplicate address detection", detection(t, vip6), ipv6AllNodes, groupMAC(ipv6AllNodes), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, reason := (ndpProtocol{}).request(tt.frame, ourMAC); reason != passed {
				t.Fatal(reason)
			}
			reply := ndpProtocol{}.reply(tt.frame, ourMAC)
			if &reply[0] != &tt.frame[0] {
				t.Error("not made in place")
			}
			e, source, destination, message := parseNDP(t, reply)
			if MAC(e.Destination) != tt.mac || MAC(e.Source) != ourMAC || source != vip6 || destination != tt.to {
				t.Errorf("from %v %v to %v %v, want to %v %v", e.Source, source, e.Destination, destination, tt.mac, tt.to)
			}
			want := &ndp.NeighborAdvertisement{
				Solicited: tt.solicited, Override: true, TargetAddress: vip6, Options: []ndp.Option{targetMAC(ourMAC)},
			}
			if diff := cmp.Diff(want, message, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("advertisement (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNDPClaims(t *testing.T) {
	type answer struct {
		addr   netip.Addr
		mac    MAC
		kind   Kind
		reason DropReason
	}
	announcement := func() []byte { return advertisement(t, ipv6AllNodes, vip6, false, targetMAC(theirMAC)) }
	third := MAC{2, 0, 0, 0, 0, 3}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  answer
	}{
		{"unsolicited", announcement(), answer{vip6, theirMAC, KindAnnouncement, passed}},
		{"unsolicited to us alone", advertisement(t, nodeIP6, vip6, false, targetMAC(theirMAC)), answer{vip6, theirMAC, KindAnnouncement, passed}},
		{"solicited", advertisement(t, nodeIP6, vip6, true, targetMAC(theirMAC)), answer{vip6, theirMAC, KindReply, passed}},
		{"solicited, without a MAC", advertisement(t, nodeIP6, vip6, true), answer{vip6, theirMAC, KindReply, passed}},
		{"in another's name", advertisement(t, ipv6AllNodes, vip6, false, targetMAC(third)), answer{vip6, third, KindAnnouncement, passed}},
		{"without override", patched(announcement(), ndpFlags, 0), answer{vip6, theirMAC, KindAnnouncement, passed}},
		{"of a router", patched(announcement(), ndpFlags, 0xa0), answer{vip6, theirMAC, KindAnnouncement, passed}},
		{"solicited by everybody", patched(announcement(), ndpFlags, ndpSolicited), answer{reason: Malformed}},
		{"solicitation", solicitation(t, vip6, clientIP6), answer{reason: Operation}},
		{"duplicate address detection", detection(t, vip6), answer{vip6, theirMAC, KindProbe, passed}},
		{"duplicate address detection from beyond a router", put(detection(t, vip6), ipv6HopLimit, 64), answer{reason: HopLimit}},
		{"duplicate address detection with a MAC", withOptions(detection(t, vip6), 1, 1, 2, 0, 0, 0, 0, 2), answer{reason: Malformed}},
		{"duplicate address detection of one host", resummed(put(detection(t, vip6), ipv6Destination, vip6.AsSlice()...)), answer{reason: Malformed}},
		{"duplicate address detection of no address", patched(detection(t, vip6), ndpTarget, make([]byte, 16)...), answer{reason: SenderAddress}},
		{"duplicate address detection by a group", put(detection(t, vip6), etherSource, 3), answer{reason: SenderMAC}},
		{"from beyond a router", put(announcement(), ipv6HopLimit, 64), answer{reason: HopLimit}},
		{"checksum", put(announcement(), ndpChecksum, 1, 2), answer{reason: Malformed}},
		{"option without length", withOptions(announcement(), 2, 0, 0, 0, 0, 0, 0, 0), answer{reason: Malformed}},
		{"target is a group", patched(announcement(), ndpTarget, 0xff), answer{reason: Malformed}},
		{"no target", patched(announcement(), ndpTarget, make([]byte, 16)...), answer{reason: SenderAddress}},
		{"multicast MAC", withOptions(announcement(), 2, 1, 3, 0, 0, 0, 0, 2), answer{reason: SenderMAC}},
		{"short", announcement()[:60], answer{reason: Truncated}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got answer
			got.addr, got.mac, got.kind, got.reason = ndpProtocol{}.claim(tt.frame)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestNDPFramesOfOurOwn(t *testing.T) {
	announcements, err := ndpProtocol{}.announcements(ourMAC, vip6)
	must(t, err)
	if len(announcements) != 1 {
		t.Fatalf("%d announcements", len(announcements))
	}
	if addr, mac, kind, reason := (ndpProtocol{}).claim(announcements[0]); addr != vip6 || mac != ourMAC || kind != KindAnnouncement || reason != passed {
		t.Errorf("announcement is heard as %v %v %v %q", addr, mac, kind, reason)
	}
	e, source, destination, message := parseNDP(t, announcements[0])
	na, ok := message.(*ndp.NeighborAdvertisement)
	if !ok || !na.Override || na.Solicited || na.Router || source != vip6 || destination != ipv6AllNodes || MAC(e.Destination) != groupMAC(ipv6AllNodes) {
		t.Errorf("announcement from %v to %v %v: %+v", source, destination, e.Destination, message)
	}

	group, err := ndp.SolicitedNodeMulticast(vip6)
	must(t, err)
	for name, want := range map[string]struct {
		make func() ([]byte, error)
		from netip.Addr
	}{
		"probe":    {func() ([]byte, error) { return ndpProtocol{}.probe(ourMAC, vip6) }, netip.IPv6Unspecified()},
		"question": {func() ([]byte, error) { return ndpProtocol{}.ask(ourMAC, nodeIP6, vip6) }, nodeIP6},
	} {
		frame, err := want.make()
		must(t, err)
		if target, reason := (ndpProtocol{}).request(frame, theirMAC); target != vip6 || reason != passed {
			t.Errorf("%s is heard as %v %q", name, target, reason)
		}
		if _, _, kind, _ := (ndpProtocol{}).claim(frame); (kind == KindProbe) != (name == "probe") {
			t.Errorf("%s is heard by who listens as %v", name, kind)
		}
		_, source, destination, message := parseNDP(t, frame)
		ns, ok := message.(*ndp.NeighborSolicitation)
		if !ok || source != want.from || destination != group || (len(ns.Options) == 0) != source.IsUnspecified() {
			t.Errorf("%s from %v to %v: %+v", name, source, destination, message)
		}
	}
}

func TestNDPFilters(t *testing.T) {
	requests := filterVM(t, ndpProtocol{}.requestFilter())
	everybody := filterVM(t, ndpProtocol{}.claimFilter(nil))
	nobody := filterVM(t, ndpProtocol{}.claimFilter([]netip.Addr{}))
	onlyVIP := filterVM(t, ndpProtocol{}.claimFilter([]netip.Addr{vip6}))
	for _, tt := range []struct {
		name  string
		frame []byte
		want  [4]bool
	}{
		{"solicitation", solicitation(t, clientIP6, vip6), [4]bool{true, false, false, false}},
		{"duplicate address detection", detection(t, vip6), [4]bool{true, true, false, true}},
		{"duplicate address detection of another address", detection(t, otherVIP6), [4]bool{true, true, false, false}},
		{"unsolicited", advertisement(t, ipv6AllNodes, vip6, false), [4]bool{false, true, false, true}},
		{"solicited", advertisement(t, nodeIP6, vip6, true), [4]bool{false, true, false, true}},
		{"of another address", advertisement(t, ipv6AllNodes, otherVIP6, false), [4]bool{false, true, false, false}},
		{"router advertisement", patched(solicitation(t, clientIP6, vip6), ndpType, 134), [4]bool{}},
		{"UDP", put(solicitation(t, clientIP6, vip6), ipv6NextHeader, 17), [4]bool{}},
		{"short", solicitation(t, clientIP6, vip6)[:ndpType], [4]bool{}},
	} {
		got := [4]bool{requests(tt.frame), everybody(tt.frame), nobody(tt.frame), onlyVIP(tt.frame)}
		if got != tt.want {
			t.Errorf("%s: requests, everybody, nobody, only the VIP: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// However VIPs are numbered, their filter passes claims to them, and hardly any others.
func TestNDPFilterOfManySenders(t *testing.T) {
	for name, address := range map[string]func(i int) netip.Addr{
		"one after the other": numbered6,
		"one in each /64": func(i int) netip.Addr {
			b := vip6.As16()
			binary.BigEndian.PutUint16(b[6:], uint16(i))
			return netip.AddrFrom16(b)
		},
		"one in each /48": func(i int) netip.Addr {
			b := vip6.As16()
			binary.BigEndian.PutUint16(b[4:], uint16(i))
			return netip.AddrFrom16(b)
		},
	} {
		senders := make([]netip.Addr, maxFilterValues)
		for i := range senders {
			senders[i] = address(2 * i) // every other address
		}
		slices.Reverse(senders)
		filter := ndpProtocol{}.claimFilter(senders)
		if len(filter) > 4096 {
			t.Errorf("%s: %d instructions", name, len(filter))
		}
		accepts := filterVM(t, filter)
		frame := advertisement(t, ipv6AllNodes, vip6, false)
		strangers := 0
		for i := range 2 * maxFilterValues {
			target := address(i)
			switch accepted := accepts(put(frame, ndpTarget, target.AsSlice()...)); {
			case i%2 == 0 && !accepted:
				t.Fatalf("%s: %v is not heard", name, target)
			case i%2 == 1 && accepted:
				strangers++
			}
		}
		if strangers > maxFilterValues/100 {
			t.Errorf("%s: %d others are heard, too", name, strangers)
		}
	}
}

// plainOptions gives options that only routers send, and that the other implementation is strict about, a type
// that nobody knows. A host looks at none of them.
func plainOptions(icmp []byte) []byte {
	icmp = slices.Clone(icmp)
	for options := icmp[24:]; len(options) > 0; options = options[int(options[1])*8:] {
		if options[0] > 2 {
			options[0] = 200
		}
	}
	return icmp
}

// What a stranger sends is either refused or what the other implementation reads as well, and the reply to it is an
// advertisement by that reading, with the checksum that it computes.
func FuzzNDPRequest(f *testing.F) {
	f.Add(solicitation(f, clientIP6, vip6), true)
	f.Add(detection(f, vip6), true)
	f.Add(withOptions(detection(f, vip6), 14, 1, 1, 2, 3, 4, 5, 6), true)
	f.Add(withOptions(solicitation(f, clientIP6, vip6)), true)
	f.Add(withOptions(solicitation(f, clientIP6, vip6), 200, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 2), true)
	f.Add(solicitation(f, clientIP6, vip6)[:70], true)
	f.Add(append(solicitation(f, clientIP6, vip6), make([]byte, 100)...), false)
	f.Add(advertisement(f, ipv6AllNodes, vip6, false, targetMAC(theirMAC)), true)
	filter := filterVM(f, ndpProtocol{}.requestFilter())
	f.Fuzz(func(t *testing.T, sent []byte, resum bool) {
		if resum && len(sent) >= ndpOptions { // else no fuzzer gets past the checksum
			sent = resummed(slices.Clone(sent))
		}
		frame := received(sent[:min(len(sent), maxFrame+1)])
		asked := slices.Clone(frame)
		target, reason := ndpProtocol{}.request(frame, ourMAC)
		if !bytes.Equal(frame, asked) {
			t.Fatal("looking at a request changed it")
		}
		if reason != passed {
			return
		}
		if !filter(frame) {
			t.Fatal("the kernel would have dropped it")
		}
		icmp := frame[ndpType : ndpType+int(binary.BigEndian.Uint16(frame[ipv6Length:]))]
		message, err := ndp.ParseMessage(plainOptions(icmp))
		if err != nil {
			t.Fatalf("accepted what is no solicitation: %v", err)
		}
		question, ok := message.(*ndp.NeighborSolicitation)
		if !ok || question.TargetAddress != target {
			t.Fatalf("accepted %+v as a request for %v", message, target)
		}
		asker := MAC(frame[etherSource:])
		for _, option := range question.Options {
			if address, ok := option.(*ndp.LinkLayerAddress); ok && address.Direction == ndp.Source {
				asker = MAC(address.Addr)
				break
			}
		}
		to := addressAt(frame, ipv6Source)
		solicited := !to.IsUnspecified()
		if !solicited {
			to, asker = ipv6AllNodes, groupMAC(ipv6AllNodes)
		}
		e, source, destination, message := parseNDP(t, ndpProtocol{}.reply(frame, ourMAC))
		answer, ok := message.(*ndp.NeighborAdvertisement)
		if !ok || answer.TargetAddress != target || answer.Solicited != solicited || !answer.Override || answer.Router ||
			len(answer.Options) != 1 || source != target || destination != to || MAC(e.Destination) != asker || MAC(e.Source) != ourMAC {
			t.Fatalf("answered %+v with %+v from %v to %v %v", question, message, source, destination, e.Destination)
		}
	})
}

func FuzzNDPClaim(f *testing.F) {
	f.Add(advertisement(f, ipv6AllNodes, vip6, false, targetMAC(theirMAC)), true)
	f.Add(advertisement(f, nodeIP6, vip6, true), true)
	f.Add(solicitation(f, clientIP6, vip6), true)
	f.Add(detection(f, vip6), true)
	f.Add(withOptions(detection(f, vip6), 14, 1, 1, 2, 3, 4, 5, 6), true) // a nonce, RFC 7527
	filter := filterVM(f, ndpProtocol{}.claimFilter(nil))
	f.Fuzz(func(t *testing.T, sent []byte, resum bool) {
		if resum && len(sent) >= ndpOptions {
			sent = resummed(slices.Clone(sent))
		}
		frame := received(sent[:min(len(sent), maxFrame+1)])
		addr, mac, kind, reason := ndpProtocol{}.claim(frame)
		if reason != passed {
			return
		}
		if !filter(frame) || !filterVM(t, ndpProtocol{}.claimFilter([]netip.Addr{addr}))(frame) {
			t.Fatal("the kernel would have dropped it")
		}
		message, err := ndp.ParseMessage(plainOptions(frame[ndpType : ndpType+int(binary.BigEndian.Uint16(frame[ipv6Length:]))]))
		if err != nil {
			t.Fatalf("accepted what is neither advertisement nor solicitation: %v", err)
		}
		if kind == KindProbe {
			ns, ok := message.(*ndp.NeighborSolicitation)
			if !ok || ns.TargetAddress != addr || !addressAt(frame, ipv6Source).IsUnspecified() || MAC(frame[etherSource:]) != mac {
				t.Fatalf("read %+v as a probe for %v by %v", message, addr, mac)
			}
			return
		}
		na, ok := message.(*ndp.NeighborAdvertisement)
		if !ok || na.TargetAddress != addr || na.Solicited != (kind == KindReply) || !mac.isHost() {
			t.Fatalf("read %+v as %v of %v by %v", message, kind, addr, mac)
		}
	})
}

// newResponder6 answers for n VIPs without a network.
func newResponder6(t testing.TB, n int, counts *Metrics) *responder {
	t.Helper()
	a, err := New(logger(t), Config{Metrics: counts})
	must(t, err)
	for i := range n {
		a.Announce(numbered6(i), nil)
	}
	l := &link{}
	l.state.Store(&linkState{name: "lan0", mac: ourMAC, up: true})
	return &responder{
		proto: ndpProtocol{}, link: &l.state, vips: &a.vips, claims: &claimReader{announcer: a, link: l, drops: a.metrics.drops(protocolNDP)},
		alive: a.config.Alive, turn: &turn{}, drops: a.metrics.drops(protocolNDP),
	}
}

func numbered6(i int) netip.Addr {
	b := netip.MustParseAddr("fd00:2::").As16()
	binary.BigEndian.PutUint32(b[12:], uint32(i)+1)
	return netip.AddrFrom16(b)
}

func TestNDPAnswerAllocatesNothing(t *testing.T) {
	m, _ := newTestMetrics(t)
	r := newResponder6(t, 1000, m)
	for name, request := range map[string][]byte{
		"ordinary":                    solicitation(t, clientIP6, numbered6(500)),
		"without a MAC":               withOptions(solicitation(t, clientIP6, numbered6(500))),
		"duplicate address detection": detection(t, numbered6(500)),
		"not announced":               solicitation(t, clientIP6, vip6),
		"malformed":                   put(solicitation(t, clientIP6, vip6), ndpChecksum, 0, 0),
	} {
		frame := make([]byte, maxFrame+1)
		if n := testing.AllocsPerRun(1000, func() {
			r.turn.begin()
			if reply, v, reason := r.answer(frame[:copy(frame, request)]); reason == passed {
				v.counters.responses.Inc()
				_ = reply
			} else {
				r.drops[reason].Inc()
			}
			r.turn.end()
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

// An IPv4 address in IPv6's clothes is not the VIP.
func TestNDPDoesNotAnswerForIPv4(t *testing.T) {
	a, err := New(logger(t), Config{})
	must(t, err)
	a.Announce(vip1, nil)
	var state link
	state.state.Store(&linkState{name: "lan0", mac: ourMAC})
	r := &responder{
		proto: ndpProtocol{}, link: &state.state, vips: &a.vips, claims: &claimReader{announcer: a, link: &state}, alive: a.config.Alive, turn: &turn{},
	}
	mapped := netip.AddrFrom16(vip1.As16())
	frame := patched(solicitation(t, clientIP6, vip6), ndpTarget, mapped.AsSlice()...)
	if _, _, reason := r.answer(frame); reason != NotAnnounced {
		t.Errorf("%q", reason)
	}
}
