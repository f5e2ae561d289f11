// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"
	"regexp"
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

	if mac, want := client.resolve(t, vip1), macOf(t, "lan0"); mac != want {
		t.Fatalf("the client's neighbour table has %v, want %v", mac, want)
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

// resolve has the host's kernel find the MAC of addr. A kernel asks three times, a second apart, whenever there is something to send.
func (h *host) resolve(t testing.TB, addr netip.Addr) (mac MAC) {
	t.Helper()
	var conn net.Conn
	h.do(t, func() (err error) {
		conn, err = net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
		return err
	})
	defer conn.Close()
	eventually(t, "the neighbour is resolved", func() (ok bool) {
		if mac, ok = h.neighbour(t, addr); !ok {
			_, _ = conn.Write([]byte("hello")) // fails when the kernel has given up before
		}
		return ok
	})
	return mac
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
	if mac, ok := ear.ask(netip.IPv4Unspecified(), vip1); !ok || mac != macOf(t, "lan0") {
		t.Fatalf("answer to a probe: %v, %v", mac, ok)
	}
}

func TestOnlyAnnouncedAddressesAreAnswered(t *testing.T) {
	ear := newLAN(t).listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	// One goroutine answers, in the order of the questions.
	ear.say(arp.OperationRequest, clientIP, vip2)
	ear.say(arp.OperationRequest, clientIP, vip1)
	if p := ear.hear(soon, answers(clientIP, vip1, vip2)); p == nil || p.SenderIP != vip1 {
		t.Fatalf("the first answer: %+v, want one for %v", p, vip1)
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
			p := ear.hear(soon, announcementOf(vip1))
			if p == nil || p.Operation != operation || MAC(p.SenderHardwareAddr) != mac {
				t.Fatalf("round %d: heard %+v, want %v from %v", round, p, operation, mac)
			}
		}
		if at, want := time.Since(began), time.Duration(round)*burstInterval; at < want { // late is who hears
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

// Questions come all the time. Of those that are read after Withdraw has returned, none is answered.
func TestWithdrawSilencesBeforeItReturns(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	question, err := arpProtocol{}.ask(ear.mac, clientIP, vip1)
	must(t, err)
	defer client.flood(t, questionsPerSecond, question)()
	for range 10 {
		ear.empty()
		a.Announce(vip1, nil)
		if ear.hear(soon, answers(clientIP, vip1)) == nil {
			t.Fatal("no answer")
		}
		a.Withdraw(vip1)
		said := leaving(t, "lan0").arp()
		eventuallyDropped(t, registry, protocolARP, NotAnnounced, 100, func() {})
		if p := said.hear(0, func(p *arp.Packet) bool { return p.SenderIP == vip1 }); p != nil {
			t.Fatalf("said after it was withdrawn: %+v", p)
		}
		said.Close()
	}
	a.Withdraw(vip2) // unknown: nothing happens
}

// What is half done when Withdraw is called is done when it returns.
func TestWithdrawWaitsForWhatIsHalfDone(t *testing.T) {
	type hold struct{ entered, end chan struct{} }
	for _, kind := range []string{"announcement", "reply"} {
		t.Run(kind, func(t *testing.T) {
			ear := newLAN(t).listen(t)
			var held atomic.Pointer[hold] // who is about to say something
			a := start(t, Config{Alive: func() bool {
				if h := held.Load(); h != nil {
					h.entered <- struct{}{}
					<-h.end
				}
				return true
			}}, "lan0")
			if kind == "reply" {
				a.Announce(vip1, nil)
				if ear.hear(soon, announcementOf(vip1)) == nil {
					t.Fatal("no announcement")
				}
			}
			said := leaving(t, "lan0").arp()
			h := &hold{make(chan struct{}, 2), make(chan struct{})}
			held.Store(h)
			if kind == "reply" {
				ear.say(arp.OperationRequest, clientIP, vip1)
			} else {
				a.Announce(vip1, nil)
			}
			<-h.entered
			withdrawn := make(chan struct{})
			go func() {
				a.Withdraw(vip1)
				close(withdrawn)
			}()
			select {
			case <-withdrawn:
				t.Error("withdrawn before it was done")
			case <-time.After(100 * time.Millisecond):
			}
			held.Store(nil)
			close(h.end)
			<-withdrawn
			if said.hear(0, func(p *arp.Packet) bool { return p.SenderIP == vip1 }) == nil {
				t.Error("it was not done when Withdraw returned")
			}
		})
	}
}

// questionsPerSecond are so many that one is always being answered.
const questionsPerSecond = 20000

func TestSilentWhileNotAlive(t *testing.T) {
	ear := newLAN(t).listen(t)
	m, registry := newTestMetrics(t)
	var alive atomic.Bool
	var asked atomic.Int32
	a := start(t, Config{Metrics: m, Alive: func() bool { asked.Add(1); return alive.Load() }}, "lan0")
	said := leaving(t, "lan0").arp()
	a.Announce(vip1, nil)
	eventuallyDropped(t, registry, protocolARP, Stalled, 1, func() { ear.say(arp.OperationRequest, clientIP, vip1) })
	eventually(t, "the announcement is tried again", func() bool { return asked.Load() > 3 })
	if p := said.hear(0, func(p *arp.Packet) bool { return p.SenderIP == vip1 }); p != nil {
		t.Fatalf("said while not alive: %+v", p)
	}
	alive.Store(true)
	if ear.hear(soon, announcementOf(vip1)) == nil {
		t.Fatal("the announcement was lost")
	}
	if _, ok := ear.ask(clientIP, vip1); !ok {
		t.Fatal("no answer when alive again")
	}
}

// What is under way when the carrier returns is what that has set off: the burst before is over.
func TestCarrierReturnIsAnnounced(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	var allowed atomic.Bool
	a := start(t, Config{AnnounceOnReturn: allowed.Load}, "lan0")
	isUp := func() bool { i := a.Interfaces(); return len(i) == 1 && i[0].Up }
	a.Announce(vip1, nil)
	awaitBursts(t, a)
	for _, may := range []bool{false, true} {
		allowed.Store(may)
		client.setCarrier(t, false)
		waitFor(t, a, "lan0 without carrier", func() bool { return !isUp() })
		ear.empty()
		client.setCarrier(t, true)
		waitFor(t, a, "lan0 with carrier", isUp)
		if may && ear.hear(soon, announcementOf(vip1)) == nil {
			t.Error("no announcement after the carrier's return")
		}
		if !may && burstsToSend(a) > 0 {
			t.Error("announced after the carrier's return, though that may not be")
		}
		if _, ok := ear.ask(clientIP, vip1); !ok {
			t.Error("no answer after the carrier's return")
		}
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
	began := time.Now()
	for range flaps {
		client.setCarrier(t, false)
		waitFor(t, a, "no carrier", func() bool { return !a.Interfaces()[0].Up })
		client.setCarrier(t, true)
		waitFor(t, a, "carrier", func() bool { return a.Interfaces()[0].Up })
	}
	burstsToSend(a) // waits until the last return has been dealt with
	took := time.Since(began)
	heard := 0
	awaitBursts(t, a)
	for ear.hear(askAgain, func(p *arp.Packet) bool {
		return announcementOf(vip1)(p) && p.Operation == arp.OperationRequest
	}) != nil {
		heard++
	}
	// The very first may be lost. From each return on there may be as many rounds as there is time for until the next.
	if most := flaps - 1 + int(took/burstInterval) + burstRounds; heard < burstRounds-1 || heard > most {
		t.Errorf("announced %d times within %v and a burst, want at most %d", heard, took, most)
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
	if ear.hear(soon, func(p *arp.Packet) bool {
		return p.SenderIP == vip1 && p.TargetIP == vip1 && MAC(p.SenderHardwareAddr) == want
	}) == nil {
		t.Error("the new MAC was not announced")
	}
	if mac, ok := ear.ask(clientIP, vip1); !ok || mac != want {
		t.Errorf("answered with %v, %v", mac, ok)
	}
}

func TestInterfaceThatAppearsLaterServes(t *testing.T) {
	lantest.Need(t)
	a := start(t, Config{})
	a.Announce(vip1, []string{"lan0"})
	ear := newLAN(t).listen(t)
	if ear.hear(soon, announcementOf(vip1)) == nil {
		t.Fatal("not announced on the new interface")
	}
	if _, ok := ear.ask(clientIP, vip1); !ok {
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
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0", "lan1")
	a.Announce(vip1, []string{"lan1"})
	if _, ok := other.listen(t).ask(clientIP, vip1); !ok {
		t.Error("not answered on the interface named")
	}
	ear := client.listen(t)
	eventuallyDropped(t, registry, protocolARP, OtherInterface, 1, func() { ear.say(arp.OperationRequest, clientIP, vip1) })
	if ear.hear(0, answers(clientIP, vip1)) != nil {
		t.Error("answered on another interface")
	}
	a.Announce(vip1, nil)
	if _, ok := ear.ask(clientIP, vip1); !ok {
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
	clientMAC := ear.mac

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
	a.Ask(clientIP)
	expect("answer to a question", clientIP, KindReply)
	if p := ear.hear(soon, func(p *arp.Packet) bool { return p.TargetIP == clientIP && !p.SenderIP.IsUnspecified() }); p == nil || p.SenderIP != nodeIP {
		t.Errorf("asked with %+v", p)
	}
	a.Unwatch(clientIP)
	a.narrowFilters() // as Run does in a moment
	a.Ask(clientIP)
	noSighting(t, a, 100*time.Millisecond)
}

// waitNarrow waits until the kernel filters let nothing through that they need not, after an address has come to be watched.
func waitNarrow(t testing.TB, a *Announcer) {
	t.Helper()
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
	bridge.plugInto(t, br0, "lan0", "lan1", "lan2")
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
	eventually(t, "an answer", func() bool {
		one.Probe(vip1, []string{"lan1"})
		for {
			select {
			case s := <-one.Sightings():
				if s.Kind != KindReply {
					continue
				}
				if s.MAC != macOf(t, "lan2") || s.Interface != "lan1" {
					t.Errorf("answered by %+v", s)
				}
				return true
			case <-time.After(askAgain):
				return false
			}
		}
	})
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
