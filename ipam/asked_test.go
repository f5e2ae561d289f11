// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestAssignByName is the conformance list A: Services that ask for their addresses by name.
func TestAssignByName(t *testing.T) {
	reserved := func(name, entry string, reservation Reservation) Pool {
		p := pool(t, name, entry)
		p.Reservation = &reservation
		return p
	}
	careful := pool(t, "test2", "1.2.4.0/24", "1000::4:0/120")
	careful.AvoidBuggyIPs = true
	pools := func() []Pool {
		return []Pool{
			pool(t, "test", "1.2.3.4/31", "1000::4/127"),
			careful,
			reserved("test3", "1.2.5.0/24", Reservation{Namespaces: []string{"test-ns1"}}),
			reserved("test4", "1.2.6.0/24", Reservation{ServiceSelectors: []Selector{team("metallb")}}),
			reserved("test5", "1.2.7.0/24", Reservation{Priority: 20, Namespaces: []string{"test-ns1"}, ServiceSelectors: []Selector{team("metallb")}}),
			reserved("test6", "1.2.8.0/24", Reservation{Priority: 20, Namespaces: []string{"test-ns2"}, ServiceSelectors: []Selector{team("bar")}}),
		}
	}
	given := pools()
	s := newStory(t, given...)
	four := "1.2.4.3 ! 1.2.4.3 is in use by default/s4, which "
	six := "1000::4:3 ! 1000::4:3 is in use by default/s4, which "
	v6 := families(IPv6)
	key := func(key, backend string, ports ...Port) option {
		return func(r *Request) { r.Sharing = Sharing{Key: key, Backend: backend, Ports: ports} }
	}
	http, https, dns := Port{"TCP", 80}, Port{"TCP", 443}, Port{"UDP", 53}

	s.play([]step{
		{id: "A01 a free address", service: "s1", options: []option{asking("1.2.3.4")}, want: "1.2.3.4"},
		{id: "A02 once more", service: "s1", options: []option{asking("1.2.3.4")}, want: "1.2.3.4"},
		{id: "A03 one in use", service: "s2", options: []option{asking("1.2.3.4")}, want: "! 1.2.3.4 is in use by default/s1"},
		{id: "A04 another one", service: "s2", options: []option{asking("1.2.3.5")}, want: "1.2.3.5"},
		{id: "A05 what it has is kept", service: "s1", options: []option{asking("1.2.3.5")}, want: "1.2.3.4 ! 1.2.3.5 is in use by default/s2"},
		{id: "A06 released", service: "s1", released: true},
		{id: "A07 moves to it", service: "s2", options: []option{asking("1.2.3.4")}, want: "1.2.3.4"},
		{id: "A08 what the other left", service: "s1", options: []option{asking("1.2.3.5")}, want: "1.2.3.5"},
		{id: "A09 ends in 0", service: "s3", options: []option{asking("1.2.4.0")}, want: "! 1.2.4.0 is left out of pool test2 by avoidBuggyIPs: ask for another address"},
		{id: "A10 ends in 255", service: "s3", options: []option{asking("1.2.4.255")}, want: "! 1.2.4.255 is left out of pool test2 by avoidBuggyIPs: ask for another address"},
		{id: "A11 ends in 254", service: "s3", options: []option{asking("1.2.4.254")}, want: "1.2.4.254"},
		{id: "A12 ready to share", service: "s4", options: []option{asking("1.2.4.3"), key("sharing", "backend", http)}, want: "1.2.4.3"},
		{id: "A13 a sole holder changes its key", service: "s4", options: []option{asking("1.2.4.3"), key("share", "backend", http)}, want: "1.2.4.3"},
		{id: "A14 same port", service: "s3", options: []option{asking("1.2.4.3"), key("share", "backend", http)}, want: "1.2.4.254 ! 1.2.4.3 is in use by default/s4, which has port TCP/80 too: use another port or address"},
		{id: "A15 another key", service: "s3", options: []option{asking("1.2.4.3"), key("othershare", "backend", https)}, want: `1.2.4.254 ! 1.2.4.3 is in use by default/s4, which shares it under another key, "share" instead of "othershare"`},
		{id: "A16 other backends", service: "s3", options: []option{asking("1.2.4.3"), key("share", "otherbackend", https)}, want: "1.2.4.254 ! 1.2.4.3 is in use by default/s4, which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
		{id: "A17 shares", service: "s3", options: []option{asking("1.2.4.3"), key("share", "backend", https)}, want: "1.2.4.3"},
		{id: "A18 other ports", service: "s3", options: []option{asking("1.2.4.3"), key("share", "backend", dns)}, want: "1.2.4.3"},
		{id: "A19 a sharer changes its key", service: "s3", options: []option{asking("1.2.4.3"), key("othershare", "backend", dns)}, want: four + `shares it under another key, "share" instead of "othershare"`},
		{id: "A20 a sharer changes its backends", service: "s3", options: []option{asking("1.2.4.3"), key("share", "otherbackend", dns)}, want: four + "has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
		{id: "A21 what a sharer had before", service: "s4", options: []option{asking("1.2.4.254"), key("share", "backend", http)}, want: "1.2.4.254"},

		{id: "A22 IPv6: a free address", service: "s1", options: []option{v6, asking("1000::4")}, want: "1000::4"},
		{id: "A23 IPv6: once more", service: "s1", options: []option{v6, asking("1000::4")}, want: "1000::4"},
		{id: "A24 IPv6: one in use", service: "s2", options: []option{v6, asking("1000::4")}, want: "! 1000::4 is in use by default/s1"},
		{id: "A25 IPv6: another one", service: "s2", options: []option{v6, asking("1000::5")}, want: "1000::5"},
		{id: "A26 IPv6: what it has is kept", service: "s1", options: []option{v6, asking("1000::5")}, want: "1000::4 ! 1000::5 is in use by default/s2"},
		{id: "A27 IPv6: released", service: "s1", released: true},
		{id: "A28 IPv6: moves to it", service: "s2", options: []option{v6, asking("1000::4")}, want: "1000::4"},
		{id: "A29 IPv6: what the other left", service: "s1", options: []option{v6, asking("1000::5")}, want: "1000::5"},
		{id: "A30 IPv6: ends in ff, which is like any other", service: "s3", options: []option{v6, asking("1000::4:ff")}, want: "1000::4:ff"},
		{id: "A31 IPv6: ready to share", service: "s4", options: []option{v6, asking("1000::4:3"), key("sharing", "backend", http)}, want: "1000::4:3"},
		{id: "A32 IPv6: a sole holder changes its key", service: "s4", options: []option{v6, asking("1000::4:3"), key("share", "backend", http)}, want: "1000::4:3"},
		{id: "A33 IPv6: same port", service: "s3", options: []option{v6, asking("1000::4:3"), key("share", "backend", http)}, want: "1000::4:ff ! 1000::4:3 is in use by default/s4, which has port TCP/80 too: use another port or address"},
		{id: "A34 IPv6: another key", service: "s3", options: []option{v6, asking("1000::4:3"), key("othershare", "backend", https)}, want: `1000::4:ff ! 1000::4:3 is in use by default/s4, which shares it under another key, "share" instead of "othershare"`},
		{id: "A35 IPv6: other backends", service: "s3", options: []option{v6, asking("1000::4:3"), key("share", "otherbackend", https)}, want: "1000::4:ff ! 1000::4:3 is in use by default/s4, which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
		{id: "A36 IPv6: shares", service: "s3", options: []option{v6, asking("1000::4:3"), key("share", "backend", https)}, want: "1000::4:3"},
		{id: "A37 IPv6: other ports", service: "s3", options: []option{v6, asking("1000::4:3"), key("share", "backend", dns)}, want: "1000::4:3"},
		{id: "A38 IPv6: a sharer changes its key", service: "s3", options: []option{v6, asking("1000::4:3"), key("othershare", "backend", dns)}, want: six + `shares it under another key, "share" instead of "othershare"`},
		{id: "A39 IPv6: a sharer changes its backends", service: "s3", options: []option{v6, asking("1000::4:3"), key("share", "otherbackend", dns)}, want: six + "has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
		{id: "A40 IPv6: what a sharer had before", service: "s4", options: []option{v6, asking("1000::4:ff"), key("share", "backend", http)}, want: "1000::4:ff"},
		{id: "A41 IPv6: released", service: "s2", released: true},

		{id: "A42 both families", service: "s1", options: []option{dual, asking("1.2.3.4", "1000::4")}, want: "1.2.3.4 1000::4"},
		{id: "A43 both families from two pools, allowed here", service: "s1", options: []option{dual, asking("1.2.4.5", "1000::4")}, want: "1.2.4.5 1000::4"},
		{id: "A44 right namespace", service: "n1", options: []option{in("test-ns1"), asking("1.2.5.10")}, want: "1.2.5.10"},
		{id: "A45 other namespace", service: "n2", options: []option{in("test-ns2"), asking("1.2.5.11")}, want: "! 1.2.5.11 is in pool test3, which is reserved for other Services: see its serviceAllocation"},
		{id: "A46 right label", service: "n3", options: []option{labelled("team", "metallb"), asking("1.2.6.10")}, want: "1.2.6.10"},
		{id: "A47 wrong label", service: "n4", options: []option{labelled("team", "red"), asking("1.2.6.11")}, want: "! 1.2.6.11 is in pool test4, which is reserved for other Services: see its serviceAllocation"},
		{id: "A48 right namespace and label", service: "n5", options: []option{in("test-ns1"), labelled("team", "metallb"), asking("1.2.7.10")}, want: "1.2.7.10"},
		{id: "A49 right namespace, wrong label", service: "n6", options: []option{in("test-ns2"), labelled("team", "red"), asking("1.2.8.10")}, want: "! 1.2.8.10 is in pool test6, which is reserved for other Services: see its serviceAllocation"},
		{id: "A50 right label, wrong namespace", service: "n7", options: []option{in("test-ns1"), labelled("team", "bar"), asking("1.2.8.10")}, want: "! 1.2.8.10 is in pool test6, which is reserved for other Services: see its serviceAllocation"},
	})
	t.Run("A51 pools are not changed", func(t *testing.T) {
		if diff := cmp.Diff(pools(), given, cmp.Comparer(sameAddr)); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
	})
}

func TestAskedAddresses(t *testing.T) {
	manual := pool(t, "manual", "10.0.2.0/29")
	manual.AutoAssign = false
	s := newStory(t, pool(t, "a", "10.0.0.0/29"), pool(t, "b", "10.0.1.0/29", "fd00::/126"), manual)
	s.play([]step{
		{id: "M04 by address", service: "one", options: []option{asking("10.0.0.5")}, want: "10.0.0.5"},
		{id: "in use", service: "two", options: []option{asking("10.0.0.5")}, want: "! 10.0.0.5 is in use by default/one"},
		{id: "M11 in no pool", service: "two", options: []option{asking("10.9.9.9")}, want: "! 10.9.9.9 is in no pool: add it to one, or ask for an address of pools [a b manual]"},
		{id: "M08 in another pool than asked", service: "two", options: []option{asking("10.0.0.6"), from("b")}, want: "! 10.0.0.6 is in pool a, but the Service asks for pool b: drop one of the two"},
		{id: "address and its pool", service: "two", options: []option{asking("10.0.1.6"), from("b")}, want: "10.0.1.6"},
		{id: "M21 wrong family", service: "three", options: []option{asking("fd00::1")}, want: "! the Service's families are IPv4, but it asks for fd00::1: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M22 wrong family", service: "three", options: []option{families(IPv6), asking("10.0.0.1")}, want: "! the Service's families are IPv6, but it asks for 10.0.0.1: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M10 two of one family", service: "three", options: []option{asking("10.0.0.1", "10.0.0.2")}, want: "! the Service's families are IPv4, but it asks for 10.0.0.1 and 10.0.0.2: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M40 two families of a single-stack Service", service: "three", options: []option{asking("10.0.0.1", "fd00::1")}, want: "! the Service's families are IPv4, but it asks for 10.0.0.1 and fd00::1: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M37 one address of a dual-stack Service", service: "three", options: []option{dual, asking("10.0.0.1")}, want: "! the Service's families are IPv4 and IPv6, but it asks for 10.0.0.1: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M37 one address of a flexible Service", service: "three", options: []option{flexible, asking("10.0.0.1")}, want: "! the Service's families are IPv4 and IPv6, but it asks for 10.0.0.1: ask for one address per family, or change ipFamilyPolicy"},
		{id: "two of one family of a dual-stack Service", service: "three", options: []option{dual, asking("10.0.0.1", "10.0.0.2")}, want: "! the Service's families are IPv4 and IPv6, but it asks for 10.0.0.1 and 10.0.0.2: ask for one address per family, or change ipFamilyPolicy"},
		{id: "M38 both families, from two pools", service: "both", options: []option{dual, asking("fd00::2", "10.0.0.1")}, want: "10.0.0.1 fd00::2"},
		{id: "one of two in use", service: "three", options: []option{dual, asking("fd00::2", "10.0.0.2")}, want: "! fd00::2 is in use by default/both"},
		{id: "M18 in a pool that is not autoAssign", service: "four", options: []option{asking("10.0.2.7")}, want: "10.0.2.7"},
		{id: "M13 another pool", service: "four", options: []option{from("b")}, want: "10.0.1.0"},
		{id: "M14 unknown pool", service: "five", options: []option{from("c")}, want: `! there is no pool "c": ask for one of pools [a b manual]`},
		{id: "unknown pool, what it has is kept", service: "four", options: []option{from("c")}, want: `10.0.1.0 ! there is no pool "c": ask for one of pools [a b manual]`},
		{id: "family is not in the pool", service: "six", options: []option{families(IPv6), from("a")}, want: "! no IPv6 address in pool a: add an IPv6 range or pool"},
	})
}

func TestAddressInUseIsKeptWhenAnotherCannotBeHad(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"), pool(t, "b", "10.0.1.0/32"))
	s.gets("10.0.0.0", "one")
	s.gets("10.0.0.0 ! 10.9.9.9 is in no pool: add it to one, or ask for an address of pools [a b]", "one", asking("10.9.9.9"))
	s.gets("10.0.0.2", "one", asking("10.0.0.2"))
	s.gets("10.0.0.0", "two", asking("10.0.0.0"))
	s.gets("10.0.1.0", "one", from("b"))
	s.gets("10.0.0.0 ! no free IPv4 address in pool b: 1 of 1 in use", "two", from("b"))
}

func TestInvalidRequestKeepsWhatItHolds(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/32"))
	invalid := func(r *Request) { r.Families, r.Invalid = nil, errors.New("it names no address") }
	s.gets("10.0.0.0", "one")
	s.gets("! no free IPv4 address in pool a: 1 of 1 in use", "two")
	s.gets("10.0.0.0 ! it names no address", "one", invalid)
	s.gets("! it names no address", "two", invalid)
	s.releases("one")
	if changed := s.a.Settle(false, s.now); len(changed) > 0 {
		t.Errorf("%v get what they asked for before", changed)
	}
	s.gets("10.0.0.0", "three")
}

// TestInvalidRequestDoesNotOutliveItsPool: a mistake in an annotation does not keep what no valid request would.
func TestInvalidRequestDoesNotOutliveItsPool(t *testing.T) {
	open := func(t *testing.T) Pool { return pool(t, "a", "10.0.0.0/30") }
	for _, tt := range []struct {
		rule  string
		pools func(t *testing.T) []Pool
		lost  string
	}{
		{"the pool stays", func(t *testing.T) []Pool { return []Pool{open(t)} }, ""},
		{"the pool is gone", func(*testing.T) []Pool { return nil }, "no pool has it any more"},
		{"the pool cannot be read", func(*testing.T) []Pool { return []Pool{{Name: "a", Unreadable: true}} }, ""},
		{"the pool avoids it", func(t *testing.T) []Pool {
			p := open(t)
			p.AvoidBuggyIPs = true
			return []Pool{p}
		}, "pool a avoids addresses that end in .0 or .255"},
		{"the pool is for others", func(t *testing.T) []Pool {
			p := open(t)
			p.Reservation = &Reservation{Namespaces: []string{"other"}}
			return []Pool{p}
		}, "pool a does not serve this Service any more"},
	} {
		for how, invalid := range map[string]option{
			"not understood":   func(r *Request) { r.Families, r.Invalid = nil, errors.New("it names no address") },
			"contradictory":    asking("10.0.0.1", "10.0.0.2"),
			"without families": families(),
		} {
			t.Run(tt.rule+", "+how, func(t *testing.T) {
				s := newStory(t, open(t))
				s.gets("10.0.0.0", "one")
				s.a.SetPools(tt.pools(t))
				result, err := s.a.Allocate(s.request("one", invalid), s.now)
				want := Result{Addresses: addrs("10.0.0.0")}
				if tt.lost != "" {
					want = Result{Lost: []Loss{{addrs("10.0.0.0")[0], tt.lost}}}
				}
				if diff := cmp.Diff(want, result, cmp.Comparer(sameAddr), cmpopts.EquateEmpty()); diff != "" || err == nil {
					t.Errorf("one (-want +got):\n%s%v", diff, err)
				}
				checkInvariants(t, s.a)
			})
		}
	}
}
