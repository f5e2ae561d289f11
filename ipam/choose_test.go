// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"testing"
)

// TestAutomatic is the conformance list N: any Service, any pool.
func TestAutomatic(t *testing.T) {
	pools := func(t *testing.T) []Pool {
		return []Pool{pool(t, "test1", "1.2.3.4/31", "1000::4/127"), pool(t, "test2", "1.2.3.10/31", "1000::10/127")}
	}
	t.Run("IPv4", func(t *testing.T) {
		newStory(t, pools(t)...).play([]step{
			{id: "N01", service: "s1", want: "1.2.3.4"},
			{id: "N02", service: "s2", want: "1.2.3.5"},
			{id: "N03 the next pool", service: "s3", want: "1.2.3.10"},
			{id: "N04", service: "s4", want: "1.2.3.11"},
			{id: "N05 all in use", service: "s5", want: "! no free IPv4 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N06 all in use", service: "s6", want: "! no free IPv4 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N07 released", service: "s1", released: true},
			{id: "N08 what was released, to be shared", service: "s5", options: []option{sharing("share", "", 80)}, want: "1.2.3.4"},
			{id: "N09 without the key", service: "s6", want: "! no free IPv4 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N10 shared", service: "s6", options: []option{sharing("share", "", 443)}, want: "1.2.3.4"},
		})
	})
	t.Run("IPv6", func(t *testing.T) {
		v6 := []option{families(IPv6)}
		newStory(t, pools(t)...).play([]step{
			{id: "N11", service: "s1", options: v6, want: "1000::4"},
			{id: "N12", service: "s2", options: v6, want: "1000::5"},
			{id: "N13 the next pool", service: "s3", options: v6, want: "1000::10"},
			{id: "N14", service: "s4", options: v6, want: "1000::11"},
			{id: "N15 all in use", service: "s5", options: v6, want: "! no free IPv6 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N16 all in use", service: "s6", options: v6, want: "! no free IPv6 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N17 released", service: "s1", released: true},
			{id: "N18 what was released, to be shared", service: "s5", options: []option{families(IPv6), sharing("share", "", 80)}, want: "1000::4"},
			{id: "N19 without the key", service: "s6", options: v6, want: "! no free IPv6 address in pools [test1 test2]: 4 of 4 in use"},
			{id: "N20 shared", service: "s6", options: []option{families(IPv6), sharing("share", "", 443)}, want: "1000::4"},
		})
	})
	t.Run("both", func(t *testing.T) {
		both := []option{dual}
		newStory(t, pools(t)...).play([]step{
			{id: "N21", service: "s1", options: both, want: "1.2.3.4 1000::4"},
			{id: "N22", service: "s2", options: both, want: "1.2.3.5 1000::5"},
			{id: "N23 the next pool", service: "s3", options: both, want: "1.2.3.10 1000::10"},
			{id: "N24", service: "s4", options: both, want: "1.2.3.11 1000::11"},
			{id: "N25 all in use", service: "s5", options: both, want: "! no free IPv4 or IPv6 address in pools [test1 test2]: 8 of 8 in use"},
			{id: "N26 all in use", service: "s6", options: both, want: "! no free IPv4 or IPv6 address in pools [test1 test2]: 8 of 8 in use"},
			{id: "N27 released", service: "s1", released: true},
			{id: "N28 what was released, to be shared", service: "s5", options: []option{dual, sharing("share", "", 80)}, want: "1.2.3.4 1000::4"},
			{id: "N29 without the key", service: "s6", options: both, want: "! no free IPv4 or IPv6 address in pools [test1 test2]: 8 of 8 in use"},
			{id: "N30 shared", service: "s6", options: []option{dual, sharing("share", "", 443)}, want: "1.2.3.4 1000::4"},
		})
	})
}

// TestFromOnePool is the conformance list P for one family and for both: Services that ask for a pool by name.
func TestFromOnePool(t *testing.T) {
	decoy := pool(t, "decoy", "9.9.9.0/24", "9000::/120")
	test := pool(t, "test", "1.2.3.4/31", "1.2.3.10/31", "1000::/127", "2000::/127")
	type outcome = []string
	for _, tt := range []struct {
		family string
		first  int // the number of the first case
		option option
		want   outcome
		none   string
	}{
		{"IPv4", 1, families(IPv4), outcome{"1.2.3.4", "1.2.3.5", "1.2.3.10", "1.2.3.11"}, "! no free IPv4 address in pool test: 4 of 4 in use"},
		{"IPv6", 13, families(IPv6), outcome{"1000::", "1000::1", "2000::", "2000::1"}, "! no free IPv6 address in pool test: 4 of 4 in use"},
		{"both", 26, dual, outcome{"1.2.3.4 1000::", "1.2.3.5 1000::1", "1.2.3.10 2000::", "1.2.3.11 2000::1"}, "! no free IPv4 or IPv6 address in pool test: 8 of 8 in use"},
	} {
		t.Run(tt.family, func(t *testing.T) {
			steps := []step{
				{service: "s1", want: tt.want[0]},
				{service: "s2", want: tt.want[1]},
				{service: "s3", want: tt.want[2]},
				{service: "s4", want: tt.want[3]},
				{id: " all in use", service: "s5", want: tt.none},
				{id: " all in use", service: "s6", want: tt.none},
				{id: " released", service: "s1", released: true},
				{id: " what was released", service: "s5", want: tt.want[0]},
				{id: " all in use", service: "s6", want: tt.none},
				{id: " released", service: "s5", released: true},
				{id: " to be shared", service: "s5", options: []option{sharing("share", "", 80)}, want: tt.want[0]},
				{id: " shared", service: "s6", options: []option{sharing("share", "", 443)}, want: tt.want[0]},
			}
			for i := range steps {
				steps[i].id = fmt.Sprintf("P%02d%s", tt.first+i, steps[i].id)
				steps[i].options = append(steps[i].options, from("test"), tt.option)
			}
			newStory(t, decoy, test).play(steps)
		})
	}
}

// TestBuggyIPs are the cases B.
func TestBuggyIPs(t *testing.T) {
	careful := func(name, entry string) Pool {
		p := pool(t, name, entry)
		p.AvoidBuggyIPs = true
		return p
	}
	t.Run("automatic", func(t *testing.T) {
		s := newStory(t, pool(t, "test", "1.2.3.0/31"), pool(t, "test2", "1.2.3.254/31"), careful("test3", "1.2.4.0/31"), careful("test4", "1.2.4.254/31"))
		var steps []step
		for i, want := range []string{"1.2.3.0", "1.2.3.1", "1.2.3.254", "1.2.3.255", "1.2.4.1", "1.2.4.254"} {
			steps = append(steps, step{id: fmt.Sprint("B01 ", want), service: fmt.Sprint("s", i), want: want})
		}
		s.play(append(steps, step{id: "B02 all in use", service: "s7", want: "! no free IPv4 address in pools [test test2 test3 test4]: 6 of 6 in use"}))
	})
	t.Run("by name", func(t *testing.T) {
		newStory(t, careful("a", "10.0.0.254-10.0.1.1")).play([]step{
			{id: "asked", service: "asked", options: []option{asking("10.0.0.255")}, want: "! 10.0.0.255 is left out of pool a by avoidBuggyIPs: ask for another address"},
			{id: "first", service: "one", want: "10.0.0.254"},
			{id: "second", service: "two", want: "10.0.1.1"},
			{id: "all in use", service: "three", want: "! no free IPv4 address in pool a: 2 of 2 in use"},
			{id: "released", service: "one", released: true},
			{id: "what was released", service: "three", want: "10.0.0.254"},
		})
	})
}

// TestNotAutoAssign is U01 for each family.
func TestNotAutoAssign(t *testing.T) {
	manual := pool(t, "manual", "10.0.0.0/30", "fd00::/126")
	manual.AutoAssign = false
	s := newStory(t, manual, pool(t, "test2", "10.0.1.0/31", "fd01::/127"))
	s.play([]step{
		{id: "U01 IPv4", service: "s1", want: "10.0.1.0"},
		{id: "U01 IPv6", service: "s2", options: []option{families(IPv6)}, want: "fd01::"},
		{id: "U01 both", service: "s3", options: []option{dual}, want: "10.0.1.1 fd01::1"},
		{id: "U01 all in use", service: "s4", want: "! no free IPv4 address in pool test2: 2 of 2 in use"},
		{id: "by pool", service: "s4", options: []option{from("manual")}, want: "10.0.0.0"},
		{id: "by address", service: "s5", options: []option{asking("10.0.0.3")}, want: "10.0.0.3"},
	})
	t.Run("no other pool", func(t *testing.T) {
		newStory(t, manual).gets("! no pool serves this Service by itself: autoAssign is off; ask for pool manual by name", "plain")
		theirs := pool(t, "theirs", "10.0.2.0/30")
		theirs.Reservation = &Reservation{Namespaces: []string{"other"}}
		newStory(t, manual, theirs).gets("! no pool serves this Service by itself: autoAssign is off; ask for pool manual by name", "plain")
		more := pool(t, "more", "10.0.3.0/30")
		more.AutoAssign = false
		newStory(t, manual, theirs, more).gets("! no pool serves this Service by itself: autoAssign is off; ask for one of pools [manual more] by name", "plain")
	})
}

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
	prior := func(name, entry string, priority int) Pool {
		p := pool(t, name, entry)
		p.Reservation = &Reservation{Priority: priority}
		return p
	}
	s := newStory(t, pool(t, "b-open", "10.0.5.0/32"), pool(t, "a-open", "10.0.0.0/32"), prior("a-later", "10.0.1.0/31", 20),
		prior("z-first", "10.0.2.0/32", 10), prior("y-first", "10.0.4.0/32", 10), prior("b-unset", "10.0.3.0/31", 0))
	for i, want := range []string{"10.0.4.0", "10.0.2.0", "10.0.1.0", "10.0.1.1", "10.0.3.0", "10.0.3.1", "10.0.0.0", "10.0.5.0"} {
		s.gets(want, fmt.Sprint("s", i))
	}
	s.gets("! no free IPv4 address in pools [y-first z-first a-later b-unset a-open b-open]: 8 of 8 in use", "last")
}

// TestReservedPools are the cases of serviceAllocation.
func TestReservedPools(t *testing.T) {
	reserved := func(name, entry string, reservation Reservation) Pool {
		p := pool(t, name, entry)
		p.Reservation = &reservation
		return p
	}
	inProduction := func(r *Request) { r.NamespaceLabels = map[string]string{"team": "production"} }
	noneOpen := "! no pool serves this Service: see serviceAllocation of pool p"
	for _, tt := range []struct {
		rule    string
		pools   []Pool
		options []option
		want    string
	}{
		{"M41 lower priority first", []Pool{
			reserved("pool6", "7.8.9.0/31", Reservation{Priority: 10, Namespaces: []string{"ns1"}}),
			reserved("pool7", "10.11.12.0/31", Reservation{Priority: 11, Namespaces: []string{"ns1"}}),
		}, []option{in("ns1")}, "7.8.9.0"},
		{"M42 no priority", []Pool{pool(t, "open", "1.2.3.0/31"), reserved("pool9", "16.17.18.0/31", Reservation{Namespaces: []string{"ns2"}})}, []option{in("ns2")}, "16.17.18.0"},
		{"M43 by label", []Pool{
			reserved("pool8", "13.14.15.0/31", Reservation{Priority: 9, ServiceSelectors: []Selector{team("metal")}}),
			reserved("pool10", "19.20.21.0/31", Reservation{Priority: 8, ServiceSelectors: []Selector{team("metal")}}),
		}, []option{labelled("team", "metal")}, "19.20.21.0"},
		{"M44 by namespace and label", []Pool{
			reserved("pool11", "22.23.24.0/31", Reservation{Priority: 8, Namespaces: []string{"ns1"}, ServiceSelectors: []Selector{team("metal")}}),
			reserved("pool12", "25.26.27.0/31", Reservation{Priority: 5, Namespaces: []string{"ns1"}, ServiceSelectors: []Selector{team("metal")}}),
		}, []option{in("ns1"), labelled("team", "metal")}, "25.26.27.0"},
		{"V02 namespace by name", []Pool{reserved("p", "10.0.0.0/31", Reservation{Namespaces: []string{"ns1"}, NamespaceSelectors: []Selector{team("production")}})}, []option{in("ns1")}, "10.0.0.0"},
		{"V02 namespace by label", []Pool{reserved("p", "10.0.0.0/31", Reservation{Namespaces: []string{"ns1"}, NamespaceSelectors: []Selector{team("production")}})}, []option{in("ns2"), inProduction}, "10.0.0.0"},
		{"V02 one selector of several", []Pool{reserved("p", "10.0.0.0/31", Reservation{NamespaceSelectors: []Selector{team("test"), team("production")}})}, []option{inProduction}, "10.0.0.0"},
		{"V05 one Service selector of several", []Pool{reserved("p", "10.0.0.0/31", Reservation{ServiceSelectors: []Selector{team("red"), team("metal")}})}, []option{labelled("team", "metal")}, "10.0.0.0"},
		{"V07 priority alone is for everybody", []Pool{pool(t, "a", "10.0.1.0/31"), reserved("p", "10.0.0.0/31", Reservation{Priority: 1})}, nil, "10.0.0.0"},
		{"reserved for others: the open one", []Pool{reserved("p", "10.0.0.0/31", Reservation{Namespaces: []string{"ns2"}}), pool(t, "open", "10.0.1.1/32")}, []option{in("ns1")}, "10.0.1.1"},
		{"reserved pool that is not autoAssign", []Pool{{Name: "p", Ranges: ranges(t, "10.0.0.0/31"), Reservation: &Reservation{Namespaces: []string{"ns1"}}}, pool(t, "open", "10.0.1.1/32")}, []option{in("ns1")}, "10.0.1.1"},
		{"a selector that matches no namespace: not by itself", []Pool{reserved("p", "10.0.0.0/31", Reservation{NamespaceSelectors: []Selector{team("none")}})}, nil, noneOpen},
		{"a selector that matches no namespace: not by pool", []Pool{reserved("p", "10.0.0.0/31", Reservation{NamespaceSelectors: []Selector{team("none")}})}, []option{from("p")}, "! pool p is reserved for other Services: see its serviceAllocation"},
		{"a selector that matches no namespace: not by address", []Pool{reserved("p", "10.0.0.0/31", Reservation{NamespaceSelectors: []Selector{team("none")}})}, []option{asking("10.0.0.1")}, "! 10.0.0.1 is in pool p, which is reserved for other Services: see its serviceAllocation"},
		{"right namespace, wrong label", []Pool{reserved("p", "10.0.0.0/31", Reservation{Namespaces: []string{"ns1"}, ServiceSelectors: []Selector{team("metal")}})}, []option{in("ns1"), labelled("team", "red"), from("p")}, "! pool p is reserved for other Services: see its serviceAllocation"},
		{"right label, wrong namespace", []Pool{reserved("p", "10.0.0.0/31", Reservation{Namespaces: []string{"ns1"}, ServiceSelectors: []Selector{team("metal")}})}, []option{in("ns2"), labelled("team", "metal")}, noneOpen},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			newStory(t, tt.pools...).gets(tt.want, "one", tt.options...)
		})
	}
	t.Run("reserved pool is full: an open one", func(t *testing.T) {
		s := newStory(t, reserved("p", "10.0.0.0/32", Reservation{Namespaces: []string{"ns1"}}), pool(t, "open", "10.0.1.0/31"))
		s.gets("10.0.0.0", "one", in("ns1"))
		s.gets("10.0.1.0", "two", in("ns1"))
	})
}

// TestServiceThatIsNoLongerServed checks what becomes of an address when labels or reservations change.
func TestServiceThatIsNoLongerServed(t *testing.T) {
	tenant := pool(t, "tenant", "10.0.0.0/30")
	tenant.Reservation = &Reservation{ServiceSelectors: []Selector{team("metal")}}
	newStory(t, tenant, pool(t, "open", "10.0.1.0/32")).play([]step{
		{id: "by label", service: "one", options: []option{labelled("team", "metal")}, want: "10.0.0.0"},
		{id: "another label, another pool", service: "one", options: []option{labelled("team", "red")}, want: "10.0.1.0"},
		{id: "the label back: it stays", service: "one", options: []option{labelled("team", "metal")}, want: "10.0.1.0"},
		{id: "by label, too", service: "two", options: []option{labelled("team", "metal")}, want: "10.0.0.1"},
		{id: "another label, no other pool", service: "two", options: []option{labelled("team", "red")}, want: "! no free IPv4 address in pool open: 1 of 1 in use"},
	})
}

// V01: no pools at all are a configuration like any other, and the first one serves who waits.
func TestNoPools(t *testing.T) {
	s := newStory(t)
	s.gets("! there is no IPAddressPool: create one with the addresses that Services may have", "M46 one")
	s.a.SetPools([]Pool{pool(t, "four", "10.0.0.0/31")})
	s.gets("! no IPv6 address in pool four: add an IPv6 range or pool", "six", families(IPv6))
	s.gets("10.0.0.0", "M46 one")
}
