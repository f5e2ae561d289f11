// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RFC 5227 section 2.1.1, RFC 4862 section 5.4.3: who probes at the same time is a rival, which nobody hears of by answers, for
// neither has the address yet. At any other time a probe is of no interest: it is answered or it is not.
func TestProbesOfOthersAreSightedWhileProbing(t *testing.T) {
	client := newLAN6(t)
	ear, ear6 := client.listen(t), client.listen6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	for name, family := range map[string]struct {
		protocol string
		addr     netip.Addr
		rival    func()
	}{
		"ARP": {protocolARP, vip2, func() { ear.say(arp.OperationRequest, netip.IPv4Unspecified(), vip2) }},
		"NDP": {protocolNDP, otherVIP6, func() {
			frame, err := ndpProtocol{}.probe(ear6.mac, otherVIP6)
			must(t, err)
			ear6.say(frame)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			expectDropped := func(what string) {
				t.Helper()
				t.Log(what)
				eventuallyDropped(t, registry, family.protocol, NotProbed, 1, family.rival)
			}
			a.Watch(family.addr)
			expectDropped("nobody probes here")
			a.Probe(family.addr, nil)
			goOnProbing(a, family.addr)
			family.rival()
			if s := nextSighting(t, a); s.Kind != KindProbe || s.Addr != family.addr || s.MAC != ear.mac || s.Interface != "lan0" {
				t.Errorf("heard %+v", s)
			}
			a.Announce(family.addr, nil)
			expectDropped("it is answered")
			a.Probe(family.addr, nil)
			expectDropped("who announces does not begin to probe for itself")
			noSighting(t, a, 0)
		})
	}
}

// goOnProbing has the time in which others' probes for an address are looked for not end, however busy the machine is.
func goOnProbing(a *Announcer, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	until := time.Now().Add(time.Hour)
	a.heard.get(addr).probed.Store(&until)
	group := a.probed[addr]
	group.until = until
	a.probed[addr] = group
}

// A host that takes the address by its kernel's duplicate address detection is such a rival. To hear it through network
// cards that filter, its group is joined; and left in the end.
func TestNDPGroupIsJoinedWhileProbing(t *testing.T) {
	client := newLAN6(t)
	a := start(t, Config{}, "lan0")
	a.Watch(otherVIP6)
	a.Probe(otherVIP6, []string{"lan1"})
	expectJoined(t, "lan0", otherVIP6, false)
	for range 3 {
		a.Probe(otherVIP6, []string{"lan0"})
	}
	goOnProbing(a, otherVIP6)
	a.leaveProbed() // not yet
	expectJoined(t, "lan0", otherVIP6, true)
	client.do(t, func() error { // else its kernel puts its probe off, up to a second
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/router_solicitation_delay", []byte("0"), 0)
	})
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(otherVIP6, 64)}))
	if s := nextSighting(t, a); s.Kind != KindProbe || s.Addr != otherVIP6 || s.MAC != client.mac(t) {
		t.Errorf("heard %+v", s)
	}
	a.Announce(otherVIP6, nil)
	endProbes(a)
	expectJoined(t, "lan0", otherVIP6, true) // announced meanwhile
	a.Withdraw(otherVIP6)
	expectJoined(t, "lan0", otherVIP6, false)
	a.Probe(otherVIP6, nil)
	endProbes(a)
	expectJoined(t, "lan0", otherVIP6, false)
	a.Probe(otherVIP6, nil)
	unplug("lan0") // its groups end with it
	waitFor(t, a, "lan0 gone", func() bool { return len(a.Interfaces()) == 0 })
	endProbes(a)
}

// endProbes has all probes be over, and what Run does about it now and then.
func endProbes(a *Announcer) {
	a.mu.Lock()
	for addr, group := range a.probed {
		group.until = time.Time{}
		a.probed[addr] = group
	}
	a.mu.Unlock()
	a.leaveProbed()
}

func (h *host) mac(t testing.TB) MAC {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	return MAC(eth0.Attrs().HardwareAddr)
}

// What a probe asks on the wire: the client's kernel answers it, and enters nothing into its own table.
func TestProbesTouchNoNeighbourTable(t *testing.T) {
	client := newLAN6(t)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	a := start(t, Config{}, "lan0")
	for _, addr := range []netip.Addr{clientIP, clientIP6} {
		a.Watch(addr)
		a.Probe(addr, nil)
		if s := nextSighting(t, a); s.Addr != addr || s.MAC != client.mac(t) || s.Kind == KindProbe {
			t.Errorf("%v: answered by %+v", addr, s)
		}
		entries, err := client.netlink.NeighList(eth0.Attrs().Index, family(addr))
		must(t, err)
		for _, entry := range entries {
			if MAC(entry.HardwareAddr) == macOf(t, "lan0") && entry.State&(unix.NUD_NOARP|unix.NUD_PERMANENT) == 0 {
				t.Errorf("%v: the client learned %v", addr, entry)
			}
		}
	}
}

// GratuitousInterval: what has not changed is announced again all the same.
func TestVIPsAtRestAreAnnouncedAgain(t *testing.T) {
	client := newLAN6(t)
	ear, ear6 := client.listen(t), client.listen6(t)
	var forbidden atomic.Bool
	var refused atomic.Int32
	a := start(t, Config{GratuitousInterval: time.Second, AnnounceOnReturn: func() bool {
		if !forbidden.Load() {
			return true
		}
		refused.Add(1)
		return false
	}}, "lan0")
	a.Announce(vip1, nil)
	a.Announce(vip6, nil)
	for round := range burstRounds + 3 { // more than there are without
		for _, operation := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
			if p := ear.hear(soon, announcementOf(vip1)); p == nil || p.Operation != operation {
				t.Errorf("round %d: heard %+v, want %v", round, p, operation)
			}
		}
		if ear6.hear(soon, advertises(vip6)) == nil {
			t.Errorf("round %d: no advertisement", round)
		}
	}
	forbidden.Store(true) // a speaker whose session is not fresh says nothing unasked
	eventually(t, "it is asked whether to announce", func() bool { return refused.Load() > 0 })
	awaitBursts(t, a) // what was under way still comes
	said := leaving(t, "lan0")
	if p := said.arp().hear(2500*time.Millisecond, announcementOf(vip1)); p != nil {
		t.Errorf("announced when it may not be: %+v", p)
	}
	forbidden.Store(false)
	if said.arp().hear(soon, announcementOf(vip1)) == nil {
		t.Error("not announced when it may be again")
	}
	a.Withdraw(vip1)
	a.Withdraw(vip6)
	if p := leaving(t, "lan0").arp().hear(2500*time.Millisecond, announcementOf(vip1)); p != nil {
		t.Errorf("announced after it was withdrawn: %+v", p)
	}
}
