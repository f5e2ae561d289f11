// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2/ktesting"
)

// The tests on real wires start the test binary again in a network namespace without a name, which ends with the process. In
// it is a bridge, the LAN; each host is a further namespace, with one or more wires to the bridge. No packet gets out.
const inNamespaceEnv = "CLOUD_PROVIDER_L2_MEMBERSHIP_TEST_NETNS"

func TestMain(m *testing.M) {
	fuzzing := strings.Contains(strings.Join(os.Args, " "), "-test.fuzz")
	if os.Geteuid() == 0 && os.Getenv(inNamespaceEnv) == "" && !fuzzing {
		again := exec.Command("/proc/self/exe", os.Args[1:]...)
		again.Env = append(os.Environ(), inNamespaceEnv+"=1")
		again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // Pdeathsig is about the thread
		err := again.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
			os.Exit(0)
		case errors.As(err, &exit):
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintf(os.Stderr, "cannot start the tests in a network namespace: %v\n", err)
		runtime.UnlockOSThread()
	}
	os.Exit(m.Run())
}

// lan is a bridge.
type lan struct{ bridge netlink.Link }

func newLAN(t *testing.T) *lan {
	t.Helper()
	if os.Getenv(inNamespaceEnv) == "" {
		t.Skip("needs root and permission to make network namespaces")
	}
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}))
	bridge, err := netlink.LinkByName("lan")
	must(t, err)
	t.Cleanup(func() { must(t, netlink.LinkDel(bridge)) })
	must(t, netlink.LinkSetUp(bridge))
	return &lan{bridge: bridge}
}

// host is a network namespace.
type host struct {
	t       *testing.T
	number  int
	ns      netns.NsHandle
	netlink *netlink.Handle
}

func newHost(t *testing.T, number int) *host {
	t.Helper()
	h := &host{t: t, number: number}
	var err error
	onThread(func() {
		if h.ns, err = netns.New(); err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644) // tests need not wait for it
		}
	})
	must(t, err)
	h.netlink, err = netlink.NewHandleAt(h.ns)
	must(t, err)
	t.Cleanup(func() {
		h.netlink.Close()
		h.ns.Close()
	})
	return h
}

// do runs f in the host's namespace; sockets that f opens stay there.
func (h *host) do(f func()) {
	h.t.Helper()
	var err error
	onThread(func() {
		if err = netns.Set(h.ns); err == nil {
			f()
		}
	})
	must(h.t, err)
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlock
		defer close(done)
		f()
	}()
	<-done
}

// plug joins the host to the LAN by an interface with the addresses given, and returns that.
func (h *host) plug(l *lan, name string, addresses ...string) Interface {
	h.t.Helper()
	port, peer := fmt.Sprintf("%s-%d", name, h.number), fmt.Sprintf("p%s-%d", name, h.number)
	must(h.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: l.bridge.Attrs().Index}, PeerName: peer}))
	h.t.Cleanup(func() {
		if link, err := netlink.LinkByName(port); err == nil { // a namespace ends in its own time, and with it the other end
			_ = netlink.LinkDel(link)
		}
	})
	link, err := netlink.LinkByName(peer)
	must(h.t, err)
	must(h.t, netlink.LinkSetNsFd(link, int(h.ns)))
	link, err = h.netlink.LinkByName(peer)
	must(h.t, err)
	must(h.t, h.netlink.LinkSetName(link, name))
	on := Interface{Name: name, Index: link.Attrs().Index}
	for _, text := range addresses {
		addr, err := netlink.ParseAddr(text)
		must(h.t, err)
		must(h.t, h.netlink.AddrAdd(link, addr))
		on.Addresses = append(on.Addresses, netip.MustParsePrefix(text))
	}
	must(h.t, h.netlink.LinkSetUp(link))
	portLink, err := netlink.LinkByName(port)
	must(h.t, err)
	must(h.t, netlink.LinkSetUp(portLink))
	eventually(h.t, "an IPv6 address that may be used", func() bool {
		list, err := h.netlink.AddrList(link, netlink.FAMILY_V6)
		must(h.t, err)
		for _, addr := range list {
			if addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				return true
			}
		}
		return false
	})
	return on
}

// listen opens a socket of another program on the host.
func (h *host) listen(ip net.IP, port int) *net.UDPConn {
	h.t.Helper()
	var conn *net.UDPConn
	var err error
	h.do(func() { conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port}) })
	must(h.t, err)
	return conn
}

// port is the LAN's end of a host's wire.
func (h *host) port(name string) netlink.Link {
	h.t.Helper()
	link, err := netlink.LinkByName(fmt.Sprintf("%s-%d", name, h.number))
	must(h.t, err)
	return link
}

// start runs a Transport on the host until the test ends.
func (h *host) start(on ...Interface) *Transport {
	h.t.Helper()
	_, ctx := ktesting.NewTestContext(h.t)
	transport := NewTransport(ctx, TransportConfig{})
	h.do(func() { transport.SetInterfaces(on) })
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go h.do(func() {
		defer close(ended)
		if err := transport.Run(running); err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(func() {
		stop()
		<-ended
	})
	return transport
}

// heartbeatOf is something that looks like a heartbeat and tells who sent it.
func heartbeatOf(who string) []byte {
	return append(append([]byte("L2HB"), make([]byte, headerLength+signatureLength)...), who...)
}

// hears collects what a Transport receives until it has heard all that is wanted, as "who family interface".
func hears(t *testing.T, transport *Transport, wanted ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, each := range wanted {
		missing[each] = true
	}
	timeout := time.After(10 * time.Second)
	for len(missing) > 0 {
		select {
		case datagram := <-transport.Datagrams():
			got := describe(datagram)
			if !missing[got] {
				t.Fatalf("heard %q, wanted one of %v", got, missing)
			}
			delete(missing, got)
		case <-timeout:
			t.Fatalf("not heard: %v", missing)
		}
	}
}

func describe(datagram Datagram) string {
	family := "IPv6"
	if datagram.From.Addr().Unmap().Is4() {
		family = "IPv4"
	}
	return string(datagram.Data[headerLength+signatureLength+4:]) + " " + family + " " + datagram.Interface
}

// next is what a Transport receives next.
func next(t *testing.T, transport *Transport) Datagram {
	t.Helper()
	select {
	case datagram := <-transport.Datagrams():
		return datagram
	case <-time.After(10 * time.Second):
		t.Fatal("nothing more was heard")
		return Datagram{}
	}
}

func hearsNothing(t *testing.T, transport *Transport, within time.Duration) {
	t.Helper()
	select {
	case datagram := <-transport.Datagrams():
		t.Fatalf("heard %q", describe(datagram))
	case <-time.After(within):
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(10 * time.Second)
	for !check() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dropped(t *testing.T, reason DropReason) float64 {
	t.Helper()
	count, err := testutil.GetCounterMetricValue(heartbeatsDropped.WithLabelValues(string(reason)))
	must(t, err)
	return count
}

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
			transport.Send(key.Seal(Heartbeat{Node: node, Epoch: node + "/x", Sequence: sequence}))
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

// Datagrams from beyond a router, unicast ones and rubbish get no further than the socket; another program may use the port on
// the host's own address.
func TestStrangersAreDropped(t *testing.T) {
	l := newLAN(t)
	a, stranger := newHost(t, 1), newHost(t, 2)
	eth0 := a.plug(l, "eth0", "192.168.1.11/24")
	other := a.listen(net.IPv4(192, 168, 1, 11), DefaultPort)
	defer other.Close()
	transport := a.start(eth0)
	stranger.plug(l, "eth0", "192.168.1.66/24")
	group := &net.UDPAddr{IP: GroupIPv4.AsSlice(), Port: DefaultPort}
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
	_, err := conn.WriteTo(heartbeatOf("unicast"), &net.UDPAddr{IP: net.IPv4(192, 168, 1, 11), Port: DefaultPort})
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
