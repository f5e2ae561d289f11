// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"regexp"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

// kind is a kind of interface that a node's LAN can be on. All but the first are made on top of lan0.
type kind struct {
	name string // of the interface
	link func(lan0 netlink.Link) netlink.Link
	// enslaves: lan0 becomes a member.
	enslaves bool
}

var kinds = map[string]kind{
	"veth": {name: "lan0"},
	"bridge": {name: "br0", enslaves: true, link: func(netlink.Link) netlink.Link {
		return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	}},
	"macvlan": {name: "mac0", link: func(lan0 netlink.Link) netlink.Link {
		return &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: lan0.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	}},
	"VLAN": {name: "vlan0", link: func(lan0 netlink.Link) netlink.Link {
		return &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "vlan0", ParentIndex: lan0.Attrs().Index}, VlanId: 42}
	}},
	"bond": {name: "bond0", enslaves: true, link: func(netlink.Link) netlink.Link {
		bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "bond0"})
		bond.Mode, bond.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 20
		return bond
	}},
}

// eachKind runs a test for each kind of interface that the kernel can make.
func eachKind(t *testing.T, test func(t *testing.T, k kind)) {
	lantest.Need(t)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			if k.link != nil {
				lan0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "peer-lan0"}
				must(t, netlink.LinkAdd(lan0))
				err := netlink.LinkAdd(k.link(lan0))
				unplug(k.name)
				unplug("lan0")
				if err != nil {
					t.Skipf("this kernel makes no %s: %v", name, err)
				}
			}
			test(t, k)
		})
	}
}

// plug makes the interface, up, on a LAN with a client.
func (k kind) plug(t *testing.T) (client *host) {
	t.Helper()
	client = newLAN6(t)
	if k.link == nil {
		return client
	}
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	link := k.link(lan0)
	must(t, netlink.LinkAdd(link))
	t.Cleanup(func() { unplug(k.name) })
	if k.enslaves {
		must(t, netlink.LinkSetDown(lan0)) // a bond takes no other
		must(t, netlink.LinkSetMaster(lan0, link))
		must(t, netlink.LinkSetUp(lan0))
	}
	if link.Type() == "vlan" { // the client's eth0 is in the VLAN, too
		wire, err := client.netlink.LinkByName("eth0")
		must(t, err)
		must(t, client.netlink.LinkSetDown(wire))
		must(t, client.netlink.LinkSetName(wire, wireUnderVLAN))
		must(t, client.netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: wire.Attrs().Index}, VlanId: 42}))
		must(t, client.netlink.LinkSetUp(wire))
		eth0, err := client.netlink.LinkByName("eth0")
		must(t, err)
		must(t, client.netlink.LinkSetUp(eth0))
	}
	must(t, netlink.LinkSetUp(link))
	return client
}

const wireUnderVLAN = "wire0"

// interfaceNamed is what the announcer knows of an interface; the zero value when it does not use it.
func interfaceNamed(a *Announcer, name string) Interface {
	for _, i := range a.Interfaces() {
		if i.Name == name {
			return i
		}
	}
	return Interface{}
}

// expectService expects that both VIPs are answered for, with the MAC of the interface, and that its groups are joined.
func (k kind) expectService(t *testing.T, client *host) {
	t.Helper()
	ear, ear6 := client.listen(t), client.listen6(t)
	want := macOf(t, k.name)
	if mac, ok := ear.ask(clientIP, vip1); !ok || mac != want {
		t.Errorf("ARP: answered with %v, %v; want %v", mac, ok, want)
	}
	if p := ear6.ask(clientIP6, vip6); p == nil || p.mac() != want {
		t.Errorf("NDP: answered with %+v, want %v", p, want)
	}
	eventuallyJoined(t, k.name, vip6)
}

// ears hear announcements of both VIPs.
type ears struct {
	v4 ear
	v6 ear6
}

func (h *host) listenBoth(t *testing.T) ears { return ears{h.listen(t), h.listen6(t)} }

// expectAnnouncements expects both VIPs to be announced with that MAC: in both forms of ARP, and to all nodes.
func (e ears) expectAnnouncements(t *testing.T, mac MAC) {
	t.Helper()
	for _, operation := range []arp.Operation{arp.OperationRequest, arp.OperationReply} {
		if e.v4.hear(soon, func(p *arp.Packet) bool {
			return announcementOf(vip1)(p) && p.Operation == operation && MAC(p.SenderHardwareAddr) == mac
		}) == nil {
			t.Errorf("%v was not announced by %v from %v", vip1, operation, mac)
		}
	}
	if e.v6.hear(soon, func(p neighbourPacket) bool { return advertises(vip6)(p) && !p.Solicited && p.mac() == mac }) == nil {
		t.Errorf("%v was not announced from %v", vip6, mac)
	}
}

// The defects of MetalLB 0.16's layer 2, by their numbers, as what must not happen here.
func TestDefectsOfMetalLB(t *testing.T) {
	// serving is an announcer that serves both VIPs on an interface of the kind.
	serving := func(t *testing.T, k kind) (*host, *Announcer) {
		client := k.plug(t)
		a := start(t, Config{}, k.name)
		a.Announce(vip1, []string{k.name})
		a.Announce(vip6, []string{k.name})
		return client, a
	}
	for name, test := range map[string]func(t *testing.T, k kind){
		"L2-1 deaf for IPv6 after a link flap": func(t *testing.T, k kind) {
			client, a := serving(t, k)
			for range 2 {
				client.setCarrier(t, false)
				waitFor(t, a, "no carrier", func() bool { return !interfaceNamed(a, k.name).Up })
				client.setCarrier(t, true)
				waitFor(t, a, "carrier", func() bool { return interfaceNamed(a, k.name).Up })
				k.expectService(t, client)
			}
		},
		"L2-2 a new interface is not announced on": func(t *testing.T, k kind) {
			a := start(t, Config{})
			a.Announce(vip1, []string{k.name})
			a.Announce(vip6, []string{k.name})
			for range 2 { // new, and new again
				client := k.plug(t)
				ears := client.listenBoth(t)
				waitFor(t, a, k.name, func() bool { return interfaceNamed(a, k.name).Up })
				ears.expectAnnouncements(t, macOf(t, k.name))
				k.expectService(t, client)
				unplug(k.name)
				unplug("lan0")
				waitFor(t, a, "no interfaces", func() bool { return len(a.Interfaces()) == 0 })
			}
		},
		"L2-3 unicast solicitations are not answered": func(t *testing.T, k kind) {
			client, _ := serving(t, k)
			ear := client.listen6(t)
			mac := macOf(t, k.name)
			frame, err := ndpProtocol{}.ask(ear.mac, clientIP6, vip6)
			must(t, err)
			put(frame, etherDestination, mac[:]...)
			put(frame, ipv6Destination, vip6.AsSlice()...)
			frame = resummed(frame)
			eventually(t, "an answer to a unicast solicitation", func() bool {
				ear.say(frame)
				p := ear.hear(askAgain, func(p neighbourPacket) bool { return advertises(vip6)(p) && p.Solicited })
				return p != nil && p.mac() == mac && p.toMAC == ear.mac
			})
		},
		"L2-4 duplicate address detection is not defended": func(t *testing.T, k kind) {
			client, _ := serving(t, k)
			k.expectService(t, client)
			eth0, err := client.netlink.LinkByName("eth0")
			must(t, err)
			client.setDetections(t, patientDetections)
			must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(vip6, 64)}))
			eventually(t, "dadfailed", func() bool { return client.addressFlags(t, is(vip6))&unix.IFA_F_DADFAILED != 0 })
		},
		"L2-5 the old MAC after a change": func(t *testing.T, k kind) {
			client, a := serving(t, k)
			ears := client.listenBoth(t)
			link, err := netlink.LinkByName(k.name)
			must(t, err)
			want := MAC{2, 0, 0, 0, 0, 7}
			must(t, netlink.LinkSetHardwareAddr(link, want[:]))
			ears.expectAnnouncements(t, want)
			if got := interfaceNamed(a, k.name).MAC; got != want {
				t.Errorf("the announcer has MAC %v", got)
			}
			k.expectService(t, client)
		},
		"L2-6 late and silent after a link came up": func(t *testing.T, k kind) {
			client, a := serving(t, k)
			awaitBursts(t, a) // what is heard then is because of the link
			client.setCarrier(t, false)
			waitFor(t, a, "no carrier", func() bool { return !interfaceNamed(a, k.name).Up })
			ears := client.listenBoth(t)
			client.setCarrier(t, true)
			began := time.Now()
			// The first round may be lost where the carrier has come but the way is not open yet: the second is 1.1 s later.
			ears.expectAnnouncements(t, macOf(t, k.name))
			t.Logf("announced %v after the link came up", time.Since(began).Round(time.Millisecond))
			k.expectService(t, client)
		},
	} {
		t.Run(name, func(t *testing.T) { eachKind(t, test) })
	}
}

// A node with several interfaces announces and answers on each with that interface's own MAC, for both families.
func TestEachInterfaceAnswersWithItsOwnMAC(t *testing.T) {
	clients := map[string]*host{"lan0": newLAN6(t), "lan1": newHost(t), "br0": newHost(t)}
	clients["lan1"].plug(t, "lan1")
	linkUp(t, "lan1")
	clients["br0"].plug(t, "port0")
	linkUp(t, "port0")
	br0 := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, netlink.LinkAdd(br0))
	t.Cleanup(func() { unplug("br0") })
	port0, err := netlink.LinkByName("port0")
	must(t, err)
	must(t, netlink.LinkSetMaster(port0, br0))
	must(t, netlink.LinkSetUp(br0))

	a := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^lo$")}, "lan0", "lan1", "br0")
	heard := map[string]ears{}
	for name, client := range clients {
		heard[name] = client.listenBoth(t)
	}
	a.Announce(vip1, nil)
	a.Announce(vip6, nil)
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			heard[name].expectAnnouncements(t, macOf(t, name))
			kind{name: name}.expectService(t, client)
		})
	}
	// One of them leaves, and the others go on.
	unplug("lan1")
	waitFor(t, a, "lan1 gone", func() bool { return interfaceNamed(a, "lan1").Name == "" })
	delete(clients, "lan1")
	for name, client := range clients {
		kind{name: name}.expectService(t, client)
	}
}
