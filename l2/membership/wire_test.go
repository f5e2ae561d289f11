// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// E11: what one multicasts, all others hear, over both families, and it does not hear itself.
func TestHeartbeatsReachAll(t *testing.T) {
	l := newLAN(t)
	var transports []*Transport
	for n := 1; n <= 3; n++ {
		h := newHost(t, n)
		transports = append(transports, h.start(h.plug(l, "eth0", fmt.Sprintf("192.168.1.%d/24", 10+n))))
	}
	for round := range 20 {
		for n, transport := range transports {
			transport.Send(heartbeatOf(fmt.Sprintf("host-%d round %d", n, round)))
		}
		for n, transport := range transports {
			var wanted []string
			for other := range transports {
				if other != n {
					who := fmt.Sprintf("host-%d round %d", other, round)
					wanted = append(wanted, who+" IPv4 eth0", who+" IPv6 eth0")
				}
			}
			hears(t, transport, wanted...)
		}
	}
	for _, transport := range transports {
		hearsNothing(t, transport, 20*time.Millisecond)
	}
}

// All parts together: signed heartbeats over the wire make a member list, and each counts once.
func TestMemberListOnWires(t *testing.T) {
	l := newLAN(t)
	key := testKey(t, secret)
	var transports []*Transport
	for n := 1; n <= 3; n++ {
		h := newHost(t, n)
		transports = append(transports, h.start(h.plug(l, "eth0", fmt.Sprintf("192.168.1.%d/24", 10+n))))
	}
	foreign := beat()
	transports[0].Send(testKey(t, otherSecret).Seal(foreign))
	for sequence := range uint64(5) {
		for n, transport := range transports {
			node := fmt.Sprintf("node-%d", n)
			transport.Send(key.Seal(Heartbeat{Node: node, Epoch: node + "/x", Sequence: sequence, Period: time.Second}))
		}
	}
	for n, transport := range transports {
		judge := NewJudge(Config{Node: fmt.Sprintf("node-%d", n), Period: time.Minute, SilencePeriods: 5.5, WitnessPeriods: 2.5})
		counts := map[DropReason]int{}
		want := map[DropReason]int{DropNone: 10, DropDuplicate: 10, DropForeign: 2}
		if n == 0 {
			delete(want, DropForeign)
		}
		total := 0
		for _, count := range want {
			total += count
		}
		for range total {
			select {
			case datagram := <-transport.Datagrams():
				heartbeat, err := key.Open(datagram.Data)
				reason := ReasonOf(err)
				if err == nil {
					_, reason = judge.Heard(heartbeat, datagram.At)
				}
				if reason == DropReplayed { // the other family was faster by more than one
					reason = DropDuplicate
				}
				counts[reason]++
			case <-time.After(10 * time.Second):
				t.Fatalf("node-%d: %v", n, counts)
			}
		}
		if diff := cmp.Diff(want, counts); diff != "" || len(judge.Members(time.Now())) != 2 {
			t.Errorf("node-%d: members %v; %s", n, judge.Members(time.Now()), diff)
		}
	}
}

// Where the LAN keeps two hosts apart, each is heard by the third and not by the other; a cut wire and a healed one are just that.
func TestHeartbeatsFiltered(t *testing.T) {
	l := newLAN(t)
	a, b, c := newHost(t, 1), newHost(t, 2), newHost(t, 3)
	fromA := a.start(a.plug(l, "eth0", "192.168.1.11/24"))
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	fromC := c.start(c.plug(l, "eth0", "192.168.1.13/24"))
	must(t, netlink.LinkSetIsolated(a.port("eth0"), true))
	must(t, netlink.LinkSetIsolated(b.port("eth0"), true))

	fromA.Send(heartbeatOf("a"))
	fromB.Send(heartbeatOf("b"))
	hears(t, fromC, "a IPv4 eth0", "a IPv6 eth0", "b IPv4 eth0", "b IPv6 eth0")
	hearsNothing(t, fromA, 20*time.Millisecond)
	hearsNothing(t, fromB, 20*time.Millisecond)

	must(t, netlink.LinkSetIsolated(a.port("eth0"), false))
	must(t, netlink.LinkSetDown(a.port("eth0")))
	fromA.Send(heartbeatOf("a cut off"))
	hearsNothing(t, fromC, 20*time.Millisecond)
	must(t, netlink.LinkSetUp(a.port("eth0")))
	eventually(t, "a is heard again over both families", func() bool {
		fromA.Send(heartbeatOf("a"))
		heard := map[string]bool{}
		for {
			select {
			case datagram := <-fromC.Datagrams():
				heard[describe(datagram)] = true
			case <-time.After(10 * time.Millisecond):
				return heard["a IPv4 eth0"] && heard["a IPv6 eth0"]
			}
		}
	})
}

// With several interfaces a heartbeat goes out on each, and is heard on the one it arrived on; interfaces come and go.
func TestInterfacesComeAndGo(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	eth0, eth1 := a.plug(l, "eth0", "192.168.1.11/24"), a.plug(l, "eth1", "192.168.2.11/24")
	fromA := a.start(eth0)
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24", "192.168.2.12/24"))

	fromB.Send(heartbeatOf("b"))
	hears(t, fromA, "b IPv4 eth0", "b IPv6 eth0")

	a.do(func() { fromA.SetInterfaces([]Interface{eth0, eth1}) })
	fromA.Send(heartbeatOf("a"))
	for range 4 { // two interfaces, two families, all on the same LAN
		next(t, fromB)
	}
	hearsNothing(t, fromB, 20*time.Millisecond)
	hears(t, fromA, "a IPv6 eth0", "a IPv6 eth1") // by the other wire; Judge drops it as its own

	fromB.Send(heartbeatOf("b")) // each wire's only on its own socket
	hears(t, fromA, "b IPv4 eth0", "b IPv6 eth0", "b IPv4 eth1", "b IPv6 eth1")
	hearsNothing(t, fromA, 20*time.Millisecond)

	a.do(func() { fromA.SetInterfaces([]Interface{eth1}) })
	fromB.Send(heartbeatOf("b"))
	hears(t, fromA, "b IPv4 eth1", "b IPv6 eth1")
	hearsNothing(t, fromA, 20*time.Millisecond)

	// An interface that is made anew under its name is another one.
	must(t, netlink.LinkDel(a.port("eth1")))
	fromA.Send(heartbeatOf("into the void"))
	again := a.plug(l, "eth1", "192.168.2.11/24")
	a.do(func() { fromA.SetInterfaces([]Interface{again}) })
	fromB.Send(heartbeatOf("b again"))
	hears(t, fromA, "b again IPv4 eth1", "b again IPv6 eth1")

	a.do(func() { fromA.SetInterfaces(nil) })
	fromA.Send(heartbeatOf("a"))
	hearsNothing(t, fromB, 20*time.Millisecond)
}

// What cannot be sent is counted, and does no harm to the rest; what could not be opened is opened later.
func TestSendErrorsAreCounted(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	eth0, eth1 := a.plug(l, "eth0", "192.168.1.11/24"), a.plug(l, "eth1", "192.168.2.11/24")
	fromA := a.start(eth0, eth1, Interface{Name: "ghost", Index: 4711})
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	before := dropped(t, DropNotSent)
	must(t, netlink.LinkDel(a.port("eth1")))
	fromA.Send(heartbeatOf("a"))
	hears(t, fromB, "a IPv4 eth0", "a IPv6 eth0")
	if got := dropped(t, DropNotSent) - before; got != 2 {
		t.Errorf("%v datagrams not sent were counted, want 2", got)
	}
	fromA.Send(nil)
	hearsNothing(t, fromB, 20*time.Millisecond)
}

// IPv4 heartbeats come from the interface's own address, not from a VIP that somebody put on it; without any address they are
// received all the same.
func TestSourceAddress(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	fromA := a.start(a.plug(l, "eth0", "192.168.1.240/32", "192.168.1.11/24", "192.168.9.11/24"), a.plug(l, "eth1", "172.16.0.1/24"))
	fromB := b.start(b.plug(l, "eth0"))
	fromA.Send(heartbeatOf("a"))
	sources := map[netip.Addr]bool{}
	for range 4 {
		datagram := next(t, fromB)
		if addr := datagram.From.Addr().Unmap(); addr.Is4() {
			sources[addr] = true
		}
	}
	if len(sources) != 2 || !sources[netip.MustParseAddr("192.168.1.11")] || !sources[netip.MustParseAddr("172.16.0.1")] {
		t.Errorf("IPv4 heartbeats came from %v", sources)
	}
	hears(t, fromA, "a IPv6 eth0", "a IPv6 eth1") // its own, by the other wire
	fromB.Send(heartbeatOf("b"))
	hears(t, fromA, "b IPv6 eth0", "b IPv6 eth1")
}

// A host that changes its address, also to another subnet, is heard on from the new one, without a gap; the heartbeat names the
// node, not an address.
func TestAddressChanges(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	eth0 := a.plug(l, "eth0", "192.168.1.11/24")
	fromA := a.start(eth0)
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	link, err := a.Netlink.LinkByName("eth0")
	must(t, err)
	for _, text := range []string{"192.168.1.111/24", "10.0.0.11/8", "10.0.0.11/8"} { // the last is taken away and given back
		next4 := eth0
		fromA.Send(heartbeatOf("a before"))
		hears(t, fromB, "a before IPv4 eth0", "a before IPv6 eth0")
		old, err := netlink.ParseAddr(eth0.Addresses[0].String())
		must(t, err)
		must(t, a.Netlink.AddrDel(link, old))
		next4.Addresses = []netip.Prefix{a.address(link, text)}
		a.do(func() { fromA.SetInterfaces([]Interface{next4}) })
		fromA.Send(heartbeatOf("a after"))
		for range 2 {
			got := next(t, fromB)
			if from := got.From.Addr().Unmap(); from.Is4() && from != next4.Addresses[0].Addr() {
				t.Errorf("heard from %v, want %v", from, next4.Addresses[0].Addr())
			}
		}
		fromB.Send(heartbeatOf("b"))
		hears(t, fromA, "b IPv4 eth0", "b IPv6 eth0")
		eth0 = next4
	}
}

// A host moves to another interface, and with it to another wire.
func TestInterfaceChanges(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	fromA := a.start(a.plug(l, "eth0", "192.168.1.11/24"))
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	fromA.Send(heartbeatOf("a"))
	hears(t, fromB, "a IPv4 eth0", "a IPv6 eth0")
	must(t, netlink.LinkDel(a.port("eth0")))
	eth1 := a.plug(l, "eth1", "192.168.1.11/24")
	a.do(func() { fromA.SetInterfaces([]Interface{eth1}) })
	fromA.Send(heartbeatOf("a moved"))
	hears(t, fromB, "a moved IPv4 eth0", "a moved IPv6 eth0")
	fromB.Send(heartbeatOf("b"))
	hears(t, fromA, "b IPv4 eth1", "b IPv6 eth1")
}

// A host without IPv6, and one without an IPv4 address, are heard by one that has both, over what they have; they do not hear each other.
func TestOneFamilyIsEnough(t *testing.T) {
	l := newLAN(t)
	both, only4, only6 := newHost(t, 1), newHost(t, 2), newHost(t, 3)
	only4.noIPv6 = true
	only4.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	fromBoth := both.start(both.plug(l, "eth0", "192.168.1.11/24"))
	from4 := only4.start(only4.plug(l, "eth0", "192.168.1.12/24"))
	from6 := only6.start(only6.plug(l, "eth0"))
	from4.Send(heartbeatOf("only4"))
	hears(t, fromBoth, "only4 IPv4 eth0")
	hears(t, from6, "only4 IPv4 eth0") // received without an address of its own
	from6.Send(heartbeatOf("only6"))
	hears(t, fromBoth, "only6 IPv6 eth0")
	hearsNothing(t, from4, 20*time.Millisecond)
	fromBoth.Send(heartbeatOf("both"))
	hears(t, from4, "both IPv4 eth0")
	hears(t, from6, "both IPv4 eth0", "both IPv6 eth0")
}

// Datagrams from beyond a router, unicast ones and rubbish get no further than the socket; another program may use the port on
// the host's own address.
func TestStrangersAreDropped(t *testing.T) {
	l := newLAN(t)
	a, stranger := newHost(t, 1), newHost(t, 2)
	eth0 := a.plug(l, "eth0", "192.168.1.11/24")
	other := a.listen(net.IPv4(192, 168, 1, 11), names.HeartbeatPort)
	defer other.Close()
	transport := a.start(eth0)
	stranger.plug(l, "eth0", "192.168.1.66/24")
	group := &net.UDPAddr{IP: groupIPv4.AsSlice(), Port: names.HeartbeatPort}
	conn := stranger.listen(net.IPv4(192, 168, 1, 66), 0)
	defer conn.Close()
	setHops := func(hops int) {
		t.Helper()
		must(t, ipv4.NewPacketConn(conn).SetMulticastTTL(hops))
	}
	for _, c := range []struct {
		reason DropReason
		hops   int
		data   []byte
	}{
		{DropHopLimit, 254, heartbeatOf("routed")},
		{DropHopLimit, 1, heartbeatOf("routed")},
		{DropMalformed, 255, []byte("hello")},
		{DropMalformed, 255, nil},
		{DropOversized, 255, append(heartbeatOf("long"), make([]byte, MaxDatagram)...)},
		{DropOversized, 255, append(heartbeatOf("long"), make([]byte, 60000)...)},
	} {
		before := dropped(t, c.reason)
		setHops(c.hops)
		_, err := conn.WriteTo(c.data, group)
		must(t, err)
		eventually(t, string(c.reason), func() bool { return dropped(t, c.reason) == before+1 })
	}
	setHops(255)
	_, err := conn.WriteTo(heartbeatOf("unicast"), &net.UDPAddr{IP: net.IPv4(192, 168, 1, 11), Port: names.HeartbeatPort})
	must(t, err)
	_, err = conn.WriteTo(heartbeatOf("fine"), group)
	must(t, err)
	hears(t, transport, "fine IPv4 eth0")
}

// A flood fills the queue and nothing else: Send goes on, and so does the Transport when the queue is taken.
func TestOverflow(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	fromA := a.start(a.plug(l, "eth0", "192.168.1.11/24"))
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	before := dropped(t, DropOverflow)
	eventually(t, "the queue runs over", func() bool {
		for range 100 {
			fromA.Send(heartbeatOf("flood"))
		}
		return dropped(t, DropOverflow) > before
	})
	for len(fromB.Datagrams()) > 0 {
		<-fromB.Datagrams()
	}
	eventually(t, "what comes after the flood is heard", func() bool {
		fromA.Send(heartbeatOf("after"))
		return strings.HasPrefix(describe(next(t, fromB)), "after")
	})
}

// The Transport needs no capability.
func TestNeedsNoCapability(t *testing.T) {
	l := newLAN(t)
	a, b := newHost(t, 1), newHost(t, 2)
	eth0 := a.plug(l, "eth0", "192.168.1.11/24")
	fromB := b.start(b.plug(l, "eth0", "192.168.1.12/24"))
	fromA := a.start()
	var err error
	a.do(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&header, &none[0]); err == nil {
			fromA.SetInterfaces([]Interface{eth0})
			fromA.Send(heartbeatOf("a"))
		}
	})
	must(t, err)
	hears(t, fromB, "a IPv4 eth0", "a IPv6 eth0")
}
