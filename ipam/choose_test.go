// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"testing"
)

func TestLowestAddressFirst(t *testing.T) {
	s := newStory(t, pool(t, "a", "192.168.1.240-192.168.1.241"))
	s.gets("192.168.1.240", "one")
	s.gets("192.168.1.241", "two")
	s.gets("! no free IPv4 address in pool a: 2 of 2 in use", "three")
	s.gets("192.168.1.240", "one") // asking again changes nothing
	s.releases("one")
	s.gets("192.168.1.240", "three")
}

func TestPoolsByPriorityThenName(t *testing.T) {
	later := pool(t, "a-later", "10.0.1.0/31")
	later.Reservation = &Reservation{Priority: 20}
	first := pool(t, "z-first", "10.0.2.0/31")
	first.Reservation = &Reservation{Priority: 10}
	unset := pool(t, "b-unset", "10.0.3.0/31")
	unset.Reservation = &Reservation{}
	s := newStory(t, pool(t, "a-open", "10.0.0.0/31"), later, first, unset)
	for i, want := range []string{"10.0.2.0", "10.0.2.1", "10.0.1.0", "10.0.1.1", "10.0.3.0", "10.0.3.1", "10.0.0.0", "10.0.0.1"} {
		s.gets(want, fmt.Sprint("s", i))
	}
	s.gets("! no free IPv4 address in pools [z-first a-later b-unset a-open]: 8 of 8 in use", "last")
}

func TestNotAutoAssign(t *testing.T) {
	manual := pool(t, "manual", "10.0.0.0/30")
	manual.AutoAssign = false
	s := newStory(t, manual)
	s.gets("! no pool serves this Service by itself: autoAssign is off or they are reserved for others; ask for one of pool manual by name", "plain")
	s.gets("10.0.0.0", "by-pool", from("manual"))
	s.gets("10.0.0.3", "by-address", asking("10.0.0.3"))
	s.gets(`! there is no pool "other": ask for one of pool manual`, "lost", from("other"))
}

func TestReservedPools(t *testing.T) {
	tenant := pool(t, "tenant", "10.0.0.0/30")
	tenant.Reservation = &Reservation{Namespaces: []string{"ns1"}, ServiceSelectors: []Selector{team("metal")}}
	nobody := pool(t, "nobody", "10.0.1.0/30")
	nobody.Reservation = &Reservation{NamespaceSelectors: []Selector{team("none")}}
	s := newStory(t, tenant, nobody)
	s.gets("10.0.0.0", "right", in("ns1"), labelled("team", "metal"))
	s.gets("! no pool serves this Service by itself: autoAssign is off or they are reserved for others; ask for one of pools [nobody tenant] by name", "elsewhere", in("ns2"), labelled("team", "metal"))
	s.gets("! pool tenant is reserved for other Services: see its serviceAllocation", "label", in("ns1"), labelled("team", "red"), from("tenant"))
	s.gets("! 10.0.0.2 is in pool tenant, which is reserved for other Services: see its serviceAllocation", "address", asking("10.0.0.2"))
	s.gets("! pool nobody is reserved for other Services: see its serviceAllocation", "matches-nobody", from("nobody"))
	s.gets("! no pool serves this Service by itself: autoAssign is off or they are reserved for others; ask for one of pools [nobody tenant] by name", "right", in("ns1"), labelled("team", "red"))
}

func TestAvoidBuggyIPs(t *testing.T) {
	careful := pool(t, "a", "10.0.0.254-10.0.1.1")
	careful.AvoidBuggyIPs = true
	s := newStory(t, careful)
	s.gets("! 10.0.0.255 is left out of pool a by avoidBuggyIPs: ask for another address", "asked", asking("10.0.0.255"))
	s.gets("10.0.0.254", "one")
	s.gets("10.0.1.1", "two")
	s.gets("! no free IPv4 address in pool a: 2 of 2 in use", "three")
	s.releases("one")
	s.gets("10.0.0.254", "three")
}

func TestNoPools(t *testing.T) {
	s := newStory(t)
	s.gets("! there is no IPAddressPool: create one with the addresses that Services may have", "one")
	s.a.SetPools([]Pool{pool(t, "four", "10.0.0.0/31")})
	s.gets("! no IPv6 address in pool four: add an IPv6 range or pool", "six", families(IPv6))
}
