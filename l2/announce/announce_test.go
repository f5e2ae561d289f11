// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
	"k8s.io/component-base/metrics/testutil"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

func TestKernelOfAClientResolvesVIP(t *testing.T) {
	client := newLAN(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(vip1, nil)

	mac, ok := client.resolve(t, vip1)
	if want := macOf(t, "lan0"); !ok || mac != want {
		t.Fatalf("the client's neighbour table has %v, %v; want %v", mac, ok, want)
	}
	label := map[string]string{"ip": vip1.String()}
	for _, name := range []string{"metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"} {
		// A packet is counted when it has been sent: the client may know first.
		eventually(t, name, func() bool {
			n, err := testutil.GetCounterValuesFromGatherer(registry, name, label, "ip")
			return err == nil && n[vip1.String()] >= 1
		})
	}
	a.Withdraw(vip1)
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.Metric {
			for _, l := range metric.Label {
				if l.GetName() == "ip" {
					t.Errorf("%s still has a series of the withdrawn VIP", family.GetName())
				}
			}
		}
	}
}

// resolve has the host's kernel find the MAC of addr.
func (h *host) resolve(t testing.TB, addr netip.Addr) (mac MAC, ok bool) {
	t.Helper()
	h.do(t, func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		return err
	})
	eventually(t, "the neighbour is resolved", func() bool {
		mac, ok = h.neighbour(t, addr)
		return ok
	})
	return mac, ok
}

func (h *host) neighbour(t testing.TB, addr netip.Addr) (MAC, bool) {
	t.Helper()
	entries, err := h.netlink.NeighList(0, family(addr))
	must(t, err)
	for _, entry := range entries {
		if ip, _ := netip.AddrFromSlice(entry.IP); ip.Unmap() == addr && len(entry.HardwareAddr) == 6 {
			return MAC(entry.HardwareAddr), true
		}
	}
	return MAC{}, false
}

func TestProbesAreAnswered(t *testing.T) {
	ear := newLAN(t).listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	if mac, ok := ear.ask(netip.IPv4Unspecified(), vip1, 5*time.Second); !ok || mac != macOf(t, "lan0") {
		t.Fatalf("answer to a probe: %v, %v", mac, ok)
	}
}

func TestOnlyAnnouncedAddressesAreAnswered(t *testing.T) {
	ear := newLAN(t).listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	ear.say(arp.OperationRequest, clientIP, vip2)
	if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
		t.Fatal("no answer for the VIP")
	}
	if p := ear.hear(100*time.Millisecond, func(p *arp.Packet) bool { return p.SenderIP == vip2 }); p != nil {
		t.Fatalf("answered for another address: %+v", p)
	}
}

func TestBurstHasBothFormsAndUpdatesNeighbours(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.NeighSet(&netlink.Neigh{
		LinkIndex: eth0.Attrs().Index, IP: vip1.AsSlice(), State: netlink.NUD_STALE,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 99},
	}))
	a := start(t, Config{}, "lan0")
	began := time.Now()
	a.Announce(vip1, nil)
	mac := macOf(t, "lan0")
	for round := range burstRounds {
		for _, operation := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
			p := ear.hear(3*time.Second, announcementOf(vip1))
			if p == nil || p.Operation != operation || MAC(p.SenderHardwareAddr) != mac {
				t.Fatalf("round %d: heard %+v, want %v from %v", round, p, operation, mac)
			}
		}
		at, want := time.Since(began), time.Duration(round)*burstInterval
		if at < want || at > want+500*time.Millisecond {
			t.Errorf("round %d came after %v, want %v", round, at, want)
		}
		if round == 0 {
			eventually(t, "the neighbour entry has the new MAC", func() bool {
				now, _ := client.neighbour(t, vip1)
				return now == mac
			})
		}
	}
	if p := ear.hear(2*burstInterval, announcementOf(vip1)); p != nil {
		t.Errorf("one round too many: %+v", p)
	}
}

func TestWithdrawSilencesBeforeItReturns(t *testing.T) {
	client := newLAN(t)
	asking, ear := client.listen(t), client.listen(t)
	a := start(t, Config{}, "lan0")

	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				asking.say(arp.OperationRequest, clientIP, vip1)
			}
		}
	})
	defer flood.Wait()
	defer close(stop)
	for range 10 {
		a.Announce(vip1, nil)
		ofVIP := func(p *arp.Packet) bool { return p.SenderIP == vip1 }
		if ear.hear(5*time.Second, ofVIP) == nil {
			t.Fatal("no answer")
		}
		a.Withdraw(vip1)
		withdrawn := time.Now()
		for ear.hear(silence, ofVIP) != nil {
			if time.Since(withdrawn) > 2*time.Second {
				t.Fatal("still answering")
			}
		}
	}
	a.Withdraw(vip2) // unknown: nothing happens
}

// silence is how long nothing is heard before it counts: a queue may still hold what was sent before, and on a busy machine its reader is late. Who
// goes on answering a flood of questions is never silent for so long.
const silence = 250 * time.Millisecond

func TestSilentWhileNotAlive(t *testing.T) {
	ear := newLAN(t).listen(t)
	var alive atomic.Bool
	a := start(t, Config{Alive: alive.Load}, "lan0")
	a.Announce(vip1, nil)
	if _, ok := ear.ask(clientIP, vip1, 200*time.Millisecond); ok {
		t.Fatal("answered while not alive")
	}
	if ear.hear(200*time.Millisecond, announcementOf(vip1)) != nil {
		t.Fatal("announced while not alive")
	}
	alive.Store(true)
	if ear.hear(time.Second, announcementOf(vip1)) == nil {
		t.Fatal("the announcement was lost")
	}
	if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
		t.Fatal("no answer when alive again")
	}
}

func TestCarrierReturnIsAnnounced(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		client := newLAN(t)
		ear := client.listen(t)
		a := start(t, Config{AnnounceOnReturn: func() bool { return allowed }}, "lan0")
		isUp := func() bool { i := a.Interfaces(); return len(i) == 1 && i[0].Up }
		client.setCarrier(t, false)
		waitFor(t, a, "lan0 without carrier", func() bool { return !isUp() })
		a.Announce(vip1, nil) // no wire: the whole burst is lost
		client.setCarrier(t, true)
		waitFor(t, a, "lan0 with carrier", isUp)
		if allowed && ear.hear(3*time.Second, announcementOf(vip1)) == nil {
			t.Error("no announcement after the carrier's return")
		}
		if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
			t.Error("no answer after the carrier's return")
		}
		unplug("lan0")
		waitFor(t, a, "lan0 gone", func() bool { return len(a.Interfaces()) == 0 })
	}
}

// A link that flaps is announced on once more for each return, and only for the last one is the burst completed: with many
// VIPs they would pile up.
func TestBurstsOfAFlappingLinkDoNotPileUp(t *testing.T) {
	client := newLAN(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	awaitBursts(t, a)
	ear := client.listen(t)
	const flaps = 6
	for range flaps {
		client.setCarrier(t, false)
		waitFor(t, a, "no carrier", func() bool { return !a.Interfaces()[0].Up })
		client.setCarrier(t, true)
		waitFor(t, a, "carrier", func() bool { return a.Interfaces()[0].Up })
	}
	heard := 0
	for ear.hear(2*burstInterval, func(p *arp.Packet) bool {
		return announcementOf(vip1)(p) && p.Operation == arp.OperationRequest
	}) != nil {
		heard++
	}
	// The very first may be lost; and between two returns there may be time for two rounds, not for five.
	if most := 2*flaps + burstRounds; heard < burstRounds-1 || heard > most {
		t.Errorf("announced %d times, want at most %d", heard, most)
	}
}

func TestMACChangeIsFollowed(t *testing.T) {
	ear := newLAN(t).listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	link, err := netlink.LinkByName("lan0")
	must(t, err)
	want := MAC{2, 0, 0, 0, 0, 7}
	must(t, netlink.LinkSetHardwareAddr(link, want[:]))
	waitFor(t, a, "the new MAC", func() bool { return a.Interfaces()[0].MAC == want })
	if ear.hear(time.Second, func(p *arp.Packet) bool {
		return p.SenderIP == vip1 && p.TargetIP == vip1 && MAC(p.SenderHardwareAddr) == want
	}) == nil {
		t.Error("the new MAC was not announced")
	}
	if mac, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok || mac != want {
		t.Errorf("answered with %v, %v", mac, ok)
	}
}

func TestInterfaceThatAppearsLaterServes(t *testing.T) {
	lantest.Need(t)
	a := start(t, Config{})
	a.Announce(vip1, []string{"lan0"})
	ear := newLAN(t).listen(t)
	if ear.hear(5*time.Second, announcementOf(vip1)) == nil {
		t.Fatal("not announced on the new interface")
	}
	if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
		t.Fatal("not answered on the new interface")
	}
	if got := a.Interfaces()[0].Prefixes; len(got) == 0 || got[0] != netip.PrefixFrom(nodeIP, 24) {
		t.Errorf("prefixes: %v", got)
	}
}

func TestOnlyNamedInterfacesServe(t *testing.T) {
	client := newLAN(t)
	other := newHost(t)
	other.plug(t, "lan1")
	linkUp(t, "lan1")
	a := start(t, Config{}, "lan0", "lan1")
	a.Announce(vip1, []string{"lan1"})
	if _, ok := other.listen(t).ask(clientIP, vip1, 5*time.Second); !ok {
		t.Error("not answered on the interface named")
	}
	ear := client.listen(t)
	if _, ok := ear.ask(clientIP, vip1, 100*time.Millisecond); ok {
		t.Error("answered on another interface")
	}
	a.Announce(vip1, nil)
	if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
		t.Error("not answered on all interfaces")
	}
}

func TestExcludedAndEnslavedInterfacesAreLeftOut(t *testing.T) {
	newLAN(t)
	names := func(a *Announcer) string {
		all := ""
		for _, i := range a.Interfaces() {
			all += i.Name + " "
		}
		return all
	}
	other := newHost(t)
	other.plug(t, "cali1234")
	linkUp(t, "cali1234")
	a := start(t, Config{}, "lan0")
	if got := names(a); got != "lan0 " {
		t.Fatalf("interfaces: %s", got)
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, netlink.LinkAdd(bridge))
	defer unplug("br0")
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	must(t, netlink.LinkSetMaster(lan0, bridge))
	must(t, netlink.LinkSetUp(bridge))
	waitFor(t, a, "br0 instead of lan0", func() bool { return names(a) == "br0 " && a.Interfaces()[0].Up })
	must(t, netlink.LinkSetNoMaster(lan0))
	// A bridge without ports has no MAC, unless it is given one.
	waitFor(t, a, "lan0 instead of br0", func() bool { return names(a) == "lan0 " })

	only := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan0)$")})
	waitFor(t, only, "all but lan0", func() bool { return names(only) == "cali1234 " })
}

func TestSightings(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	a.Watch(vip2)
	clientMAC := MAC(ear.mac)

	expect := func(what string, addr netip.Addr, kind Kind) {
		t.Helper()
		s := nextSighting(t, a)
		if s.Addr != addr || s.MAC != clientMAC || s.Kind != kind || s.Interface != "lan0" || time.Since(s.At) > time.Minute {
			t.Errorf("%s: %+v", what, s)
		}
	}
	for _, narrowed := range []bool{false, true} {
		if narrowed {
			waitNarrow(t, a)
		}
		ear.say(arp.OperationRequest, vip1, vip1)
		expect("a request that announces", vip1, KindAnnouncement)
		ear.say(arp.OperationReply, vip2, vip2)
		expect("a reply that announces", vip2, KindAnnouncement)
		ear.say(arp.OperationReply, vip2, clientIP)
		expect("a reply", vip2, KindReply)
		ear.say(arp.OperationRequest, clientIP, clientIP) // nobody watches the client
		ear.say(arp.OperationRequest, vip2, nodeIP)       // a question claims nothing
		noSighting(t, a, 100*time.Millisecond)
	}

	// The client's kernel answers probes and questions for its own address.
	a.Watch(clientIP)
	a.Probe(clientIP, nil)
	expect("answer to a probe", clientIP, KindReply)
	a.Probe(clientIP, []string{"no-such"})
	noSighting(t, a, 100*time.Millisecond)
	ear.hear(10*time.Millisecond, func(*arp.Packet) bool { return false }) // empties it
	a.Ask(clientIP)
	expect("answer to a question", clientIP, KindReply)
	if p := ear.hear(time.Second, func(p *arp.Packet) bool { return p.TargetIP == clientIP }); p == nil || p.SenderIP != nodeIP {
		t.Errorf("asked with %+v", p)
	}
	a.Unwatch(clientIP)
	waitNarrow(t, a)
	a.Ask(clientIP)
	noSighting(t, a, 100*time.Millisecond)
}

// waitNarrow waits until the kernel filters are exact.
func waitNarrow(t testing.TB, a *Announcer) {
	t.Helper()
	// Unwatch does not widen; give its narrowing the time it takes.
	<-time.After(2 * narrowDelay)
	eventually(t, "the filters are exact", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, l := range *a.links.Load() {
			for _, p := range l.ports {
				if p.wide {
					return false
				}
			}
		}
		return true
	})
}

func TestTwoAnnouncersHearEachOtherAndNobodyHearsItself(t *testing.T) {
	// A switch with three ports: lan0 and lan1 are one node's, lan2 is another's.
	bridge := newHost(t)
	br0 := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, bridge.netlink.LinkAdd(br0))
	must(t, bridge.netlink.LinkSetUp(br0))
	for _, name := range []string{"lan0", "lan1", "lan2"} {
		bridge.plug(t, name)
		port, err := bridge.netlink.LinkByName("eth0")
		must(t, err)
		must(t, bridge.netlink.LinkSetDown(port))
		must(t, bridge.netlink.LinkSetName(port, "port-"+name))
		must(t, bridge.netlink.LinkSetMaster(port, br0))
		must(t, bridge.netlink.LinkSetUp(port))
		linkUp(t, name)
	}
	one := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan2)$")}, "lan0", "lan1")
	two := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan0|lan1)$")}, "lan2")

	two.Watch(vip1)
	one.Announce(vip1, []string{"lan0"})
	if s := nextSighting(t, two); s.Addr != vip1 || s.MAC != macOf(t, "lan0") || s.Kind != KindAnnouncement {
		t.Errorf("heard %+v", s)
	}
	noSighting(t, one, 100*time.Millisecond) // lan1 heard it, too

	// Hand-over: the new holder announces, the old one hears it.
	two.Announce(vip1, nil)
	if s := nextSighting(t, one); s.Addr != vip1 || s.MAC != macOf(t, "lan2") || s.Kind != KindAnnouncement {
		t.Errorf("heard %+v", s)
	}
	one.Withdraw(vip1)
	// Whoever doubts asks.
	one.Watch(vip1)
	drainSightings(one)
	one.Probe(vip1, []string{"lan1"})
	for {
		if s := nextSighting(t, one); s.Kind == KindReply {
			if s.MAC != macOf(t, "lan2") || s.Interface != "lan1" {
				t.Errorf("answered by %+v", s)
			}
			break
		}
	}
}

func drainSightings(a *Announcer) {
	for {
		select {
		case <-a.Sightings():
		default:
			return
		}
	}
}
