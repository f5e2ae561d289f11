// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
)

var (
	ourMAC   = MAC{2, 0, 0, 0, 0, 1}
	theirMAC = MAC{2, 0, 0, 0, 0, 2}
)

// padded is a frame as it comes off a wire: no shorter than 60 bytes.
func padded(frame []byte) []byte {
	return append(frame, bytes.Repeat([]byte{0xaa}, 60-len(frame))...)
}

func requestFrame(t testing.TB, from, target netip.Addr) []byte {
	t.Helper()
	frame, err := arpFrame(arp.OperationRequest, theirMAC, from, MAC{}, target)
	must(t, err)
	return padded(frame)
}

func TestARPRequestDecisions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(frame []byte) []byte
		want   DropReason
	}{
		{"ordinary", nil, passed},
		{"unpadded", func(f []byte) []byte { return f[:42] }, passed},
		{"probe, without a sender", func(f []byte) []byte { return put(f, arpSender, 0, 0, 0, 0) }, passed},
		{"to our MAC", func(f []byte) []byte { return put(f, 0, ourMAC[:]...) }, passed},
		{"asked in another MAC's name", func(f []byte) []byte { return put(f, etherSource, 2, 0, 0, 0, 0, 3) }, passed},
		{"target MAC filled in", func(f []byte) []byte { return put(f, arpTargetMAC, ourMAC[:]...) }, passed},
		{"empty", func([]byte) []byte { return nil }, Truncated},
		{"one byte short", func(f []byte) []byte { return f[:41] }, Truncated},
		{"too long", func(f []byte) []byte { return append(f, make([]byte, maxFrame)...) }, Oversized},
		{"another EtherType", func(f []byte) []byte { return put(f, etherTypeOffset, 0x08, 0x00) }, HardwareType},
		{"hardware type", func(f []byte) []byte { return put(f, arpFixed, 0, 6) }, HardwareType},
		{"protocol type", func(f []byte) []byte { return put(f, arpFixed+2, 0x86, 0xdd) }, HardwareType},
		{"hardware address length", func(f []byte) []byte { return put(f, arpFixed+4, 8) }, HardwareType},
		{"protocol address length", func(f []byte) []byte { return put(f, arpFixed+5, 16) }, HardwareType},
		{"reply", func(f []byte) []byte { return put(f, arpOperation, 0, 2) }, Operation},
		{"reverse ARP", func(f []byte) []byte { return put(f, arpOperation, 0, 3) }, Operation},
		{"announcement", func(f []byte) []byte { return put(f, arpSender, 192, 168, 1, 240) }, Announcement},
		{"to another host", func(f []byte) []byte { return put(f, 0, 2, 0, 0, 0, 0, 9) }, EthernetDestination},
		{"to a multicast group", func(f []byte) []byte { return put(f, 0, 1, 0, 0x5e, 0, 0, 1) }, EthernetDestination},
		{"sender MAC broadcast", func(f []byte) []byte { return put(f, arpSenderMAC, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) }, SenderMAC},
		{"sender MAC multicast", func(f []byte) []byte { return put(f, arpSenderMAC, 3) }, SenderMAC},
		{"sender MAC zero", func(f []byte) []byte { return put(f, arpSenderMAC, 0, 0, 0, 0, 0, 0) }, SenderMAC},
		{"frame from a multicast MAC", func(f []byte) []byte { return put(f, etherSource, 3) }, SenderMAC},
		{"our own", func(f []byte) []byte { return put(f, arpSenderMAC, ourMAC[:]...) }, OwnMAC},
		{"sender address broadcast", func(f []byte) []byte { return put(f, arpSender, 255, 255, 255, 255) }, SenderAddress},
		{"sender address multicast", func(f []byte) []byte { return put(f, arpSender, 224, 0, 0, 1) }, SenderAddress},
		{"sender address loopback", func(f []byte) []byte { return put(f, arpSender, 127, 0, 0, 1) }, SenderAddress},
		{"sender address in 0/8", func(f []byte) []byte { return put(f, arpSender, 0, 0, 0, 1) }, SenderAddress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := requestFrame(t, clientIP, vip1)
			if tt.change != nil {
				frame = tt.change(frame)
			}
			target, reason := arpProtocol{}.request(frame, ourMAC)
			if reason != tt.want {
				t.Fatalf("reason %q, want %q", reason, tt.want)
			}
			if reason == passed && target != vip1 {
				t.Fatalf("target %v", target)
			}
		})
	}
}

func put(frame []byte, at int, bytes ...byte) []byte {
	copy(frame[at:], bytes)
	return frame
}

func TestARPReply(t *testing.T) {
	frame := requestFrame(t, clientIP, vip1)
	reply := arpProtocol{}.reply(frame, ourMAC)

	var e ethernet.Frame
	must(t, e.UnmarshalBinary(reply))
	var got arp.Packet
	must(t, got.UnmarshalBinary(e.Payload))
	want, err := arp.NewPacket(arp.OperationReply, ourMAC[:], vip1, theirMAC[:], clientIP)
	must(t, err)
	if diff := cmp.Diff(*want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
	if MAC(e.Destination) != theirMAC || MAC(e.Source) != ourMAC || len(reply) != arpLength {
		t.Errorf("frame %x", reply)
	}
}

func TestARPClaims(t *testing.T) {
	type answer struct {
		addr   netip.Addr
		mac    MAC
		kind   Kind
		reason DropReason
	}
	frame := func(operation arp.Operation, from, target netip.Addr) []byte {
		f, err := arpFrame(operation, theirMAC, from, ourMAC, target)
		must(t, err)
		return padded(f)
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  answer
	}{
		{"announcing request", frame(arp.OperationRequest, vip1, vip1), answer{vip1, theirMAC, KindAnnouncement, passed}},
		{"announcing reply", frame(arp.OperationReply, vip1, vip1), answer{vip1, theirMAC, KindAnnouncement, passed}},
		{"reply", frame(arp.OperationReply, vip1, clientIP), answer{vip1, theirMAC, KindReply, passed}},
		{"reply to a probe", frame(arp.OperationReply, vip1, netip.IPv4Unspecified()), answer{vip1, theirMAC, KindReply, passed}},
		{"request", frame(arp.OperationRequest, vip1, clientIP), answer{reason: Announcement}},
		{"probe", frame(arp.OperationRequest, netip.IPv4Unspecified(), vip1), answer{vip1, theirMAC, KindProbe, passed}},
		{"probe for what no host can have", frame(arp.OperationRequest, netip.IPv4Unspecified(), ipv4Broadcast), answer{reason: SenderAddress}},
		{"all zero", frame(arp.OperationRequest, netip.IPv4Unspecified(), netip.IPv4Unspecified()), answer{reason: SenderAddress}},
		{"reverse ARP", frame(3, vip1, vip1), answer{reason: Operation}},
		{"no sender", frame(arp.OperationReply, netip.IPv4Unspecified(), vip1), answer{reason: SenderAddress}},
		{"multicast MAC", put(frame(arp.OperationReply, vip1, vip1), arpSenderMAC, 1), answer{reason: SenderMAC}},
		{"short", frame(arp.OperationReply, vip1, vip1)[:30], answer{reason: Truncated}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got answer
			got.addr, got.mac, got.kind, got.reason = arpProtocol{}.claim(tt.frame)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestARPFramesOfOurOwn(t *testing.T) {
	announcements, err := arpProtocol{}.announcements(ourMAC, vip1)
	must(t, err)
	for i, frame := range announcements {
		if addr, mac, kind, reason := (arpProtocol{}).claim(frame); addr != vip1 || mac != ourMAC || kind != KindAnnouncement || reason != passed {
			t.Errorf("announcement %d is heard as %v %v %v %q", i, addr, mac, kind, reason)
		}
	}
	probe, err := arpProtocol{}.probe(ourMAC, vip1)
	must(t, err)
	if target, reason := (arpProtocol{}).request(probe, theirMAC); target != vip1 || reason != passed {
		t.Errorf("probe is heard as %v %q", target, reason)
	}
	// RFC 5227 section 2.1.1: broadcast, all zero but the sender's MAC and the target.
	var sent arp.Packet
	must(t, sent.UnmarshalBinary(probe[etherHeader:]))
	if !sent.SenderIP.IsUnspecified() || MAC(sent.TargetHardwareAddr) != (MAC{}) || MAC(sent.SenderHardwareAddr) != ourMAC || MAC(probe) != etherBroadcast {
		t.Errorf("probe: %+v to %v", sent, MAC(probe))
	}
	if addr, mac, kind, reason := (arpProtocol{}).claim(probe); addr != vip1 || mac != ourMAC || kind != KindProbe || reason != passed {
		t.Errorf("probe is heard by who listens as %v %v %v %q", addr, mac, kind, reason)
	}
	ask, err := arpProtocol{}.ask(ourMAC, nodeIP, vip1)
	must(t, err)
	if target, reason := (arpProtocol{}).request(ask, theirMAC); target != vip1 || reason != passed {
		t.Errorf("question is heard as %v %q", target, reason)
	}
}

// filterVM runs a filter as the kernel does, but for what only the kernel knows of a packet.
func filterVM(t testing.TB, filter []bpf.Instruction) func(frame []byte) bool {
	t.Helper()
	if _, err := bpf.Assemble(filter); err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(filter[len(forUs()):])
	must(t, err)
	return func(frame []byte) bool {
		n, err := vm.Run(frame)
		return err == nil && n > 0
	}
}

func TestARPFilters(t *testing.T) {
	requests := filterVM(t, arpProtocol{}.requestFilter())
	everybody := filterVM(t, arpProtocol{}.claimFilter(nil))
	nobody := filterVM(t, arpProtocol{}.claimFilter([]netip.Addr{}))
	onlyVIP1 := filterVM(t, arpProtocol{}.claimFilter([]netip.Addr{vip1}))
	for _, tt := range []struct {
		name         string
		operation    arp.Operation
		from, target netip.Addr
		want         [4]bool
	}{
		{"request", arp.OperationRequest, clientIP, vip1, [4]bool{true, false, false, false}},
		{"probe", arp.OperationRequest, netip.IPv4Unspecified(), vip1, [4]bool{true, true, false, true}},
		{"probe for another", arp.OperationRequest, netip.IPv4Unspecified(), vip2, [4]bool{true, true, false, false}},
		{"announcing request", arp.OperationRequest, vip1, vip1, [4]bool{false, true, false, true}},
		{"announcing reply", arp.OperationReply, vip1, vip1, [4]bool{false, true, false, true}},
		{"reply", arp.OperationReply, vip1, clientIP, [4]bool{false, true, false, true}},
		{"reply for another", arp.OperationReply, vip2, clientIP, [4]bool{false, true, false, false}},
		{"reverse ARP", 3, vip1, vip1, [4]bool{}},
	} {
		f, err := arpFrame(tt.operation, theirMAC, tt.from, MAC{}, tt.target)
		must(t, err)
		got := [4]bool{requests(f), everybody(f), nobody(f), onlyVIP1(f)}
		if got != tt.want {
			t.Errorf("%s: requests, everybody, nobody, only VIP1: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFilterOfManySendersAcceptsExactlyThose(t *testing.T) {
	for _, n := range []int{1, 8, 9, 17, 255, 1000, maxFilterValues} {
		senders := make([]netip.Addr, n)
		for i := range senders {
			senders[i] = netip.AddrFrom4([4]byte{10, 0, byte(i * 2 >> 8), byte(i * 2)}) // every other address
		}
		slices.Reverse(senders)
		filter := arpProtocol{}.claimFilter(senders)
		if len(filter) > 4096 {
			t.Errorf("%d senders need %d instructions", n, len(filter))
		}
		accepts := filterVM(t, filter)
		frame, err := arpFrame(arp.OperationReply, theirMAC, vip1, MAC{}, clientIP)
		must(t, err)
		for i := range 2*n + 1 {
			put(frame, arpSender, 10, 0, byte(i>>8), byte(i))
			if want := i%2 == 0 && i < 2*n; accepts(frame) != want {
				t.Fatalf("%d senders: number %d: want %v", n, i, want)
			}
		}
	}
}

// What a stranger sends is either refused or what the other implementation reads as well, and the reply to it is a
// reply by that reading.
func FuzzARPRequest(f *testing.F) {
	f.Add(requestFrame(f, clientIP, vip1))
	f.Add(requestFrame(f, netip.IPv4Unspecified(), vip1))
	f.Add(requestFrame(f, clientIP, vip1)[:42])
	f.Add(requestFrame(f, clientIP, vip1)[:41])
	f.Add(append(requestFrame(f, clientIP, vip1), make([]byte, 100)...))
	filter := filterVM(f, arpProtocol{}.requestFilter())
	f.Fuzz(func(t *testing.T, frame []byte) {
		frame = frame[:min(len(frame), maxFrame+1)] // as the reader's buffer does
		asked := slices.Clone(frame)
		target, reason := arpProtocol{}.request(frame, ourMAC)
		if !bytes.Equal(frame, asked) {
			t.Fatal("looking at a request changed it")
		}
		if reason != passed {
			return
		}
		if !filter(frame) {
			t.Fatal("the kernel would have dropped it")
		}
		var question, answer arp.Packet
		if err := question.UnmarshalBinary(frame[etherHeader:]); err != nil {
			t.Fatalf("accepted what is not ARP: %v", err)
		}
		if question.Operation != arp.OperationRequest || question.TargetIP != target {
			t.Fatalf("accepted %+v as a request for %v", question, target)
		}
		reply := arpProtocol{}.reply(frame, ourMAC)
		must(t, answer.UnmarshalBinary(reply[etherHeader:]))
		if answer.Operation != arp.OperationReply || answer.SenderIP != target || MAC(answer.SenderHardwareAddr) != ourMAC ||
			answer.TargetIP != question.SenderIP || !bytes.Equal(answer.TargetHardwareAddr, question.SenderHardwareAddr) ||
			!bytes.Equal(reply[:6], question.SenderHardwareAddr) || reply[0]&1 != 0 || len(reply) != arpLength {
			t.Fatalf("answered %+v with %+v", question, answer)
		}
	})
}

func FuzzARPClaim(f *testing.F) {
	for _, operation := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		for _, target := range []netip.Addr{vip1, clientIP} {
			frame, err := arpFrame(operation, theirMAC, vip1, ourMAC, target)
			must(f, err)
			f.Add(frame)
		}
	}
	probe, err := arpProtocol{}.probe(theirMAC, vip1)
	must(f, err)
	f.Add(probe)
	filter := filterVM(f, arpProtocol{}.claimFilter(nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		frame = frame[:min(len(frame), maxFrame+1)]
		addr, mac, kind, reason := arpProtocol{}.claim(frame)
		if reason != passed {
			return
		}
		if !filter(frame) || !filterVM(t, arpProtocol{}.claimFilter([]netip.Addr{addr}))(frame) {
			t.Fatal("the kernel would have dropped it")
		}
		var p arp.Packet
		if err := p.UnmarshalBinary(frame[etherHeader:]); err != nil {
			t.Fatalf("accepted what is not ARP: %v", err)
		}
		if kind == KindProbe {
			if p.Operation != arp.OperationRequest || !p.SenderIP.IsUnspecified() || p.TargetIP != addr || MAC(p.SenderHardwareAddr) != mac {
				t.Fatalf("read %+v as a probe for %v by %v", p, addr, mac)
			}
			return
		}
		if p.SenderIP != addr || !bytes.Equal(p.SenderHardwareAddr, mac[:]) || !mac.isHost() {
			t.Fatalf("read %+v as a claim of %v by %v", p, addr, mac)
		}
		if (kind == KindAnnouncement) != (p.SenderIP == p.TargetIP) || (kind == KindReply && p.Operation != arp.OperationReply) {
			t.Fatalf("read %+v as %v", p, kind)
		}
	})
}

// newResponder answers for n VIPs, 10.0.0.0 and on, without a network.
func newResponder(t testing.TB, n int, counts *Metrics) *responder {
	t.Helper()
	a, err := New(logger(t), Config{Metrics: counts})
	must(t, err)
	for i := range n {
		a.Announce(numbered(i), nil)
	}
	l := &link{}
	l.state.Store(&linkState{name: "lan0", mac: ourMAC, up: true})
	return &responder{
		proto: arpProtocol{}, link: &l.state, vips: &a.vips, claims: &claimReader{announcer: a, link: l, drops: a.metrics.drops(protocolARP)},
		alive: a.config.Alive, turn: &turn{}, drops: a.metrics.drops(protocolARP),
	}
}

func numbered(i int) netip.Addr {
	b := [4]byte{10}
	binary.BigEndian.PutUint32(b[:], 10<<24+uint32(i)+1)
	return netip.AddrFrom4(b)
}

func TestAnswerReasons(t *testing.T) {
	a, err := New(logger(t), Config{})
	must(t, err)
	a.Announce(vip1, nil)
	a.Announce(vip2, []string{"lan1", "lan2"})
	alive := true
	var state link
	state.state.Store(&linkState{name: "lan0", mac: ourMAC})
	r := &responder{
		proto: arpProtocol{}, link: &state.state, vips: &a.vips, claims: &claimReader{announcer: a, link: &state},
		alive: func() bool { return alive }, turn: &turn{},
	}
	expect := func(target netip.Addr, want DropReason) {
		t.Helper()
		if _, _, reason := r.answer(requestFrame(t, clientIP, target)); reason != want {
			t.Errorf("%v: %q, want %q", target, reason, want)
		}
	}
	expect(vip1, passed)
	expect(vip2, OtherInterface)
	expect(nodeIP, NotAnnounced)
	a.Announce(vip2, []string{"lan0"})
	expect(vip2, passed)
	alive = false
	expect(vip1, Stalled)
	alive = true
	a.Withdraw(vip1)
	expect(vip1, NotAnnounced)
}

func TestAnswerAllocatesNothing(t *testing.T) {
	m, _ := newTestMetrics(t)
	r := newResponder(t, 1000, m)
	for _, target := range []netip.Addr{numbered(500), vip1} {
		request := requestFrame(t, clientIP, target)
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
			t.Errorf("%v: %v allocations a packet", target, n)
		}
	}
}
