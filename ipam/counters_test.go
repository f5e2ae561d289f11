// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountsOfAPool(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		ranges     []string
		avoidBuggy bool
		v4, v6     int64
	}{
		{rule: "C01", ranges: []string{"1.2.3.0/24"}, v4: 256},
		{rule: "C02", ranges: []string{"1.2.3.0/24", "1.2.4.0/25"}, v4: 384},
		{rule: "C03", ranges: []string{"1.2.3.0/24", "1.2.4.0/25"}, avoidBuggy: true, v4: 381},
		{rule: "C04", ranges: []string{"1.2.3.0/24", "1.2.4.0/25", "1000::/64"}, avoidBuggy: true, v4: 381, v6: math.MaxInt64},
		{rule: "C05", ranges: []string{"1.2.3.0/31", "1000::/127"}, avoidBuggy: true, v4: 1, v6: 2},
		{rule: "IPv6 before IPv4, two large blocks", ranges: []string{"1000::/64", "1.2.3.0/24", "2000::/100"}, v4: 256, v6: math.MaxInt64},
		{rule: "two /65 saturate", ranges: []string{"1000::/65", "1000:0:0:0:8000::/65"}, v6: math.MaxInt64},
		{rule: "a /66 and a /66", ranges: []string{"1000::/66", "2000::/66"}, v6: math.MaxInt64},
		{rule: "a /66", ranges: []string{"1000::/66"}, v6: 1 << 62},
		{rule: "one buggy address alone", ranges: []string{"192.168.1.0/32"}, avoidBuggy: true, v4: 0},
		{rule: "two buggy addresses alone", ranges: []string{"192.168.1.255-192.168.2.0"}, avoidBuggy: true, v4: 0},
		{rule: "a /8 without buggy ones", ranges: []string{"10.0.0.0/8"}, avoidBuggy: true, v4: 1<<24 - 2<<16},
		{rule: "V14 what is named twice counts once", ranges: []string{"10.0.0.0/28", "10.0.0.8/29", "10.0.0.0/28"}, v4: 16},
		{rule: "buggy ones named twice", ranges: []string{"10.0.0.0/25", "10.0.0.0-10.0.0.3"}, avoidBuggy: true, v4: 127},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a := NewAllocator()
			a.SetPools([]Pool{{Name: "p", Ranges: ranges(t, tt.ranges...), AvoidBuggyIPs: tt.avoidBuggy}})
			got := a.Usage()["p"]
			want := Usage{TotalIPv4: tt.v4, AvailableIPv4: tt.v4, TotalIPv6: tt.v6, AvailableIPv6: tt.v6}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCountsInUse checks C06: the counts are right after each operation.
func TestCountsInUse(t *testing.T) {
	s := newStory(t, pool(t, "p", "1.2.3.4/30", "1000::4/126"))
	expect := func(rule string, v4, v6 int64) {
		t.Helper()
		want := Usage{TotalIPv4: 4, InUseIPv4: v4, AvailableIPv4: 4 - v4, TotalIPv6: 4, InUseIPv6: v6, AvailableIPv6: 4 - v6}
		if diff := cmp.Diff(want, s.a.Usage()["p"]); diff != "" {
			t.Errorf("C06 %s: usage (-want +got):\n%s", rule, diff)
		}
	}
	expect("none", 0, 0)
	s.gets("1.2.3.4", "one")
	expect("one", 1, 0)
	s.gets("1.2.3.5 1000::4", "two", dual)
	expect("two", 2, 1)
	s.gets("1.2.3.5", "two")
	expect("a family less", 2, 0)
	s.releases("two")
	expect("one is gone", 1, 0)
	s.releases("two")
	expect("gone twice", 1, 0)
	s.releases("one")
	expect("all are gone", 0, 0)
	for i, name := range []string{"first", "second", "third"} {
		s.gets("1.2.3.4", name, asking("1.2.3.4"), sharing("key", "", uint16(80+i)))
		expect("shared by "+name, 1, 0)
	}
	s.releases("first")
	expect("shared by two", 1, 0)
	s.releases("second")
	expect("shared by one", 1, 0)
	s.a.SetPools([]Pool{pool(t, "p", "1.2.3.4/30", "1000::4/126")})
	expect("pool read again", 1, 0)
	s.releases("third")
	expect("shared by none", 0, 0)
	s.a.Quarantine(addrs("1.2.3.7")[0], "node1", s.now)
	expect("what is in quarantine is not in use", 0, 0)
	s.a.SetPools(nil)
	if got := s.a.Usage(); len(got) != 0 {
		t.Errorf("C06 pool deleted: usage %v", got)
	}
}

// TestSaturatedCountsStay checks that a family with more addresses than can be counted has as many available as in all.
func TestSaturatedCountsStay(t *testing.T) {
	s := newStory(t, pool(t, "p", "fd00::/64"))
	s.gets("fd00::", "one", families(IPv6))
	want := Usage{TotalIPv6: math.MaxInt64, InUseIPv6: 1, AvailableIPv6: math.MaxInt64}
	if diff := cmp.Diff(want, s.a.Usage()["p"]); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}
