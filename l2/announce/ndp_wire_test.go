// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/component-base/metrics/testutil"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

// newLAN6 is a node with one interface, lan0, and a client on it, with IPv6 addresses as well.
func newLAN6(t testing.TB) *host {
	t.Helper()
	client := newLAN(t)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(clientIP6, 64), Flags: unix.IFA_F_NODAD}))
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	must(t, netlink.AddrAdd(lan0, &netlink.Addr{IPNet: ipNet(nodeIP6, 64), Flags: unix.IFA_F_NODAD}))
	return client
}

func TestNDPKernelOfAClientResolvesVIP(t *testing.T) {
	client := newLAN6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(vip6, nil)
	if mac, want := client.resolve(t, vip6), macOf(t, "lan0"); mac != want {
		t.Fatalf("the client's neighbour table has %v, want %v", mac, want)
	}
	for _, name := range []string{"metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"} {
		eventually(t, name, func() bool {
			n, err := testutil.GetCounterValuesFromGatherer(registry, name, map[string]string{"ip": vip6.String()}, "ip")
			return err == nil && n[vip6.String()] >= 1
		})
	}
	ear := client.listen6(t)
	eventuallyDropped(t, registry, protocolNDP, NotAnnounced, 1, func() { ear.question(clientIP6, otherVIP6) })
	eventuallyDropped(t, registry, protocolNDP, HopLimit, 1, func() { ear.say(put(solicitation(t, clientIP6, vip6), ipv6HopLimit, 64)) })
}

// Flags and addresses on the wire, with the node's kernel beside it.
func TestNDPAnswers(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip6, nil)
	mac := macOf(t, "lan0")
	p := ear.ask(clientIP6, vip6)
	if p == nil || p.mac() != mac || p.from != vip6 || p.to != clientIP6 || p.fromMAC != mac || p.toMAC != ear.mac || !p.Override || p.Router {
		t.Errorf("answer: %+v", p)
	}
	p = ear.ask(netip.IPv6Unspecified(), vip6)
	if p == nil || p.mac() != mac || p.to != ipv6AllNodes || p.toMAC != groupMAC(ipv6AllNodes) || !p.Override || p.Router {
		t.Errorf("answer to a probe: %+v", p)
	}
	// One goroutine answers, in the order of the questions.
	ear.question(clientIP6, otherVIP6)
	ear.question(clientIP6, vip6)
	if p := ear.hear(soon, answers6(clientIP6, vip6, otherVIP6)); p == nil || p.NeighborAdvertisement.TargetAddress != vip6 {
		t.Errorf("the first answer: %+v, want one for %v", p, vip6)
	}
	// Without a MAC in it, the answer goes to where the question came from.
	ask, err := ndpProtocol{}.ask(ear.mac, clientIP6, vip6)
	must(t, err)
	ear.say(withOptions(put(ask, etherSource, ear.mac[:]...)))
	if p := ear.hear(soon, func(p neighbourPacket) bool { return advertises(vip6)(p) && p.Solicited }); p == nil || p.toMAC != ear.mac {
		t.Errorf("answer to a question without a MAC: %+v", p)
	}
}

// Defect L2-3 of MetalLB: a neighbour that asks the node alone whether the VIP is still there. Also when the node is a
// router, as Kubernetes nodes are, whose kernel would forward the question.
func TestNDPNeighbourStaysReachable(t *testing.T) {
	for _, forwarding := range []string{"0", "1"} {
		t.Run("forwarding="+forwarding, func(t *testing.T) {
			client := newLAN6(t)
			setForwarding(t, forwarding)
			defer setForwarding(t, "0")
			a := start(t, Config{}, "lan0")
			a.Announce(vip6, nil)
			client.resolve(t, vip6)
			questions := packetsOf(t, "lan0")
			mac := macOf(t, "lan0")
			eth0, err := client.netlink.LinkByName("eth0")
			must(t, err)
			eventually(t, "the client has the address it asks from", func() bool {
				return !client.tentative(t, func(addr netip.Addr) bool { return addr.IsLinkLocalUnicast() })
			})
			for range 3 {
				must(t, client.netlink.NeighSet(&netlink.Neigh{
					LinkIndex: eth0.Attrs().Index, IP: vip6.AsSlice(), State: netlink.NUD_PROBE, HardwareAddr: mac[:],
				}))
				if p := questions.hear(soon, asksFor(vip6)); p == nil || p.to != vip6 || p.toMAC != mac {
					t.Fatalf("the client asks with %+v, its entry is in state %#x", p, client.neighbourState(t, vip6))
				}
				eventually(t, "the neighbour is reachable", func() bool {
					return client.neighbourState(t, vip6) == netlink.NUD_REACHABLE
				})
			}
		})
	}
}

func setForwarding(t testing.TB, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte(value), 0))
}

func (h *host) neighbourState(t testing.TB, addr netip.Addr) int {
	t.Helper()
	entries, err := h.netlink.NeighList(0, netlink.FAMILY_V6)
	must(t, err)
	for _, entry := range entries {
		if ip, _ := netip.AddrFromSlice(entry.IP); ip == addr {
			return entry.State
		}
	}
	return 0
}

// Defect L2-4 of MetalLB: a host that configures the VIP as its own must find that it is taken.
func TestNDPDuplicateAddressDetectionIsDefended(t *testing.T) {
	client := newLAN6(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip6, nil)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	client.setDetections(t, patientDetections)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(vip6, 64)}))
	client.setDetections(t, 1)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(otherVIP6, 64)}))
	eventually(t, "dadfailed", func() bool { return client.addressFlags(t, is(vip6))&unix.IFA_F_DADFAILED != 0 })
	eventually(t, "another address is the client's", func() bool { return !client.tentative(t, is(otherVIP6)) })
	if client.addressFlags(t, is(otherVIP6))&unix.IFA_F_DADFAILED != 0 {
		t.Error("the client did not get an address that nobody has")
	}
}

// patientDetections are enough for an answer that is a second late, which is when a kernel asks again and, as a rule, asks no more.
const patientDetections = 3

// setDetections has the host's kernel ask so often whether an address is taken that is given to eth0 from now on.
func (h *host) setDetections(t testing.TB, count int) {
	t.Helper()
	h.do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/dad_transmits", fmt.Append(nil, count), 0)
	})
}

func is(addr netip.Addr) func(netip.Addr) bool {
	return func(each netip.Addr) bool { return each == addr }
}

func (h *host) tentative(t testing.TB, which func(netip.Addr) bool) bool {
	t.Helper()
	return h.addressFlags(t, which)&unix.IFA_F_TENTATIVE != 0
}

// addressFlags are those of an address of eth0. One that is not there is tentative: it comes yet.
func (h *host) addressFlags(t testing.TB, which func(netip.Addr) bool) int {
	t.Helper()
	if _, flags, ok := h.address(t, which); ok {
		return flags
	}
	return unix.IFA_F_TENTATIVE
}

// address is an IPv6 address of eth0, with its flags.
func (h *host) address(t testing.TB, which func(netip.Addr) bool) (addr netip.Addr, flags int, ok bool) {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	addresses, err := h.netlink.AddrList(eth0, netlink.FAMILY_V6)
	must(t, err)
	for _, each := range addresses {
		if addr, _ := netip.AddrFromSlice(each.IP); which(addr) {
			return addr, each.Flags, true
		}
	}
	return netip.Addr{}, 0, false
}

func TestNDPBurstUpdatesNeighbours(t *testing.T) {
	client := newLAN6(t)
	ear := client.listen6(t)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.NeighSet(&netlink.Neigh{
		LinkIndex: eth0.Attrs().Index, IP: vip6.AsSlice(), State: netlink.NUD_REACHABLE,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 99},
	}))
	a := start(t, Config{}, "lan0")
	began := time.Now()
	a.Announce(vip6, nil)
	mac := macOf(t, "lan0")
	for round := range burstRounds {
		p := ear.hear(soon, advertises(vip6))
		if p == nil || p.mac() != mac || p.from != vip6 || p.to != ipv6AllNodes || p.Solicited || !p.Override || p.Router {
			t.Fatalf("round %d: heard %+v", round, p)
		}
		if at, want := time.Since(began), time.Duration(round)*burstInterval; at < want { // late is who hears
			t.Errorf("round %d came after %v, want %v", round, at, want)
		}
		if round == 0 {
			eventually(t, "the neighbour entry has the new MAC", func() bool {
				now, _ := client.neighbour(t, vip6)
				return now == mac
			})
		}
	}
	if p := ear.hear(2*burstInterval, advertises(vip6)); p != nil {
		t.Errorf("one round too many: %+v", p)
	}
}

func TestNDPWithdrawSilencesBeforeItReturns(t *testing.T) {
	client := newLAN6(t)
	ear := client.listen6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	question, err := ndpProtocol{}.ask(ear.mac, clientIP6, vip6)
	must(t, err)
	defer client.flood(t, questionsPerSecond, question)()
	for range 10 {
		ear.empty()
		a.Announce(vip6, nil)
		expectJoined(t, "lan0", vip6, true)
		if ear.hear(soon, answers6(clientIP6, vip6)) == nil {
			t.Fatal("no answer")
		}
		a.Withdraw(vip6)
		said := leaving(t, "lan0").ndp()
		expectJoined(t, "lan0", vip6, false)
		eventuallyDropped(t, registry, protocolNDP, NotAnnounced, 100, func() {})
		if p := said.hear(0, advertises(vip6)); p != nil {
			t.Fatalf("said after it was withdrawn: %+v", p)
		}
		said.Close()
	}
}

// Defects L2-1 and L2-6 of MetalLB: deaf, or late, after the link was down, by its carrier or by the administrator.
func TestNDPLinkFlaps(t *testing.T) {
	client := newLAN6(t)
	ear := client.listen6(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip6, nil)
	isUp := func() bool { i := a.Interfaces(); return len(i) == 1 && i[0].Up }
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	for name, set := range map[string]func(up bool){
		"carrier": func(up bool) { client.setCarrier(t, up) },
		"interface": func(up bool) {
			if up {
				must(t, netlink.LinkSetUp(lan0))
			} else {
				must(t, netlink.LinkSetDown(lan0))
			}
		},
	} {
		for range 2 {
			set(false)
			waitFor(t, a, "lan0 down", func() bool { return !isUp() })
			ear.empty()
			set(true)
			began := time.Now()
			waitFor(t, a, "lan0 up", isUp)
			if ear.hear(soon, advertises(vip6)) == nil {
				t.Errorf("%s: no announcement", name)
			}
			t.Logf("%s: announced %v after it was up", name, time.Since(began).Round(time.Millisecond))
			if ear.ask(clientIP6, vip6) == nil {
				t.Errorf("%s: no answer", name)
			}
			eventuallyJoined(t, "lan0", vip6)
		}
	}
}

func TestNDPMACChangeIsFollowed(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip6, nil)
	link, err := netlink.LinkByName("lan0")
	must(t, err)
	want := MAC{2, 0, 0, 0, 0, 7}
	must(t, netlink.LinkSetHardwareAddr(link, want[:]))
	waitFor(t, a, "the new MAC", func() bool { return a.Interfaces()[0].MAC == want })
	if ear.hear(soon, func(p neighbourPacket) bool { return advertises(vip6)(p) && p.mac() == want && !p.Solicited }) == nil {
		t.Error("the new MAC was not announced")
	}
	if p := ear.ask(clientIP6, vip6); p == nil || p.mac() != want || p.fromMAC != want {
		t.Errorf("answered with %+v", p)
	}
}

// Defect L2-2 of MetalLB.
func TestNDPInterfaceThatAppearsLaterServes(t *testing.T) {
	lantest.Need(t)
	a := start(t, Config{})
	a.Announce(vip6, []string{"lan0"})
	for range 2 {
		ear := newLAN6(t).listen6(t)
		if ear.hear(soon, advertises(vip6)) == nil {
			t.Fatal("not announced on the new interface")
		}
		if ear.ask(clientIP6, vip6) == nil {
			t.Fatal("not answered on the new interface")
		}
		eventuallyJoined(t, "lan0", vip6)
		unplug("lan0")
		waitFor(t, a, "lan0 gone", func() bool { return len(a.Interfaces()) == 0 })
	}
}

func TestNDPSilentWhileNotAlive(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m, Alive: func() bool { return false }}, "lan0")
	said := leaving(t, "lan0").ndp()
	a.Announce(vip6, nil)
	for _, from := range []netip.Addr{clientIP6, netip.IPv6Unspecified()} {
		eventuallyDropped(t, registry, protocolNDP, Stalled, 1, func() { ear.question(from, vip6) })
	}
	if said.hear(0, advertises(vip6)) != nil {
		t.Error("said something while not alive")
	}
}

func TestNDPSightings(t *testing.T) {
	client := newLAN6(t)
	ear := client.listen6(t)
	a := start(t, Config{}, "lan0")
	waitFor(t, a, "the node's address", func() bool {
		for _, prefix := range a.Interfaces()[0].Prefixes {
			if prefix.Addr() == nodeIP6 {
				return true
			}
		}
		return false
	})
	a.Announce(vip6, nil)
	a.Watch(otherVIP6)
	expect := func(what string, addr netip.Addr, kind Kind) {
		t.Helper()
		s := nextSighting(t, a)
		if s.Addr != addr || s.MAC != ear.mac || s.Kind != kind || s.Interface != "lan0" || time.Since(s.At) > time.Minute {
			t.Errorf("%s: %+v", what, s)
		}
	}
	lan0 := macOf(t, "lan0")
	for _, narrowed := range []bool{false, true} {
		if narrowed {
			waitNarrow(t, a)
		}
		ear.announce(vip6)
		expect("unsolicited, of a VIP", vip6, KindAnnouncement)
		ear.announce(otherVIP6)
		expect("unsolicited, of a watched address", otherVIP6, KindAnnouncement)
		reply, err := ndpFrame(ear.mac, otherVIP6, nodeIP6, &ndp.NeighborAdvertisement{
			Solicited: true, TargetAddress: otherVIP6, Options: []ndp.Option{targetMAC(ear.mac)},
		})
		must(t, err)
		ear.say(put(reply, etherDestination, lan0[:]...))
		expect("solicited", otherVIP6, KindReply)
		ear.announce(clientIP6)                                           // nobody watches the client
		ear.question(clientIP6, otherVIP6)                                // a question claims nothing
		ear.question(netip.IPv6Unspecified(), otherVIP6)                  // nor does that of one who would like to have it
		ear.say(patched(put(reply, ipv6HopLimit, 64), ndpFlags, 0, 0, 0)) // from far away
		noSighting(t, a, 100*time.Millisecond)
	}

	// The client's kernel answers probes and questions for its own address.
	a.Watch(clientIP6)
	a.Probe(clientIP6, nil)
	expect("answer to a probe", clientIP6, KindAnnouncement)
	a.Probe(clientIP6, []string{"no-such"})
	noSighting(t, a, 100*time.Millisecond)
	a.Ask(clientIP6)
	expect("answer to a question", clientIP6, KindReply)
	if p := ear.hear(soon, func(p neighbourPacket) bool { return asksFor(clientIP6)(p) && !p.from.IsUnspecified() }); p == nil || p.from != nodeIP6 {
		t.Errorf("asked with %+v", p)
	}
	a.Unwatch(clientIP6)
	a.narrowFilters() // as Run does in a moment
	a.Ask(clientIP6)
	noSighting(t, a, 100*time.Millisecond)
}

// A default router of IPv6 is most often known by its link-local address.
func TestNDPAsksLinkLocalAddresses(t *testing.T) {
	client := newLAN6(t)
	a := start(t, Config{}, "lan0")
	linkLocal := func(prefix netip.Prefix) bool { return prefix.Addr().IsLinkLocalUnicast() && prefix.Addr().Is6() }
	waitFor(t, a, "the node's link-local address", func() bool { return slices.ContainsFunc(a.Interfaces()[0].Prefixes, linkLocal) })
	eventually(t, "the client's is in use", func() bool { return !client.tentative(t, netip.Addr.IsLinkLocalUnicast) })
	router, _, _ := client.address(t, netip.Addr.IsLinkLocalUnicast)
	a.Watch(router)
	a.Ask(router)
	if s := nextSighting(t, a); s.Addr != router || s.Kind != KindReply || s.MAC != client.mac(t) {
		t.Errorf("heard %+v", s)
	}
}

// plugInto joins the node to the switch by a wire: an interface here with that name, and a port there.
func (h *host) plugInto(t testing.TB, br0 netlink.Link, names ...string) {
	t.Helper()
	for _, name := range names {
		h.plug(t, name)
		port, err := h.netlink.LinkByName("eth0")
		must(t, err)
		must(t, h.netlink.LinkSetDown(port))
		must(t, h.netlink.LinkSetName(port, "port-"+name))
		must(t, h.netlink.LinkSetMaster(port, br0))
		must(t, h.netlink.LinkSetUp(port))
		linkUp(t, name)
	}
}

func TestNDPTwoAnnouncersHearEachOther(t *testing.T) {
	bridge := newHost(t)
	br0 := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, bridge.netlink.LinkAdd(br0))
	must(t, bridge.netlink.LinkSetUp(br0))
	bridge.plugInto(t, br0, "lan0", "lan1", "lan2")
	one := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan2)$")}, "lan0", "lan1")
	two := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan0|lan1)$")}, "lan2")

	two.Watch(vip6)
	one.Announce(vip6, []string{"lan0"})
	if s := nextSighting(t, two); s.Addr != vip6 || s.MAC != macOf(t, "lan0") || s.Kind != KindAnnouncement {
		t.Errorf("heard %+v", s)
	}
	noSighting(t, one, 100*time.Millisecond) // lan1 heard it, too

	// Hand-over: the new holder announces, the old one hears it, on both interfaces.
	two.Announce(vip6, nil)
	for heard := map[string]bool{}; len(heard) < 2; {
		s := nextSighting(t, one)
		if s.Addr != vip6 || s.MAC != macOf(t, "lan2") || s.Kind != KindAnnouncement {
			t.Errorf("heard %+v", s)
		}
		heard[s.Interface] = true
	}
	one.Withdraw(vip6)
	two.Withdraw(vip6)
	drainSightings(one)
	one.Watch(otherVIP6)
	one.Probe(otherVIP6, nil)
	noSighting(t, one, 100*time.Millisecond) // nobody has it
	two.Announce(otherVIP6, nil)
	one.Probe(otherVIP6, []string{"lan1"})
	if s := nextSighting(t, one); s.Addr != otherVIP6 || s.MAC != macOf(t, "lan2") {
		t.Errorf("answered by %+v", s)
	}
}
