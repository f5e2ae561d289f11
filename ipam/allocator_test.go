// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// story is an allocator and what happens to it, one line a step.
type story struct {
	t   *testing.T
	a   *Allocator
	now time.Time
}

func newStory(t *testing.T, pools ...Pool) *story {
	s := &story{t: t, a: NewAllocator(), now: epoch}
	s.a.SetPools(pools)
	return s
}

type option func(*Request)

func families(families ...Family) option { return func(r *Request) { r.Families = families } }
func flexible(r *Request)                { r.Families, r.Flexible = []Family{IPv4, IPv6}, true }
func dual(r *Request)                    { r.Families = []Family{IPv4, IPv6} }
func from(pool string) option            { return func(r *Request) { r.Pool = pool } }
func asking(texts ...string) option      { return func(r *Request) { r.Addresses = addrs(texts...) } }
func in(namespace string) option         { return func(r *Request) { r.Namespace = namespace } }
func labelled(key, value string) option {
	return func(r *Request) { r.Labels = map[string]string{key: value} }
}
func sharing(key, backend string, ports ...uint16) option {
	return func(r *Request) {
		r.Sharing = Sharing{Key: key, Backend: backend}
		for _, port := range ports {
			r.Sharing.Ports = append(r.Sharing.Ports, Port{"TCP", port})
		}
	}
}

func (s *story) request(name string, options ...option) Request {
	r := Request{ID: name, Namespace: "default", Name: name, Families: []Family{IPv4}, Created: epoch}
	for _, option := range options {
		option(&r)
	}
	return r
}

// gets lets a Service ask, and checks what it holds then: addresses, and after a "!" the sentence of the refusal.
func (s *story) gets(want, name string, options ...option) {
	s.t.Helper()
	result, err := s.a.Allocate(s.request(name, options...), s.now)
	if got := outcome(result.Addresses, err); got != want {
		s.t.Errorf("%s gets %q, want %q", name, got, want)
	}
}

func (s *story) releases(name string) {
	s.t.Helper()
	s.a.Release(name, s.now)
	if s.a.Knows(name) {
		s.t.Errorf("%s is still known", name)
	}
}

func outcome(addrs []netip.Addr, err error) string {
	var parts []string
	for _, addr := range addrs {
		parts = append(parts, addr.String())
	}
	if err != nil {
		parts = append(parts, "! "+err.Error())
	}
	return strings.Join(parts, " ")
}

func pool(t *testing.T, name string, entries ...string) Pool {
	return Pool{Name: name, AutoAssign: true, Ranges: ranges(t, entries...)}
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

type team string

func (t team) Matches(labels map[string]string) bool { return labels["team"] == string(t) }

func TestAskedAddresses(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/29"), pool(t, "b", "10.0.1.0/29", "fd00::/126"))
	s.gets("10.0.0.5", "one", asking("10.0.0.5"))
	s.gets("! 10.0.0.5 is in use by default/one", "two", asking("10.0.0.5"))
	s.gets("! 10.9.9.9 is in no pool: add it to one, or ask for an address of pools [a b]", "two", asking("10.9.9.9"))
	s.gets("! 10.0.0.6 is in pool a, but the Service asks for pool b: drop one of the two", "two", asking("10.0.0.6"), from("b"))
	s.gets("10.0.1.6", "two", asking("10.0.1.6"), from("b"))
	s.gets("! the Service's families are IPv4, but it asks for fd00::1: ask for one address per family, or change ipFamilyPolicy", "three", asking("fd00::1"))
	s.gets("! the Service's families are IPv4, but it asks for 10.0.0.1 and 10.0.0.2: ask for one address per family, or change ipFamilyPolicy", "three", asking("10.0.0.1", "10.0.0.2"))
	s.gets("10.0.0.1 fd00::2", "both", dual, asking("fd00::2", "10.0.0.1")) // from two pools
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

func TestFamilies(t *testing.T) {
	s := newStory(t, pool(t, "dual", "10.0.0.0/31", "fd00::/127"), pool(t, "four", "10.0.1.0/31"), pool(t, "six", "fd01::/127"))
	s.gets("10.0.0.0", "single")
	s.gets("fd00:: 10.0.0.1", "ordered", families(IPv6, IPv4))
	s.gets("10.0.1.0 fd00::1", "apart", dual) // no pool has both any more
	s.gets("10.0.1.1 fd01::", "flexible", flexible)
	s.gets("fd01::1", "half", flexible)
	s.gets("! no free IPv4 or IPv6 address in pools [dual four six]: 8 of 8 in use", "none", flexible)
	s.releases("single")
	s.gets("10.0.0.0 fd01::1", "half", flexible)
	s.gets("fd01::1", "half", families(IPv6))
	s.gets("! no free IPv6 address in pools [dual four six]: 4 of 4 in use", "strict", dual)
	s.gets("10.0.0.0", "strict")
	s.gets("10.0.0.0 ! no free IPv6 address in pools [dual four six]: 4 of 4 in use", "strict", dual)
}

func TestNoPools(t *testing.T) {
	s := newStory(t)
	s.gets("! there is no IPAddressPool: create one with the addresses that Services may have", "one")
	s.a.SetPools([]Pool{pool(t, "four", "10.0.0.0/31")})
	s.gets("! no IPv6 address in pool four: add an IPv6 range or pool", "six", families(IPv6))
}

func TestSharing(t *testing.T) {
	s := newStory(t, pool(t, "a", "1.2.4.0/24"))
	s.gets("1.2.4.3", "four", asking("1.2.4.3"), sharing("sharing", "backend", 80))
	s.gets("1.2.4.3", "four", asking("1.2.4.3"), sharing("share", "backend", 80)) // alone, it may change the key
	s.gets("! 1.2.4.3 is in use by default/four, which has port TCP/80 too: use another port or address", "three", asking("1.2.4.3"), sharing("share", "backend", 80))
	s.gets(`! 1.2.4.3 is in use by default/four, which shares it under another key, "share" instead of "othershare"`, "three", asking("1.2.4.3"), sharing("othershare", "backend", 443))
	s.gets("! 1.2.4.3 is in use by default/four, which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share", "three", asking("1.2.4.3"), sharing("share", "otherbackend", 443))
	s.gets(`! 1.2.4.3 is in use by default/four, which shares it under the key "share": set the same allow-shared-ip`, "three", asking("1.2.4.3"))
	s.gets("1.2.4.3", "three", asking("1.2.4.3"), sharing("share", "backend", 443))
	s.gets(`1.2.4.3 ! 1.2.4.3 is in use by default/four, which shares it under another key, "share" instead of "othershare"`, "three", asking("1.2.4.3"), sharing("othershare", "backend", 443))
	s.gets("1.2.4.3", "five", sharing("share", "backend", 53)) // shares without asking for the address
	s.gets("1.2.4.0", "five", sharing("share", "backend", 80)) // its new port clashes: it moves
	s.releases("four")
	s.gets("1.2.4.3", "three", sharing("share", "backend", 443))
	if got := s.a.Usage()["a"].InUseIPv4; got != 2 {
		t.Errorf("%d addresses in use, want 2", got)
	}
}

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

func TestRestoreOlderKeeps(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"))
	s.a.Restore(s.request("old"), addrs("10.0.0.2"))
	s.a.Restore(s.request("young"), addrs("10.0.0.2"))
	s.gets("10.0.0.2", "old")
	result, err := s.a.Allocate(s.request("young"), s.now)
	want := Result{Addresses: addrs("10.0.0.0"), Lost: []Loss{{addrs("10.0.0.2")[0], "10.0.0.2 is in use by default/old"}}}
	if diff := cmp.Diff(want, result, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("young (-want +got):\n%s%v", diff, err)
	}
}

func TestRestoredBeforeAnyPoolIsLeftAlone(t *testing.T) {
	s := newStory(t)
	s.a.Restore(s.request("one"), addrs("10.0.0.2"))
	s.gets("10.0.0.2", "one")
	s.a.SetPools([]Pool{pool(t, "a", "10.0.0.0/30")})
	s.gets("10.0.0.2", "one")
	if got := s.a.Usage()["a"].InUseIPv4; got != 1 {
		t.Errorf("%d addresses in use, want 1", got)
	}
}

func TestReleasedAddressIsLastToBeReused(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0-10.0.0.3"))
	s.gets("10.0.0.0", "one")
	s.gets("10.0.0.1", "two")
	s.releases("two")
	s.releases("one")
	s.gets("10.0.0.2", "three")
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0-10.0.0.3")}) // an edit of the pool does not forget it
	s.gets("10.0.0.3", "four")
	s.gets("10.0.0.1", "five")
	s.gets("10.0.0.0", "six")
}

func TestRecreatedUnderItsNameWithinTenMinutes(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/28"))
	s.gets("10.0.0.0", "first")
	s.gets("10.0.0.1", "web")
	s.releases("web")
	s.now = s.now.Add(9 * time.Minute)
	again := func(r *Request) { r.ID = "another UID" }
	s.gets("10.0.0.1", "web", again)
	s.releases("another UID")
	s.now = s.now.Add(11 * time.Minute)
	s.gets("10.0.0.2", "web", again)
}

func TestWaitingServicesAreServedOldestFirst(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/32"))
	full := "! no free IPv4 address in pool a: 1 of 1 in use"
	age := func(minutes int) option {
		return func(r *Request) { r.Created = epoch.Add(time.Duration(minutes) * time.Minute) }
	}
	s.gets("10.0.0.0", "first")
	s.gets(full, "young", age(9))
	s.gets(full, "old", age(3))
	s.releases("first")
	if diff := cmp.Diff([]string{"old"}, s.a.Settle(false, s.now)); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	s.gets("10.0.0.0", "old", age(3))
	s.gets(full, "young", age(9))
}

func TestQuarantine(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/31"))
	s.gets("10.0.0.0", "one")
	s.releases("one")
	s.a.Quarantine(addrs("10.0.0.0")[0], "node1", s.now)
	s.gets("! 10.0.0.0 is being withdrawn by node node1: it is free again within 30 s", "asked", asking("10.0.0.0"))
	s.gets("10.0.0.1", "two")
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0/31")})
	s.gets("! no free IPv4 address in pool b: 1 of 2 in use, 1 being withdrawn or in conflict with another host", "three")
	s.a.EndQuarantine(addrs("10.0.0.0")[0])
	s.gets("10.0.0.0", "three")
}

// TestNeverTwoHoldersOfOneAddress plays random histories and checks the counters and every pair of Services after each step.
func TestNeverTwoHoldersOfOneAddress(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := newStory(t)
		for range 200 {
			name := fmt.Sprint("s", random.IntN(12))
			settled := heldBySettled(s.a, name)
			switch random.IntN(8) {
			case 0:
				settled = nil
				var pools []Pool
				for i := range random.IntN(4) {
					first := random.IntN(12)
					p := pool(t, fmt.Sprint("p", i), fmt.Sprintf("10.0.0.%d-10.0.0.%d", first, first+random.IntN(5)), fmt.Sprintf("fd00::%x-fd00::%x", first, first+random.IntN(5)))
					p.AutoAssign, p.AvoidBuggyIPs, p.Unreadable = random.IntN(4) > 0, random.IntN(2) == 0, random.IntN(8) == 0
					pools = append(pools, p)
				}
				s.a.SetPools(pools)
				s.a.Settle(true, s.now)
			case 1, 2:
				s.a.Release(name, s.now)
				s.a.Settle(false, s.now)
			default:
				r := s.request(name, []option{families(IPv4), families(IPv6), dual, flexible}[random.IntN(4)])
				if random.IntN(2) == 0 {
					sharing("key", "", uint16(random.IntN(3)))(&r)
				}
				if random.IntN(4) == 0 && len(r.Families) == 1 && r.Families[0] == IPv4 {
					asking(fmt.Sprintf("10.0.0.%d", random.IntN(16)))(&r)
				}
				s.a.Allocate(r, s.now)
			}
			checkInvariants(t, s.a)
			for other, held := range settled {
				if got := s.a.Held(other); !slices.Equal(got, held) {
					t.Errorf("%s has %v, and had %v before something happened to %s", other, got, held, name)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// heldBySettled are the addresses of all Services but one, those left out that wait for others.
func heldBySettled(a *Allocator, but string) map[string][]netip.Addr {
	held := map[string][]netip.Addr{}
	for id, s := range a.services {
		if _, waits := a.waiting[s]; !waits && id != but {
			held[id] = slices.Clone(s.addrs)
		}
	}
	return held
}

func checkInvariants(t *testing.T, a *Allocator) {
	t.Helper()
	for addr, holders := range a.holders {
		for i, one := range holders {
			for _, two := range holders[:i] {
				x, y := one.request, two.request
				x.Sharing, y.Sharing = one.terms, two.terms
				if err := mayShare(addr, &x, &y); err != nil {
					t.Errorf("%s and %s hold %s: %v", x.ID, y.ID, addr, err)
				}
			}
		}
	}
	for _, p := range a.pools {
		for family, free := range p.free {
			var untouched int64
			free.untouched.Ascend(func(r Range) bool {
				untouched += r.Size()
				if p.AvoidBuggyIPs {
					untouched -= buggyCount(r)
				}
				return true
			})
			if got := untouched + int64(free.released.Len()) + p.inUse[family]; got != p.total[family] {
				t.Errorf("pool %s %s: %d untouched + %d released + %d in use, but %d in all", p.Name, family, untouched, free.released.Len(), p.inUse[family], p.total[family])
			}
		}
	}
}

func BenchmarkAllocate(b *testing.B) {
	for _, entry := range []string{"10.0.0.0/8", "fd00::/64"} {
		b.Run(entry, func(b *testing.B) {
			for range b.N {
				a := NewAllocator()
				a.SetPools([]Pool{{Name: "p", AutoAssign: true, AvoidBuggyIPs: true, Ranges: ranges(b, entry)}})
				r := Request{Families: []Family{FamilyOf(a.index[0].First)}, Created: epoch}
				for i := range 100_000 {
					r.ID = fmt.Sprint(i)
					r.Name = r.ID
					if _, err := a.Allocate(r, epoch); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/address")
		})
	}
}
