// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2/ktesting"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

// The tests on real wires run in a network namespace of their own (see lantest), which plays the node.
func TestMain(m *testing.M) {
	if order := os.Getenv(askerEnv); order != "" {
		if err := askerMain(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lantest.Main(m)
}

var (
	vip1     = netip.MustParseAddr("192.168.1.240")
	vip2     = netip.MustParseAddr("192.168.1.241")
	nodeIP   = netip.MustParseAddr("192.168.1.11")
	clientIP = netip.MustParseAddr("192.168.1.20")
)

// host is another host on the LAN.
type host struct {
	ns      netns.NsHandle
	netlink *netlink.Handle
}

func newHost(t testing.TB) *host {
	t.Helper()
	lantest.Need(t)
	h := &host{}
	var err error
	lantest.OnThread(func() { h.ns, err = netns.New() })
	must(t, err)
	h.netlink, err = netlink.NewHandleAt(h.ns)
	must(t, err)
	t.Cleanup(func() {
		h.netlink.Close()
		h.ns.Close()
	})
	return h
}

// do runs f in the host's namespace. What f opens stays there.
func (h *host) do(t testing.TB, f func() error) {
	t.Helper()
	var err error
	lantest.OnThread(func() {
		if err = netns.Set(h.ns); err == nil {
			err = f()
		}
	})
	must(t, err)
}

// plug joins the node to the host by a wire: an interface here with that name, and eth0 there, with the client's address.
func (h *host) plug(t testing.TB, name string) {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer-" + name}
	must(t, netlink.LinkAdd(pair))
	t.Cleanup(func() { unplug(name) })
	peer, err := netlink.LinkByName("peer-" + name)
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(h.ns)))
	peer, err = h.netlink.LinkByName("peer-" + name)
	must(t, err)
	must(t, h.netlink.LinkSetName(peer, "eth0"))
	must(t, h.netlink.AddrAdd(peer, &netlink.Addr{IPNet: ipNet(clientIP, 24)}))
	must(t, h.netlink.LinkSetUp(peer))
	h.setCarrier(t, true)
}

func (h *host) setCarrier(t testing.TB, up bool) {
	t.Helper()
	eth0, err := h.netlink.LinkByName(wireUnderVLAN)
	if err != nil {
		eth0, err = h.netlink.LinkByName("eth0")
	}
	must(t, err)
	if up {
		must(t, h.netlink.LinkSetUp(eth0))
	} else {
		must(t, h.netlink.LinkSetDown(eth0))
	}
}

func unplug(name string) {
	if link, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(link)
	}
}

func linkUp(t testing.TB, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(link))
}

func macOf(t testing.TB, name string) MAC {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	return MAC(link.Attrs().HardwareAddr)
}

// newLAN is a node with one interface, lan0, and a client on it.
func newLAN(t testing.TB) *host {
	t.Helper()
	client := newHost(t)
	client.plug(t, "lan0")
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	must(t, netlink.AddrAdd(lan0, &netlink.Addr{IPNet: ipNet(nodeIP, 24)}))
	must(t, netlink.LinkSetUp(lan0))
	return client
}

// ear hears and says ARP as the host.
type ear struct {
	*arp.Client
	t   testing.TB
	mac net.HardwareAddr
}

func (h *host) listen(t testing.TB) *ear {
	t.Helper()
	e := &ear{t: t}
	h.do(t, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, etherTypeARP, nil)
		if err != nil {
			return err
		}
		e.mac = ifi.HardwareAddr
		e.Client, err = arp.New(ifi, conn)
		return err
	})
	t.Cleanup(func() { e.Close() })
	return e
}

// say sends a packet to everybody, from the host's MAC.
func (e *ear) say(operation arp.Operation, from, target netip.Addr) {
	e.t.Helper()
	p, err := arp.NewPacket(operation, e.mac, from, make(net.HardwareAddr, 6), target)
	must(e.t, err)
	err = e.WriteTo(p, net.HardwareAddr(etherBroadcast[:]))
	if errors.Is(err, syscall.ENETDOWN) { // was down
		err = e.WriteTo(p, net.HardwareAddr(etherBroadcast[:]))
	}
	must(e.t, err)
}

// hear returns the next packet that matches, or nil when there is none in the time given.
func (e *ear) hear(within time.Duration, matches func(*arp.Packet) bool) *arp.Packet {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(within)))
	for {
		p, _, err := e.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if errors.Is(err, syscall.ENETDOWN) {
			continue
		}
		must(e.t, err)
		if matches(p) {
			return p
		}
	}
}

// askAgain is how long a question waits for its answer before it is repeated, as hosts do. For a moment after a
// carrier's return the asker's kernel drops without a word what it is given to send.
const askAgain = 250 * time.Millisecond

// ask asks for an address and returns the MAC in the answer.
func (e *ear) ask(from, target netip.Addr, within time.Duration) (MAC, bool) {
	e.t.Helper()
	for ; ; within -= askAgain {
		e.say(arp.OperationRequest, from, target)
		if p := e.hear(min(within, askAgain), func(p *arp.Packet) bool {
			return p.Operation == arp.OperationReply && p.SenderIP == target && p.TargetIP == from
		}); p != nil {
			return MAC(p.SenderHardwareAddr), true
		}
		if within <= askAgain {
			return MAC{}, false
		}
	}
}

func announcementOf(addr netip.Addr) func(*arp.Packet) bool {
	return func(p *arp.Packet) bool { return p.SenderIP == addr && p.TargetIP == addr }
}

// start runs an announcer on the node until the test ends, and waits until it listens on the interfaces named.
func start(t testing.TB, config Config, interfaces ...string) *Announcer {
	t.Helper()
	lantest.Need(t)
	logger, _ := ktesting.NewTestContext(t)
	a, err := New(logger, config)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	waitFor(t, a, "interfaces up: "+strings.Join(interfaces, " "), func() bool {
		up := map[string]bool{}
		for _, i := range a.Interfaces() {
			up[i.Name] = i.Up
		}
		for _, name := range interfaces {
			if !up[name] {
				return false
			}
		}
		return true
	})
	return a
}

// waitFor waits until the interfaces are as wanted.
func waitFor(t testing.TB, a *Announcer, what string, wanted func() bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for !wanted() {
		select {
		case <-a.Changes():
		case <-timeout:
			t.Fatalf("not seen: %s; interfaces: %+v", what, a.Interfaces())
		}
	}
}

// eventually is for what the kernel does in its own time.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(10 * time.Second)
	for !check() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not seen: %s", what)
		}
	}
}

func nextSighting(t testing.TB, a *Announcer) Sighting {
	t.Helper()
	select {
	case s := <-a.Sightings():
		return s
	case <-time.After(5 * time.Second):
		t.Fatal("no sighting")
		return Sighting{}
	}
}

func noSighting(t testing.TB, a *Announcer, within time.Duration) {
	t.Helper()
	select {
	case s := <-a.Sightings():
		t.Fatalf("unexpected sighting: %+v", s)
	case <-time.After(within):
	}
}

func newTestMetrics(t testing.TB) (*Metrics, metrics.KubeRegistry) {
	t.Helper()
	registry := metrics.NewKubeRegistry()
	return NewMetrics(registry.MustRegister), registry
}

func ipNet(addr netip.Addr, ones int) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(ones, addr.BitLen())}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
