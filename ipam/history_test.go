// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	histories   = flag.Int("histories", 40, "how many random histories each test of histories plays")
	historySeed = flag.Uint64("seed", 0, "of the first random history; 0 takes one from the clock")
)

// playHistories calls play with as many seeds as asked for, until one fails, and says which.
func playHistories(t *testing.T, play func(t *testing.T, random *rand.Rand)) {
	t.Helper()
	first := *historySeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for i := range uint64(*histories) {
		play(t, rand.New(rand.NewPCG(first+i, 0)))
		if t.Failed() {
			t.Fatalf("repeat it with -run '%s' -histories 1 -seed %d", t.Name(), first+i)
		}
	}
}

// TestRandomHistories lets anything happen in any order, and counts again after each step.
func TestRandomHistories(t *testing.T) {
	playHistories(t, func(t *testing.T, random *rand.Rand) {
		seed := random.Uint64()
		first := playAnything(t, rand.New(rand.NewPCG(seed, 1)))
		if diff := cmp.Diff(first, playAnything(t, rand.New(rand.NewPCG(seed, 1)))); diff != "" {
			t.Errorf("the same history ends in two ways:\n%s", diff)
		}
	})
}

// playAnything plays a history and returns what every Service holds in the end.
func playAnything(t *testing.T, random *rand.Rand) map[string]string {
	s := newStory(t)
	s.withdrawing("node1", "10.0.0.3", "10.0.0.4", "fd00::5")
	var pools []Pool
	for range 150 {
		s.now = s.now.Add(time.Duration(random.IntN(120)) * time.Second)
		name := fmt.Sprint("s", random.IntN(12))
		before, waited := holdings(s.a), waitingIDs(s.a)
		actor, restarted := name, false
		inherited := map[string][]netip.Addr{}
		for id, known := range s.a.services {
			inherited[id] = slices.Clone(known.inherited)
		}
		switch random.IntN(12) {
		case 0:
			pools = randomPools(t, random)
			s.a.SetPools(pools)
			actor = ""
		case 1, 2:
			s.a.Release(name, s.now)
		case 3:
			actor = ""
			conflicts := map[netip.Addr]string{}
			for range random.IntN(3) {
				conflicts[addrs(fmt.Sprintf("10.0.0.%d", random.IntN(16)))[0]] = takenBy
			}
			s.a.SetConflicts(conflicts)
		case 4:
			actor = ""
			for _, q := range s.a.Quarantined() {
				s.a.EndQuarantine(q.Addr)
			}
		case 5:
			actor, restarted = "", true
			s.restart(random, pools)
		default:
			s.a.Allocate(randomRequest(s, random, name), s.now)
		}
		s.a.Settle(actor == "", s.now)
		checkInvariants(t, s.a)
		for id, held := range before {
			for _, addr := range held {
				replaced := slices.ContainsFunc(s.a.Held(id), func(other netip.Addr) bool { return FamilyOf(other) == FamilyOf(addr) })
				mayMove := waited[id]
				if restarted {
					mayMove = replaced // who of two sharers changed its terms is in no record: the younger one leaves
				}
				if id != actor && !mayMove && !slices.Contains(s.a.Held(id), addr) && !mayLose(s.a, id, addr, slices.Contains(inherited[id], addr)) {
					t.Errorf("%s lost %s when something happened to %q", id, addr, actor)
				}
			}
		}
	}
	end := map[string]string{}
	for id, held := range holdings(s.a) {
		end[id] = fmt.Sprint(held)
	}
	checkEveryFreeAddressCanBeHad(t, s)
	return end
}

func randomPools(t *testing.T, random *rand.Rand) []Pool {
	var pools []Pool
	for i := range random.IntN(4) {
		first := random.IntN(12)
		p := pool(t, fmt.Sprint("p", i), fmt.Sprintf("10.0.0.%d-10.0.0.%d", first, first+random.IntN(5)), fmt.Sprintf("fd00::%x-fd00::%x", first, first+random.IntN(5)))
		p.AutoAssign, p.AvoidBuggyIPs, p.Unreadable = random.IntN(4) > 0, random.IntN(2) == 0, random.IntN(8) == 0
		if random.IntN(3) == 0 {
			p.Reservation = &Reservation{Priority: random.IntN(3), Namespaces: []string{"default"}[:random.IntN(2)]}
		}
		pools = append(pools, p)
	}
	return pools
}

func randomRequest(s *story, random *rand.Rand, name string) Request {
	r := s.request(name, []option{families(IPv4), families(IPv6), dual, dual64, flexible}[random.IntN(5)], in([]string{"default", "other"}[random.IntN(2)]))
	number, _ := strconv.Atoi(strings.TrimPrefix(name, "s"))
	r.Created = epoch.Add(time.Duration(number) * time.Second) // the same whatever it asks for: who is older does not change
	if random.IntN(2) == 0 {
		sharing([]string{"k", "l"}[random.IntN(2)], "", uint16(random.IntN(3)))(&r)
	}
	if random.IntN(4) == 0 && len(r.Families) == 1 && r.Families[0] == IPv4 {
		asking(fmt.Sprintf("10.0.0.%d", random.IntN(16)))(&r)
	}
	if random.IntN(8) == 0 {
		r.Pool = fmt.Sprint("p", random.IntN(4))
	}
	return r
}

func holdings(a *Allocator) map[string][]netip.Addr {
	held := map[string][]netip.Addr{}
	for id := range a.services {
		held[id] = a.Held(id)
	}
	return held
}

// waitingIDs are the Services that want something else than what they have: they may well give it up.
func waitingIDs(a *Allocator) map[string]bool {
	ids := map[string]bool{}
	for s := range a.waiting {
		ids[s.request.ID] = true
	}
	return ids
}

// mayLose tells whether pools or other hosts leave a Service an address.
func mayLose(a *Allocator, id string, addr netip.Addr, inherited bool) bool {
	p := a.poolOf(addr)
	_, conflict := a.conflicts[addr]
	switch {
	case conflict && !inherited:
		return true
	case p == nil:
		return a.configured && !a.unreadable
	}
	request := &a.services[id].request
	return p.avoids(addr) || !p.serves(request) && !p.Unreadable || request.Pool != "" && request.Pool != p.Name
}

// restart makes a new allocator out of the records, as a new leader does, and lets everybody ask again in any order. A
// Service that still shares and asks for no sharing any more would be one of two claims of one address.
func (s *story) restart(random *rand.Rand, pools []Pool) {
	former := s.a
	for _, known := range former.services {
		if known.terms.Key != "" && known.request.Sharing.Key == "" && len(known.addrs) > 0 {
			return
		}
	}
	s.a = NewAllocator()
	s.a.SetOptions(former.options)
	poolsFirst := random.IntN(2) == 0
	if poolsFirst {
		s.a.SetPools(pools)
	}
	var requests []Request
	for _, known := range former.services {
		requests = append(requests, known.request)
	}
	slices.SortFunc(requests, func(x, y Request) int { return compareAge(&x, &y) })
	for _, r := range requests {
		s.a.Restore(r, former.Held(r.ID), random.IntN(2) == 0)
	}
	for _, q := range former.Quarantined() {
		s.a.Quarantine(q.Addr, q.Node, q.Since)
	}
	s.a.SetConflicts(former.conflicts)
	if !poolsFirst {
		s.a.SetPools(pools)
	}
	random.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	for _, r := range requests {
		s.a.Allocate(r, s.now)
	}
}

// checkEveryFreeAddressCanBeHad takes all addresses that the pools say are available, by name, until none is left.
func checkEveryFreeAddressCanBeHad(t *testing.T, s *story) {
	t.Helper()
	s.a.SetConflicts(nil)
	for _, q := range s.a.Quarantined() {
		s.a.EndQuarantine(q.Addr)
	}
	for _, p := range s.a.pools {
		for i := 0; ; i++ {
			usage := p.usage()
			family := IPv4
			if usage.AvailableIPv4 == 0 {
				family = IPv6
			}
			if usage.AvailableIPv4+usage.AvailableIPv6 == 0 {
				break
			}
			name := fmt.Sprint(p.Name, " taker ", i)
			r := s.request(name, families(family), from(p.Name), in("default"))
			if result, err := s.a.Allocate(r, s.now); err != nil || len(result.Addresses) != 1 || s.a.poolOf(result.Addresses[0]) != p {
				t.Errorf("pool %s has %+v, but gives %v, %v", p.Name, usage, result.Addresses, err)
				return
			}
		}
	}
	checkInvariants(t, s.a)
}

// TestPoolsAreAFunctionOfTheFinalState: where the rules leave each Service one pool and room in it, it does not matter
// what happened before: who holds addresses, and of which pools, can be told from the Services and pools alone.
func TestPoolsAreAFunctionOfTheFinalState(t *testing.T) {
	playHistories(t, func(t *testing.T, random *rand.Rand) {
		pools := []Pool{tenantPool(t, 0, 255), tenantPool(t, 1, 255), tenantPool(t, 2, 255)}
		smaller := []Pool{tenantPool(t, 2, 127), tenantPool(t, 1, 127), tenantPool(t, 0, 127)}
		s := newStory(t, pools...)
		latest := map[string]Request{}
		for range 200 {
			name := fmt.Sprint("s", random.IntN(30))
			switch random.IntN(8) {
			case 0:
				s.a.Release(name, s.now)
				delete(latest, name)
			case 1:
				s.restart(random, pools)
			case 2:
				s.a.SetPools([][]Pool{pools, smaller}[random.IntN(2)])
				s.a.Settle(true, s.now)
			default:
				r := tenantRequest(s, random, name)
				latest[name] = r
				s.a.Allocate(r, s.now)
			}
			s.a.Settle(false, s.now)
		}
		s.a.SetPools(pools)
		s.a.Settle(true, s.now)
		for name, r := range latest {
			var want, got []string
			if r.Namespace != "tenant3" { // which has no pool
				for _, family := range r.Families {
					want = append(want, fmt.Sprintf("pool%s %s", strings.TrimPrefix(r.Namespace, "tenant"), family))
				}
			}
			for _, addr := range s.a.Held(name) {
				pool, _ := s.a.PoolOf(addr)
				got = append(got, fmt.Sprintf("%s %s", pool, FamilyOf(addr)))
			}
			if !slices.Equal(want, got) {
				t.Errorf("%s of %s has %v of %v, want %v", name, r.Namespace, s.a.Held(name), got, want)
			}
		}
	})
}

func tenantPool(t *testing.T, tenant, last int) Pool {
	p := pool(t, fmt.Sprint("pool", tenant), fmt.Sprintf("10.0.%d.1-10.0.%d.%d", tenant, tenant, last), fmt.Sprintf("fd00:%d::-fd00:%d::%x", tenant, tenant, last))
	p.Reservation = &Reservation{Namespaces: []string{fmt.Sprint("tenant", tenant)}}
	return p
}

func tenantRequest(s *story, random *rand.Rand, name string) Request {
	return s.request(name, []option{families(IPv4), families(IPv6), dual, dual64, flexible}[random.IntN(5)], in(fmt.Sprint("tenant", random.IntN(4))))
}

// TestAddressesAreAFunctionOfTheFinalState: when nothing is ever released, the oldest Service has the lowest address, even
// where addresses run out, and pools grow, and leaders change, and Services come before their pools.
func TestAddressesAreAFunctionOfTheFinalState(t *testing.T) {
	playHistories(t, func(t *testing.T, random *rand.Rand) {
		s := newStory(t)
		pools := make([]Pool, 3)
		size := [3]int{}
		grow := func(i int) {
			size[i] += 1 + random.IntN(5)
			pools[i] = tenantPool(t, i, size[i])
			var exist []Pool
			for i, p := range pools {
				if size[i] > 0 {
					exist = append(exist, p)
				}
			}
			random.Shuffle(len(exist), func(i, j int) { exist[i], exist[j] = exist[j], exist[i] })
			s.a.SetPools(exist)
			s.a.Settle(true, s.now)
		}
		var requests []Request
		for i := range 60 {
			switch random.IntN(4) {
			case 0:
				grow(random.IntN(3))
			case 1:
				s.restart(random, slices.DeleteFunc(slices.Clone(pools), func(p Pool) bool { return p.Name == "" }))
				s.a.Settle(true, s.now)
			default:
				r := s.request(fmt.Sprint("s", i), families(IPv4), in(fmt.Sprint("tenant", random.IntN(3))))
				r.Created = epoch.Add(time.Duration(i) * time.Second)
				requests = append(requests, r)
				s.a.Allocate(r, s.now)
			}
		}
		used := map[string]int{}
		for _, r := range requests {
			tenant := r.Namespace[len("tenant"):]
			used[tenant]++
			var want []netip.Addr
			if last := size[tenant[0]-'0']; used[tenant] <= last {
				want = addrs(fmt.Sprintf("10.0.%s.%d", tenant, used[tenant]))
			}
			if got := s.a.Held(r.ID); !slices.Equal(got, want) {
				t.Errorf("%s, number %d of %s, has %v, want %v", r.ID, used[tenant], r.Namespace, got, want)
			}
		}
		checkInvariants(t, s.a)
	})
}
