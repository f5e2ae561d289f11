// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

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
