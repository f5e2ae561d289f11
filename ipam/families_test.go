// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func single(family Family) option { return families(family) }

func dual64(r *Request)     { r.Families = []Family{IPv6, IPv4} }
func flexible64(r *Request) { r.Families, r.Flexible = []Family{IPv6, IPv4}, true }

// TestFamilyTransitions goes from every family policy to every other one, with all kinds of pools. What a Service then
// holds depends on what it asks for now, and on whether it held an IPv4 address to keep.
func TestFamilyTransitions(t *testing.T) {
	type policy struct {
		name string
		option
	}
	policies := []policy{
		{"SingleStack IPv4", single(IPv4)}, {"SingleStack IPv6", single(IPv6)},
		{"PreferDualStack IPv4 IPv6", flexible}, {"PreferDualStack IPv6 IPv4", flexible64},
		{"RequireDualStack IPv4 IPv6", dual}, {"RequireDualStack IPv6 IPv4", dual64},
	}
	type wants struct{ afresh, holdingIPv4 string }
	same := func(want string) wants { return wants{want, want} }
	noSix := "! no IPv6 address in pool four: add an IPv6 range or pool"
	for _, tt := range []struct {
		pools string
		all   []Pool
		want  [6]wants // by policy
	}{
		{"one pool with both", []Pool{pool(t, "both", "10.0.0.0/24", "fd00::/120")}, [6]wants{
			same("10.0.0.0"), same("fd00::"), same("10.0.0.0 fd00::"), same("fd00:: 10.0.0.0"), same("10.0.0.0 fd00::"), same("fd00:: 10.0.0.0"),
		}},
		{"a pool each", []Pool{pool(t, "four", "10.0.0.0/24"), pool(t, "six", "fd00::/120")}, [6]wants{
			same("10.0.0.0"), same("fd00::"), same("10.0.0.0 fd00::"), same("fd00:: 10.0.0.0"), same("10.0.0.0 fd00::"), same("fd00:: 10.0.0.0"),
		}},
		{"IPv4 only", []Pool{pool(t, "four", "10.0.0.0/24")}, [6]wants{
			same("10.0.0.0"), same(noSix), same("10.0.0.0"), same("10.0.0.0"),
			{noSix, "10.0.0.0 " + noSix}, {noSix, "10.0.0.0 " + noSix},
		}},
	} {
		for i, before := range policies {
			for j, after := range policies {
				t.Run(fmt.Sprintf("%s/%s to %s", tt.pools, before.name, after.name), func(t *testing.T) {
					s := newStory(t, tt.all...)
					s.gets(tt.want[i].afresh, "one", before.option)
					want := tt.want[j].afresh
					if slices.ContainsFunc(s.a.Held("one"), netip.Addr.Is4) {
						want = tt.want[j].holdingIPv4
					}
					s.gets(want, "one", after.option)
					s.gets(want, "one", after.option)
					checkInvariants(t, s.a)
				})
			}
		}
	}
}

// TestPreferDualStack are the cases P38 to P41 and M29 to M34.
func TestPreferDualStack(t *testing.T) {
	pools := []Pool{pool(t, "test", "1.2.3.4/31", "1000::4/127"), pool(t, "test-v4", "1.2.5.0/31"), pool(t, "test-v6", "1000::10/127")}
	newStory(t, pools...).play([]step{
		{id: "P38 from a pool with both", service: "s1", options: []option{flexible, from("test")}, want: "1.2.3.4 1000::4"},
		{id: "P39 from an IPv4 pool", service: "s2", options: []option{flexible, from("test-v4")}, want: "1.2.5.0"},
		{id: "P40 from an IPv6 pool", service: "s3", options: []option{flexible, from("test-v6")}, want: "1000::10"},
		{id: "P41 once more", service: "s1", options: []option{flexible, from("test")}, want: "1.2.3.4 1000::4"},
		{id: "M29 from any pool", service: "s4", options: []option{flexible}, want: "1.2.3.5 1000::5"},
		{id: "M34 one cluster IP", service: "s5", want: "1.2.5.1"},
		{id: "M33 one cluster IP, IPv6", service: "s6", options: []option{families(IPv6), from("test-v6")}, want: "1000::11"},
		{id: "all in use", service: "s7", options: []option{flexible}, want: "! no free IPv4 or IPv6 address in pools [test test-v4 test-v6]: 8 of 8 in use"},
		{id: "an IPv4 address comes free", service: "s2", released: true},
		{id: "one of two", service: "s7", options: []option{flexible}, want: "1.2.5.0"},
		{id: "an IPv6 address comes free, in another pool", service: "s3", released: true},
		{id: "the other one is added", service: "s7", options: []option{flexible}, want: "1.2.5.0 1000::10"},
	})
}

// TestFamilyMismatch are the cases in which a Service holds an address of a family that it has not.
func TestFamilyMismatch(t *testing.T) {
	newStory(t, pool(t, "both", "1.2.3.0/31", "1000::/127")).play([]step{
		{id: "P25 IPv4", service: "s1", want: "1.2.3.0"},
		{id: "P25 M25 IPv6 in place of IPv4", service: "s1", options: []option{families(IPv6)}, want: "1000::"},
		{id: "M26 IPv4 in place of IPv6", service: "s1", want: "1.2.3.1"},
	})
}

// TestBothFamilies checks that both come from one pool where one has both, and else from two.
func TestBothFamilies(t *testing.T) {
	pools := []Pool{pool(t, "four", "10.0.1.0/31"), pool(t, "mixed", "10.0.0.0/31", "fd00::/127"), pool(t, "six", "fd01::/127")}
	newStory(t, pools...).play([]step{
		{id: "M27 one pool, though not the first", service: "s1", options: []option{dual}, want: "10.0.0.0 fd00::"},
		{id: "in the Service's order", service: "s2", options: []option{dual64}, want: "fd00::1 10.0.0.1"},
		{id: "no pool has both any more", service: "s3", options: []option{dual}, want: "10.0.1.0 fd01::"},
		{id: "two pools, in the Service's order", service: "s4", options: []option{flexible64}, want: "fd01::1 10.0.1.1"},
		{id: "none left", service: "s5", options: []option{dual}, want: "! no free IPv4 or IPv6 address in pools [four mixed six]: 8 of 8 in use"},
		{id: "one released", service: "s2", released: true},
		{id: "one family", service: "s6", want: "10.0.0.1"},
		{id: "M39 the missing one from the same pool", service: "s6", options: []option{dual}, want: "10.0.0.1 fd00::1"},
		{id: "both asked of a pool that has one", service: "s7", options: []option{dual, from("six")}, want: "! no free IPv4 or IPv6 address in pool six: 2 of 2 in use"},
	})
}

// TestDualStackIsAllOrNothing: with RequireDualStack a new Service gets both families or none.
func TestDualStackIsAllOrNothing(t *testing.T) {
	newStory(t, pool(t, "mixed", "10.0.0.0/30", "fd00::/128")).play([]step{
		{id: "both", service: "s1", options: []option{dual}, want: "10.0.0.0 fd00::"},
		{id: "none", service: "s2", options: []option{dual}, want: "! no free IPv6 address in pool mixed: 1 of 1 in use"},
		{id: "one", service: "s2", want: "10.0.0.1"},
		{id: "the one is kept", service: "s2", options: []option{dual}, want: "10.0.0.1 ! no free IPv6 address in pool mixed: 1 of 1 in use"},
		{id: "content with one", service: "s2", options: []option{flexible}, want: "10.0.0.1"},
		{id: "the other one comes free", service: "s1", options: []option{single(IPv4)}, want: "10.0.0.0"},
		{id: "both now", service: "s2", options: []option{dual}, want: "10.0.0.1 fd00::"},
	})
}
