// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPoolsChangeUnderUse(t *testing.T) {
	for name, tt := range map[string]struct {
		after       []Pool
		one, two    string
		wantChanged []string
	}{
		"same":                 {[]Pool{pool(t, "a", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"grown":                {[]Pool{pool(t, "a", "1.2.3.0/24", "1000::/64")}, "1.2.3.0", "1000::", nil},
		"renamed":              {[]Pool{pool(t, "b", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"split":                {[]Pool{pool(t, "b", "1.2.3.0/30"), pool(t, "c", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"shrunk":               {[]Pool{pool(t, "a", "1.2.3.2/31", "1000::/126")}, "1.2.3.2", "1000::", []string{"one"}},
		"one family gone":      {[]Pool{pool(t, "a", "1000::/126")}, "! no IPv4 address in pool a: add an IPv4 range or pool", "1000::", []string{"one"}},
		"gone":                 {nil, "! there is no IPAddressPool: create one with the addresses that Services may have", "! there is no IPAddressPool: create one with the addresses that Services may have", []string{"one", "two"}},
		"not autoAssign":       {[]Pool{{Name: "a", Ranges: ranges(t, "1.2.3.0/30", "1000::/126")}}, "1.2.3.0", "1000::", nil},
		"avoids buggy":         {[]Pool{{Name: "a", AutoAssign: true, AvoidBuggyIPs: true, Ranges: ranges(t, "1.2.3.0/30", "1000::/126")}}, "1.2.3.1", "1000::", []string{"one"}},
		"deleted, another one": {[]Pool{pool(t, "b", "4.4.4.0/30", "4000::/126")}, "4.4.4.0", "4000::", []string{"one", "two"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, pool(t, "a", "1.2.3.0/30", "1000::/126"))
			s.gets("1.2.3.0", "one")
			s.gets("1000::", "two", families(IPv6))
			s.a.SetPools(tt.after)
			changed := s.a.Settle(true, s.now)
			slices.Sort(changed)
			if diff := cmp.Diff(tt.wantChanged, changed); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			s.gets(tt.one, "one")
			s.gets(tt.two, "two", families(IPv6))
		})
	}
}

func TestUnreadablePoolTakesNothingAway(t *testing.T) {
	reserved := pool(t, "a", "10.0.0.0/30")
	reserved.Reservation = &Reservation{ServiceSelectors: []Selector{team("nobody")}}
	open := pool(t, "b", "10.0.1.0/30")
	for name, tt := range map[string]struct {
		after []Pool
		want  string
	}{
		"range":                {[]Pool{{Name: "a", Unreadable: true}, open}, "10.0.0.0"},
		"range of another one": {[]Pool{open, {Name: "c", Unreadable: true}}, "10.0.0.0"},
		"selector":             {[]Pool{{Name: "a", Ranges: reserved.Ranges, Reservation: reserved.Reservation, Unreadable: true}, open}, "10.0.0.0"},
		"reserved for others":  {[]Pool{reserved, open, {Name: "c", Unreadable: true}}, "10.0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, pool(t, "a", "10.0.0.0/30"))
			s.gets("10.0.0.0", "one")
			s.a.SetPools(tt.after)
			s.a.Settle(true, s.now)
			s.gets(tt.want, "one")
			s.gets("10.0.1.3", "one", asking("10.0.1.3"))
		})
	}
}

func TestOlderPoolHasWhatOverlaps(t *testing.T) {
	s := newStory(t)
	overlaps := s.a.SetPools([]Pool{pool(t, "old", "10.0.0.4-10.0.0.7"), pool(t, "young", "10.0.0.0-10.0.0.9")})
	want := []Overlap{{Pool: "young", With: "old", Range: ranges(t, "10.0.0.4-10.0.0.7")[0]}}
	if diff := cmp.Diff(want, overlaps, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
	usage := s.a.Usage()
	if usage["old"].TotalIPv4 != 4 || usage["young"].TotalIPv4 != 6 {
		t.Errorf("usage: %+v", usage)
	}
	s.gets("10.0.0.4", "one", asking("10.0.0.4"), from("old"))
	s.gets("! 10.0.0.5 is in pool old, but the Service asks for pool young: drop one of the two", "two", asking("10.0.0.5"), from("young"))
}

func TestSettleJudgesByTheLatestRequest(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"))
	s.gets("10.0.0.0", "one")
	reserved := pool(t, "a", "10.0.0.0/30")
	reserved.Reservation = &Reservation{ServiceSelectors: []Selector{team("red")}}
	s.a.SetPools([]Pool{reserved})
	s.a.Update(s.request("one", labelled("team", "red")))
	s.a.Update(s.request("unknown"))
	if changed := s.a.Settle(true, s.now); len(changed) > 0 || s.a.Knows("unknown") {
		t.Errorf("changed: %v", changed)
	}
}
