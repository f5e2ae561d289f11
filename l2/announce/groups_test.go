// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// joined says whether the node is in the solicited-node group of addr on an interface: as IPv6, which is reported by
// MLD, and as Ethernet, which is what a network card lets through.
func joined(t testing.TB, name string, addr netip.Addr) (asIPv6, asEthernet bool) {
	t.Helper()
	group := ndpProtocol{}.requestGroup(addr)
	mac := groupMAC(group)
	inTable := func(file, address string) bool {
		table, err := os.ReadFile(file)
		must(t, err)
		return regexp.MustCompile(`(?m)^\d+\s+` + name + `\s.*\b` + address + `\b`).Match(table)
	}
	// Not /proc/net, which is that of the first thread: lantest may have moved it elsewhere.
	return inTable("/proc/thread-self/net/igmp6", fmt.Sprintf("%x", group.AsSlice())),
		inTable("/proc/thread-self/net/dev_mcast", fmt.Sprintf("%x", mac[:]))
}

func expectJoined(t testing.TB, name string, addr netip.Addr, want bool) {
	t.Helper()
	if asIPv6, asEthernet := joined(t, name, addr); asIPv6 != want || asEthernet != want {
		t.Errorf("%s: in the group of %v as IPv6: %v, as Ethernet: %v, want %v", name, addr, asIPv6, asEthernet, want)
	}
}

// eventuallyJoined is for where memberships are renewed, each ended first, behind what else happens there.
func eventuallyJoined(t testing.TB, name string, addr netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is in the group of %v", name, addr), func() bool {
		asIPv6, asEthernet := joined(t, name, addr)
		return asIPv6 && asEthernet
	})
}

// The kernel forgets its memberships when an interface's packets become too small for IPv6, or IPv6 is switched off. It is
// noticed, too, when IPv6 is back before anybody has looked.
func TestNDPGroupsReturnWithIPv6(t *testing.T) {
	for _, looked := range []bool{true, false} {
		t.Run(fmt.Sprintf("looked=%v", looked), func(t *testing.T) {
			newLAN6(t)
			a := start(t, Config{}, "lan0")
			a.Announce(vip6, nil)
			lan0, err := netlink.LinkByName("lan0")
			must(t, err)
			addresses := func() int {
				addresses, err := netlink.AddrList(lan0, netlink.FAMILY_V6)
				must(t, err)
				return len(slices.DeleteFunc(addresses, func(each netlink.Addr) bool { return each.Flags&unix.IFA_F_TENTATIVE != 0 }))
			}
			goOn := func() {}
			if !looked {
				a.mu.Lock()
				goOn = sync.OnceFunc(a.mu.Unlock)
				defer goOn()
				must(t, netlink.LinkSetMTU(lan0, 1400))
				<-time.After(10 * relistInterval) // Run has listed, and waits for mu
			}
			must(t, netlink.LinkSetMTU(lan0, 1000))
			eventually(t, "the group is forgotten", func() bool { asIPv6, _ := joined(t, "lan0", vip6); return !asIPv6 })
			must(t, netlink.LinkSetMTU(lan0, 1500))
			if !looked {
				eventually(t, "an address is back", func() bool { return addresses() > 0 })
			}
			goOn()
			eventuallyJoined(t, "lan0", vip6)
			a.Withdraw(vip6)
			expectJoined(t, "lan0", vip6, false)
		})
	}
}

// Thousands of groups take seconds to join again. Whoever announces or withdraws waits for a few of them only, and is taken into
// account.
func TestNDPGroupsAreRenewedAFewAtATime(t *testing.T) {
	newLAN6(t)
	a := start(t, Config{}, "lan0")
	const many = 3*renewedAtOnce + 1
	vip := func(i int) netip.Addr { return numbered6(1000 + i) } // in no group of the node's own
	for i := range many {
		a.Announce(vip(i), nil)
	}
	l := (*a.links.Load())[0]
	left := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(l.port(ndpProtocol{}).groups.renewing)
	}
	a.mu.Lock() // as update does, but nobody is told
	l.forgetGroups()
	a.mu.Unlock()
	if got := left(); got != many {
		t.Fatalf("%d groups to renew, want %d", got, many)
	}
	a.mu.Lock()
	more, err := l.renewGroups()
	a.mu.Unlock()
	must(t, err)
	if got := left(); !more || got != many-renewedAtOnce {
		t.Fatalf("%d groups left to renew, want %d", got, many-renewedAtOnce)
	}
	for i := range many / 2 {
		a.Withdraw(vip(i))
	}
	a.Announce(vip6, nil)
	signal(a.renew)
	eventually(t, "none left", func() bool { return left() == 0 })
	for i := range many {
		expectJoined(t, "lan0", vip(i), i >= many/2)
	}
	expectJoined(t, "lan0", vip6, true)
	for i := many / 2; i < many; i++ {
		a.Withdraw(vip(i))
		expectJoined(t, "lan0", vip(i), false)
	}
}

// Defect L2-5 of MetalLB.
func TestNDPGroupsFollowVIPsAndInterfaces(t *testing.T) {
	newLAN6(t)
	other := newHost(t)
	other.plug(t, "lan1")
	linkUp(t, "lan1")
	a := start(t, Config{}, "lan0", "lan1")
	sharing := netip.MustParseAddr("fd00:9::1:240") // the last 24 bits are those of vip6
	expect := func(what string, on0, on1 bool) {
		t.Helper()
		t.Log(what)
		expectJoined(t, "lan0", vip6, on0)
		expectJoined(t, "lan1", vip6, on1)
	}
	expect("nothing announced", false, false)
	a.Announce(vip6, []string{"lan1"})
	a.Announce(vip6, []string{"lan1"})
	expect("on lan1", false, true)
	a.Announce(vip6, nil)
	expect("on all", true, true)
	a.Announce(sharing, []string{"lan0"})
	a.Announce(vip6, []string{"lan1"})
	expect("the other VIP on lan0", true, true)
	a.Withdraw(sharing)
	expect("the other VIP withdrawn", false, true)
	// An interface that gets the name is joined as well.
	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	a.Announce(vip6, []string{"lan1", "wan0"})
	must(t, netlink.LinkSetDown(lan0))
	must(t, netlink.LinkSetName(lan0, "wan0"))
	must(t, netlink.LinkSetUp(lan0))
	t.Cleanup(func() { unplug("wan0") })
	waitFor(t, a, "wan0", func() bool { return interfaceNamed(a, "wan0").Up })
	eventuallyJoined(t, "wan0", vip6)
	a.Withdraw(vip6)
	expectJoined(t, "wan0", vip6, false)
	expectJoined(t, "lan1", vip6, false)
}

// One socket does not hold the memberships of thousands of VIPs.
func TestNDPManyGroups(t *testing.T) {
	ear := newLAN6(t).listen6(t)
	a := start(t, Config{}, "lan0")
	const many = 3000
	began := time.Now()
	for i := range many {
		a.Announce(numbered6(i), nil)
	}
	took := time.Since(began)
	l := (*a.links.Load())[0]
	a.mu.Lock()
	sockets := len(l.port(ndpProtocol{}).groups.reporters)
	a.mu.Unlock()
	t.Logf("%d VIPs announced in %v: %v each; memberships on %d sockets", many, took, took/many, sockets)
	for _, i := range []int{0, many / 2, many - 1} {
		expectJoined(t, "lan0", numbered6(i), true)
		if ear.ask(clientIP6, numbered6(i)) == nil { // asks again: the burst of so many VIPs may fill the ear
			t.Errorf("no answer for VIP %d", i)
		}
	}
	began = time.Now()
	for i := range many {
		a.Withdraw(numbered6(i))
	}
	t.Logf("withdrawn in %v", time.Since(began))
	expectJoined(t, "lan0", numbered6(0), false)
	expectJoined(t, "lan0", numbered6(many-1), false)
}

// A switch that snoops forwards a question only to ports from which somebody has reported that group.
func TestNDPQuestionsGetThroughASnoopingSwitch(t *testing.T) {
	bridge := newHost(t)
	br0 := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, bridge.netlink.LinkAdd(br0))
	bridge.do(t, func() error { return snoop(br0) })
	must(t, bridge.netlink.LinkSetUp(br0))
	bridge.plugInto(t, br0, "lan0", "lan1", "asker")
	a := start(t, Config{ExcludeInterfaces: regexp.MustCompile("^(lo|lan1|asker)$")}, "lan0")
	bystander := packetsOf(t, "lan1")
	asker := packetsOf(t, "asker")
	question, err := ndpProtocol{}.ask(asker.mac, clientIP6, vip6)
	must(t, err)
	a.Announce(vip6, nil)
	// What goes to all nodes gets through, and comes after the question.
	snoops := func() bool {
		asker.say(question)
		asker.announce(otherVIP6)
		p := bystander.hear(soon, func(p neighbourPacket) bool { return asksFor(vip6)(p) || advertises(otherVIP6)(p) })
		if p == nil {
			t.Fatal("nothing comes through the switch")
		}
		if asksFor(vip6)(*p) {
			bystander.hear(soon, advertises(otherVIP6))
			return false
		}
		return true
	}
	eventually(t, "the switch has queried for a while and snoops", snoops)
	asker.empty()
	if asker.ask(clientIP6, vip6) == nil {
		t.Error("no answer through the switch")
	}
	bystander.empty()
	if !snoops() {
		t.Error("the switch does not snoop")
	}
}

// snoop makes a switch query for groups, and forward by the answers.
func snoop(bridge netlink.Link) error {
	const second = 100 // in the unit of the kernel's attributes
	if err := setBridge(bridge, map[int][]byte{
		nl.IFLA_BR_MCAST_SNOOPING:             {1},
		nl.IFLA_BR_MCAST_QUERY_INTVL:          nl.Uint64Attr(second),
		nl.IFLA_BR_MCAST_STARTUP_QUERY_INTVL:  nl.Uint64Attr(second),
		nl.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL: nl.Uint64Attr(second / 2),
	}); err != nil {
		return err
	}
	// It snoops after one response interval, the one that is set when it begins.
	return setBridge(bridge, map[int][]byte{nl.IFLA_BR_MCAST_QUERIER: {1}})
}

func setBridge(bridge netlink.Link, attributes map[int][]byte) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(bridge.Attrs().Index)
	request.AddData(message)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	for attribute, value := range attributes {
		data.AddRtAttr(attribute, value)
	}
	request.AddData(info)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
