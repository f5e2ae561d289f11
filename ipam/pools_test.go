// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPoolsChangeUnderUse(t *testing.T) {
	noPool := "! there is no IPAddressPool: create one with the addresses that Services may have"
	no := func(family string) string {
		return fmt.Sprintf("! no %s address in pool test: add an %s range or pool", family, family)
	}
	for name, tt := range map[string]struct {
		after       []Pool
		one, two    string
		wantChanged []string
	}{
		"R01 same":                     {[]Pool{pool(t, "test", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"R02 grown":                    {[]Pool{pool(t, "test", "1.2.3.0/24", "1000::/64")}, "1.2.3.0", "1000::", nil},
		"R02 grown downwards":          {[]Pool{pool(t, "test", "1.2.2.0-1.2.3.3", "fff::-1000::3")}, "1.2.3.0", "1000::", nil},
		"R03 shrunk to what is in use": {[]Pool{pool(t, "test", "1.2.3.0/32", "1000::/128")}, "1.2.3.0", "1000::", nil},
		"R04 IPv4 gone":                {[]Pool{pool(t, "test", "1000::/126")}, no("IPv4"), "1000::", []string{"one"}},
		"R05 IPv6 gone":                {[]Pool{pool(t, "test", "1.2.3.0/30")}, "1.2.3.0", no("IPv6"), []string{"two"}},
		"R06 renamed":                  {[]Pool{pool(t, "test2", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"R07 split":                    {[]Pool{pool(t, "test", "1.2.3.0/30"), pool(t, "test2", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"R08 avoids buggy ones":        {[]Pool{{Name: "test", AutoAssign: true, AvoidBuggyIPs: true, Ranges: ranges(t, "1.2.3.0/30", "1000::/126")}}, "1.2.3.1", "1000::", []string{"one"}},
		"shrunk, room elsewhere in it": {[]Pool{pool(t, "test", "1.2.3.2/31", "1000::/126")}, "1.2.3.2", "1000::", []string{"one"}},
		"not autoAssign any more":      {[]Pool{{Name: "test", Ranges: ranges(t, "1.2.3.0/30", "1000::/126")}}, "1.2.3.0", "1000::", nil},
		"M48 another one added":        {[]Pool{pool(t, "a", "4.4.4.0/30", "4000::/126"), pool(t, "test", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
		"M48 M49 replaced":             {[]Pool{pool(t, "b", "4.4.4.0/30", "4000::/126")}, "4.4.4.0", "4000::", []string{"one", "two"}},
		"M46 gone":                     {nil, noPool, noPool, []string{"one", "two"}},
		"an older pool takes it over":  {[]Pool{pool(t, "old", "1.2.3.0/31"), pool(t, "test", "1.2.3.0/30", "1000::/126")}, "1.2.3.0", "1000::", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, pool(t, "test", "1.2.3.0/30", "1000::/126"))
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
	for _, tt := range []struct {
		rule     string
		pools    []Pool
		overlaps []string
		total    map[string]int64
	}{
		{"none", []Pool{pool(t, "old", "10.0.0.0/30"), pool(t, "young", "10.0.0.4/30")}, nil, map[string]int64{"old": 4, "young": 4}},
		{"V15 one inside the other", []Pool{pool(t, "old", "10.0.0.4-10.0.0.7"), pool(t, "young", "10.0.0.0-10.0.0.9")}, []string{"young with old: 10.0.0.4-10.0.0.7"}, map[string]int64{"old": 4, "young": 6}},
		{"W01 both ends", []Pool{pool(t, "old", "1.1.1.15-1.1.1.20"), pool(t, "young", "1.1.1.1-1.1.1.100")}, []string{"young with old: 1.1.1.15-1.1.1.20"}, map[string]int64{"old": 6, "young": 94}},
		{"the same", []Pool{pool(t, "old", "10.0.0.0/30"), pool(t, "young", "10.0.0.0/30")}, []string{"young with old: 10.0.0.0-10.0.0.3"}, map[string]int64{"old": 4, "young": 0}},
		{"wholly inside", []Pool{pool(t, "old", "10.0.0.0/24"), pool(t, "young", "10.0.0.8/30")}, []string{"young with old: 10.0.0.8-10.0.0.11"}, map[string]int64{"old": 256, "young": 0}},
		{"several ranges", []Pool{pool(t, "old", "10.0.0.2/31", "10.0.0.6-10.0.0.8"), pool(t, "young", "10.0.0.0-10.0.0.7", "10.0.1.0/31")},
			[]string{"young with old: 10.0.0.2-10.0.0.3", "young with old: 10.0.0.6-10.0.0.7"}, map[string]int64{"old": 5, "young": 6}},
		{"three pools", []Pool{pool(t, "old", "10.0.0.0-10.0.0.3"), pool(t, "young", "10.0.0.2-10.0.0.5"), pool(t, "youngest", "10.0.0.3-10.0.0.7")},
			[]string{"young with old: 10.0.0.2-10.0.0.3", "youngest with old: 10.0.0.3", "youngest with young: 10.0.0.4-10.0.0.5"}, map[string]int64{"old": 4, "young": 2, "youngest": 2}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a := NewAllocator()
			var overlaps []string
			for _, overlap := range a.SetPools(tt.pools) {
				overlaps = append(overlaps, fmt.Sprintf("%s with %s: %s", overlap.Pool, overlap.With, overlap.Range))
			}
			if diff := cmp.Diff(tt.overlaps, overlaps); diff != "" {
				t.Errorf("overlaps (-want +got):\n%s", diff)
			}
			for name, want := range tt.total {
				if got := a.Usage()[name].TotalIPv4; got != want {
					t.Errorf("%s has %d addresses, want %d", name, got, want)
				}
			}
		})
	}
	s := newStory(t, pool(t, "old", "10.0.0.4-10.0.0.7"), pool(t, "young", "10.0.0.0-10.0.0.9"))
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

// TestSharedAddressSurvivesPoolEdits: an edit must not make sharers yield, nor count their address twice.
func TestSharedAddressSurvivesPoolEdits(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"))
	s.gets("10.0.0.0", "one", sharing("k", "", 80))
	s.gets("10.0.0.0", "two", sharing("k", "", 81))
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0/29")})
	if changed := s.a.Settle(true, s.now); len(changed) > 0 {
		t.Errorf("changed: %v", changed)
	}
	s.gets("10.0.0.0", "three", sharing("k", "", 82))
	if got := s.a.Usage()["b"].InUseIPv4; got != 1 {
		t.Errorf("%d addresses in use, want 1", got)
	}
}
