// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
	"k8s.io/component-base/metrics/testutil"
)

// RFC 5227 section 2.4: a host that is given a VIP by hand announces nothing, but its kernel soon asks for another address in the
// VIP's name.
func TestAHostThatSilentlyHasAVIPIsSighted(t *testing.T) {
	client := newLAN(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	awaitBursts(t, a)
	waitNarrow(t, a)
	drainSightings(a)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(vip1, 24)}))
	client.do(t, func() error {
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: vip1.AsSlice()}, &net.UDPAddr{IP: nodeIP.AsSlice(), Port: 9})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
	if s := nextSighting(t, a); s.Addr != vip1 || s.Kind != KindUse || s.MAC != client.mac(t) || s.Interface != "lan0" {
		t.Errorf("sighted %+v", s)
	}
}

// Ordinary questions are of interest while the address they come from is announced or probed for, and cost nothing else: gateways and
// nodes, which are watched for their answers, ask all the time.
func TestUsesAreSightedOfVIPsOnly(t *testing.T) {
	client := newLAN6(t)
	ear, ear6 := client.listen(t), client.listen6(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	for name, family := range map[string]struct {
		protocol         string
		addr, probed, to netip.Addr
		ask              func(from, to netip.Addr)
	}{
		"ARP": {protocolARP, vip1, vip2, numbered(1), func(from, to netip.Addr) { ear.say(arp.OperationRequest, from, to) }},
		"NDP": {protocolNDP, vip6, otherVIP6, numbered6(1), func(from, to netip.Addr) {
			frame, err := ndpProtocol{}.ask(ear6.mac, from, to)
			must(t, err)
			ear6.say(frame)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			expect := func(addr netip.Addr) {
				t.Helper()
				if s := nextSighting(t, a); s.Kind != KindUse || s.Addr != addr || s.MAC != ear6.mac || s.Interface != "lan0" {
					t.Errorf("heard %+v", s)
				}
			}
			answered := family.to
			// expectAnswers waits until questions have been dealt with.
			expectAnswers := func(more float64, ask func()) {
				t.Helper()
				count := func() float64 {
					answers, err := testutil.GetCounterValuesFromGatherer(registry, "metallb_layer2_responses_sent",
						map[string]string{"ip": answered.String()}, "ip")
					must(t, err)
					return answers[answered.String()]
				}
				before := count()
				ask()
				eventually(t, "the questions are answered", func() bool { return count() >= before+more })
			}
			a.Announce(answered, nil) // questions for it come in
			a.Watch(family.addr)
			expectAnswers(claimBurst+1, func() {
				for range claimBurst + 1 {
					family.ask(family.addr, answered)
				}
			})
			noSighting(t, a, 0)

			a.Announce(family.addr, nil)
			family.ask(family.addr, answered) // those before have used nothing up
			expect(family.addr)
			a.Withdraw(family.addr)
			expectAnswers(1, func() { family.ask(family.addr, answered) })
			noSighting(t, a, 0)

			a.Watch(family.probed)
			a.Probe(family.probed, nil)
			goOnProbing(a, family.probed)
			family.ask(family.probed, answered)
			expect(family.probed)
		})
	}
}
