// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
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

// ear6 hears and says Neighbor Discovery as the host.
type ear6 struct {
	*packet.Conn
	t   testing.TB
	mac MAC
}

// neighbourPacket is a solicitation or an advertisement that was heard.
type neighbourPacket struct {
	*ndp.NeighborSolicitation
	*ndp.NeighborAdvertisement
	from, to       netip.Addr
	fromMAC, toMAC MAC
}

func (h *host) listen6(t testing.TB) *ear6 {
	t.Helper()
	e := &ear6{t: t}
	h.do(t, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		e.mac = MAC(ifi.HardwareAddr)
		e.Conn, err = packet.Listen(ifi, packet.Raw, etherTypeIPv6, nil)
		return err
	})
	t.Cleanup(func() { e.Close() })
	return e
}

// hear returns the next packet that matches, or nil when there is none in the time given.
func (e *ear6) hear(within time.Duration, matches func(neighbourPacket) bool) *neighbourPacket {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(within)))
	buffer := make([]byte, 2048)
	for {
		n, _, err := e.ReadFrom(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN):
			continue
		}
		must(e.t, err)
		frame := buffer[:n]
		if n < ndpOptions || frame[ipv6NextHeader] != protocolICMPv6 || (frame[ndpType] != 135 && frame[ndpType] != 136) {
			continue
		}
		var p neighbourPacket
		ether, from, to, message := parseNDP(e.t, frame)
		p.from, p.to, p.fromMAC, p.toMAC = from, to, MAC(ether.Source), MAC(ether.Destination)
		switch message := message.(type) {
		case *ndp.NeighborSolicitation:
			p.NeighborSolicitation = message
		case *ndp.NeighborAdvertisement:
			p.NeighborAdvertisement = message
		}
		if matches(p) {
			return &p
		}
	}
}

func advertises(addr netip.Addr) func(neighbourPacket) bool {
	return func(p neighbourPacket) bool {
		return p.NeighborAdvertisement != nil && p.NeighborAdvertisement.TargetAddress == addr
	}
}

func asksFor(addr netip.Addr) func(neighbourPacket) bool {
	return func(p neighbourPacket) bool {
		return p.NeighborSolicitation != nil && p.NeighborSolicitation.TargetAddress == addr
	}
}

// mac is the one in an advertisement.
func (p *neighbourPacket) mac() MAC {
	for _, option := range p.NeighborAdvertisement.Options {
		if address, ok := option.(*ndp.LinkLayerAddress); ok && address.Direction == ndp.Target {
			return MAC(address.Addr)
		}
	}
	return MAC{}
}

// say sends a frame from the host.
func (e *ear6) say(frame []byte) {
	e.t.Helper()
	to := &packet.Addr{HardwareAddr: frame[:6]}
	_, err := e.WriteTo(frame, to)
	if errors.Is(err, syscall.ENETDOWN) { // was down
		_, err = e.WriteTo(frame, to)
	}
	must(e.t, err)
}

// announce says that addr is the host's.
func (e *ear6) announce(addr netip.Addr) {
	e.t.Helper()
	frames, err := ndpProtocol{}.announcements(e.mac, addr)
	must(e.t, err)
	e.say(frames[0])
}

// ask asks for an address, and returns the answer or nil.
func (e *ear6) ask(from, target netip.Addr, within time.Duration) *neighbourPacket {
	e.t.Helper()
	frame, err := ndpProtocol{}.ask(e.mac, from, target)
	if from.IsUnspecified() {
		frame, err = ndpProtocol{}.probe(e.mac, target)
	}
	must(e.t, err)
	for ; ; within -= askAgain {
		e.say(frame)
		p := e.hear(min(within, askAgain), func(p neighbourPacket) bool {
			return advertises(target)(p) && p.NeighborAdvertisement.Solicited != from.IsUnspecified()
		})
		if p != nil || within <= askAgain {
			return p
		}
	}
}

func TestNDPKernelOfAClientResolvesVIP(t *testing.T) {
	client := newLAN6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(vip6, nil)
	mac, ok := client.resolve(t, vip6)
	if want := macOf(t, "lan0"); !ok || mac != want {
		t.Fatalf("the client's neighbour table has %v, %v; want %v", mac, ok, want)
	}
	for _, name := range []string{"metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"} {
		eventually(t, name, func() bool {
			n, err := testutil.GetCounterValuesFromGatherer(registry, name, map[string]string{"ip": vip6.String()}, "ip")
			return err == nil && n[vip6.String()] >= 1
		})
	}
	ear := client.listen6(t)
	ear.ask(clientIP6, otherVIP6, 10*time.Millisecond)
	frame := solicitation(t, clientIP6, vip6)
	frame[ipv6HopLimit] = 64
	ear.say(frame)
	for _, reason := range []DropReason{NotAnnounced, HopLimit} {
		eventually(t, reason.String(), func() bool {
			drops, err := testutil.GetCounterValuesFromGatherer(registry, "cloud_provider_l2_dropped_packets_total",
				map[string]string{"protocol": "ndp"}, "reason")
			return err == nil && drops[reason.String()] >= 1
		})
	}
}

// Flags and addresses on the wire, with the node's kernel beside it.
func TestNDPAnswers(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip6, nil)
	mac := macOf(t, "lan0")
	p := ear.ask(clientIP6, vip6, 5*time.Second)
	if p == nil || p.mac() != mac || p.from != vip6 || p.to != clientIP6 || p.fromMAC != mac || p.toMAC != ear.mac || !p.Override || p.Router {
		t.Errorf("answer: %+v", p)
	}
	p = ear.ask(netip.IPv6Unspecified(), vip6, 5*time.Second)
	if p == nil || p.mac() != mac || p.to != ipv6AllNodes || p.toMAC != groupMAC(ipv6AllNodes) || !p.Override || p.Router {
		t.Errorf("answer to a probe: %+v", p)
	}
	if p := ear.ask(clientIP6, otherVIP6, 100*time.Millisecond); p != nil {
		t.Errorf("answered for another address: %+v", p)
	}
	// Without a MAC in it, the answer goes to where the question came from.
	ask, err := ndpProtocol{}.ask(ear.mac, clientIP6, vip6)
	must(t, err)
	ear.say(withOptions(put(ask, etherSource, ear.mac[:]...)))
	if p := ear.hear(5*time.Second, func(p neighbourPacket) bool { return advertises(vip6)(p) && p.Solicited }); p == nil || p.toMAC != ear.mac {
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
				if p := questions.hear(5*time.Second, asksFor(vip6)); p == nil || p.to != vip6 || p.toMAC != mac {
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
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(vip6, 64)}))
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(otherVIP6, 64)}))
	eventually(t, "dadfailed", func() bool { return client.addressFlags(t, is(vip6))&unix.IFA_F_DADFAILED != 0 })
	eventually(t, "another address is the client's", func() bool { return !client.tentative(t, is(otherVIP6)) })
	if client.addressFlags(t, is(otherVIP6))&unix.IFA_F_DADFAILED != 0 {
		t.Error("the client did not get an address that nobody has")
	}
}

func is(addr netip.Addr) func(netip.Addr) bool {
	return func(each netip.Addr) bool { return each == addr }
}

func (h *host) tentative(t testing.TB, which func(netip.Addr) bool) bool {
	t.Helper()
	return h.addressFlags(t, which)&unix.IFA_F_TENTATIVE != 0
}

// addressFlags are those of an address of eth0.
func (h *host) addressFlags(t testing.TB, which func(netip.Addr) bool) int {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	addresses, err := h.netlink.AddrList(eth0, netlink.FAMILY_V6)
	must(t, err)
	for _, each := range addresses {
		if ip, _ := netip.AddrFromSlice(each.IP); which(ip) {
			return each.Flags
		}
	}
	return unix.IFA_F_TENTATIVE // it comes yet
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
		p := ear.hear(3*time.Second, advertises(vip6))
		if p == nil || p.mac() != mac || p.from != vip6 || p.to != ipv6AllNodes || p.Solicited || !p.Override || p.Router {
			t.Fatalf("round %d: heard %+v", round, p)
		}
		at, want := time.Since(began), time.Duration(round)*burstInterval
		if at < want || at > want+500*time.Millisecond {
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
	asking, ear := client.listen6(t), client.listen6(t)
	a := start(t, Config{}, "lan0")
	question, err := ndpProtocol{}.ask(asking.mac, clientIP6, vip6)
	must(t, err)

	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				asking.say(question)
			}
		}
	})
	defer flood.Wait()
	defer close(stop)
	for range 10 {
		a.Announce(vip6, nil)
		expectJoined(t, "lan0", vip6, true)
		if ear.hear(5*time.Second, advertises(vip6)) == nil {
			t.Fatal("no answer")
		}
		a.Withdraw(vip6)
		withdrawn := time.Now()
		expectJoined(t, "lan0", vip6, false)
		for ear.hear(silence, advertises(vip6)) != nil {
			if time.Since(withdrawn) > 2*time.Second {
				t.Fatal("still answering")
			}
		}
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
			for ear.hear(10*time.Millisecond, advertises(vip6)) != nil {
			}
			set(true)
			began := time.Now()
			waitFor(t, a, "lan0 up", isUp)
			if ear.hear(3*time.Second, advertises(vip6)) == nil {
				t.Errorf("%s: no announcement", name)
			}
			t.Logf("%s: announced %v after it was up", name, time.Since(began).Round(time.Millisecond))
			if ear.ask(clientIP6, vip6, 5*time.Second) == nil {
				t.Errorf("%s: no answer", name)
			}
			// The memberships are renewed behind the announcement, each ended first.
			eventually(t, "the group is joined again", func() bool {
				asIPv6, asEthernet := joined(t, "lan0", vip6)
				return asIPv6 && asEthernet
			})
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
	if ear.hear(time.Second, func(p neighbourPacket) bool { return advertises(vip6)(p) && p.mac() == want && !p.Solicited }) == nil {
		t.Error("the new MAC was not announced")
	}
	if p := ear.ask(clientIP6, vip6, 5*time.Second); p == nil || p.mac() != want || p.fromMAC != want {
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
		if ear.hear(5*time.Second, advertises(vip6)) == nil {
			t.Fatal("not announced on the new interface")
		}
		if ear.ask(clientIP6, vip6, 5*time.Second) == nil {
			t.Fatal("not answered on the new interface")
		}
		eventually(t, "the group is joined", func() bool { asIPv6, asEthernet := joined(t, "lan0", vip6); return asIPv6 && asEthernet })
		unplug("lan0")
		waitFor(t, a, "lan0 gone", func() bool { return len(a.Interfaces()) == 0 })
	}
}

func TestNDPSilentWhileNotAlive(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	a := start(t, Config{Alive: func() bool { return false }}, "lan0")
	a.Announce(vip6, nil)
	if ear.ask(clientIP6, vip6, 200*time.Millisecond) != nil || ear.ask(netip.IPv6Unspecified(), vip6, 200*time.Millisecond) != nil {
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
		ear.ask(clientIP6, otherVIP6, 0)                                  // a question claims nothing
		ear.ask(netip.IPv6Unspecified(), otherVIP6, 0)                    // nor does that of one who would like to have it
		ear.say(patched(put(reply, ipv6HopLimit, 64), ndpFlags, 0, 0, 0)) // from far away
		noSighting(t, a, 100*time.Millisecond)
	}

	// The client's kernel answers probes and questions for its own address.
	a.Watch(clientIP6)
	a.Probe(clientIP6, nil)
	expect("answer to a probe", clientIP6, KindAnnouncement)
	a.Probe(clientIP6, []string{"no-such"})
	noSighting(t, a, 100*time.Millisecond)
	for ear.hear(10*time.Millisecond, func(neighbourPacket) bool { return true }) != nil {
	}
	a.Ask(clientIP6)
	expect("answer to a question", clientIP6, KindReply)
	if p := ear.hear(time.Second, asksFor(clientIP6)); p == nil || p.from != nodeIP6 {
		t.Errorf("asked with %+v", p)
	}
	a.Unwatch(clientIP6)
	waitNarrow(t, a)
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
	router := client.address(t, netip.Addr.IsLinkLocalUnicast)
	a.Watch(router)
	a.Ask(router)
	if s := nextSighting(t, a); s.Addr != router || s.Kind != KindReply || s.MAC != client.mac(t) {
		t.Errorf("heard %+v", s)
	}
}

// address is the host's own on eth0.
func (h *host) address(t testing.TB, which func(netip.Addr) bool) netip.Addr {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	addresses, err := h.netlink.AddrList(eth0, netlink.FAMILY_V6)
	must(t, err)
	for _, address := range addresses {
		if addr, ok := netip.AddrFromSlice(address.IP); ok && which(addr) {
			return addr
		}
	}
	t.Fatal("no such address")
	return netip.Addr{}
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

	// Hand-over: the new holder announces, the old one hears it.
	two.Announce(vip6, nil)
	for range []string{"lan0", "lan1"} {
		if s := nextSighting(t, one); s.Addr != vip6 || s.MAC != macOf(t, "lan2") || s.Kind != KindAnnouncement {
			t.Errorf("heard %+v", s)
		}
	}
	one.Withdraw(vip6)
	two.Withdraw(vip6)
	one.Watch(vip6)
	one.Probe(vip6, nil)
	noSighting(t, one, 100*time.Millisecond) // nobody has it
	two.Announce(vip6, nil)
	one.Probe(vip6, []string{"lan1"})
	if s := nextSighting(t, one); s.MAC != macOf(t, "lan2") {
		t.Errorf("answered by %+v", s)
	}
}

// packetsOf is an ear on one of the node's own interfaces.
func packetsOf(t testing.TB, name string) *ear6 {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	must(t, err)
	conn, err := packet.Listen(ifi, packet.Raw, etherTypeIPv6, nil)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &ear6{Conn: conn, t: t, mac: MAC(ifi.HardwareAddr)}
}
