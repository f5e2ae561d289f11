// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
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

// soon is how long that may take which must happen: far longer than it does, for machines are busy.
const soon = 10 * time.Second

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
	timeout := time.After(soon)
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
	timeout := time.After(soon)
	for !check() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not seen: %s", what)
		}
	}
}

// awaitBursts waits until nothing is left to announce. Between its rounds an announcement is in no queue while it is sent: so who sends is
// woken, which is noticed when that is over; and again, for what had just been taken from a queue when this was looked at.
func awaitBursts(t testing.TB, a *Announcer) {
	t.Helper()
	nothing := func() bool {
		signal(a.bursts.woken)
		eventually(t, "who sends has nothing to send", func() bool { return len(a.bursts.woken) == 0 })
		return burstsToSend(a) == 0
	}
	eventually(t, "the bursts are over", func() bool { return nothing() && nothing() })
}

// burstsToSend is how many announcements wait, when what sets them off has been dealt with.
func burstsToSend(a *Announcer) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bursts.mu.Lock()
	defer a.bursts.mu.Unlock()
	return len(a.bursts.now) + len(a.bursts.again)
}

func nextSighting(t testing.TB, a *Announcer) Sighting {
	t.Helper()
	select {
	case s := <-a.Sightings():
		return s
	case <-time.After(soon):
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

// dropped is how many packets of a protocol were dropped for a reason.
func dropped(t testing.TB, registry metrics.KubeRegistry, protocol string, reason DropReason) float64 {
	t.Helper()
	drops, err := testutil.GetCounterValuesFromGatherer(registry, "cloud_provider_l2_dropped_packets_total",
		map[string]string{"protocol": protocol}, "reason")
	must(t, err)
	return drops[reason.String()]
}

// eventuallyDropped waits until so many more packets have been dropped than were before what is done.
func eventuallyDropped(t testing.TB, registry metrics.KubeRegistry, protocol string, reason DropReason, more float64, do func()) {
	t.Helper()
	before := dropped(t, registry, protocol, reason)
	do()
	eventually(t, fmt.Sprintf("%v more %s packets dropped: %v", more, protocol, reason), func() bool {
		return dropped(t, registry, protocol, reason) >= before+more
	})
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
