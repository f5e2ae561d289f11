// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkInvariants counts everything again, address by address, from what the Services say they hold. Pools must be small.
func checkInvariants(t *testing.T, a *Allocator) {
	t.Helper()
	holders := map[netip.Addr][]*service{}
	for _, s := range a.services {
		for i, addr := range s.addrs {
			if slices.ContainsFunc(s.addrs[:i], func(other netip.Addr) bool { return FamilyOf(other) == FamilyOf(addr) }) {
				t.Errorf("%s holds two addresses of one family: %v", s.request.ID, s.addrs)
			}
			holders[addr] = append(holders[addr], s)
		}
		if _, waits := a.waiting[s]; waits != (s.err != nil || len(s.addrs) < len(s.request.Families)) {
			t.Errorf("%s waits: %t, holds %v, %v", s.request.ID, waits, s.addrs, s.err)
		}
	}
	if len(holders) != len(a.holders) {
		t.Errorf("%d addresses are held, but %d have holders", len(holders), len(a.holders))
	}
	for addr, sharers := range holders {
		checkSharers(t, a, addr, sharers)
		if _, quarantined := a.quarantined[addr]; quarantined {
			t.Errorf("%s is in quarantine and held", addr)
		}
	}
	checkKeys(t, a, holders)
	usage := a.Usage()
	for _, p := range a.pools {
		if got, want := usage[p.Name], recount(t, a, p, holders); got != want {
			t.Errorf("pool %s counts %+v, but has %+v", p.Name, got, want)
		}
	}
}

func checkSharers(t *testing.T, a *Allocator, addr netip.Addr, sharers []*service) {
	t.Helper()
	for i, one := range sharers {
		for _, two := range sharers[:i] {
			x := one.request
			x.Sharing = one.terms
			younger := one
			if compareAge(&two.request, &x) > 0 {
				younger = two
			}
			if one.terms.Key != "" && two.terms.Key != "" && (younger.err != nil || !a.configured) {
				continue // records brought them together, and it has not found another address yet, or no pool has been read
			}
			if err := mayShare(addr, &x, &two.request, &two.terms); err != nil {
				t.Errorf("%s and %s hold %s: %v", x.ID, two.request.ID, addr, err)
			}
		}
	}
}

// checkKeys compares the index of sharing keys with the terms of those who hold addresses.
func checkKeys(t *testing.T, a *Allocator, holders map[netip.Addr][]*service) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for addr, sharers := range holders {
		for _, s := range sharers {
			if s.terms.Key != "" {
				want[s.terms.Key+" "+addr.String()] = true
			}
		}
	}
	for key, shared := range a.shared {
		checkSearches(t, a, key, shared)
		shared.addrs.Ascend(func(addr netip.Addr) bool {
			got[key+" "+addr.String()] = true
			return true
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sharing keys (-want +got):\n%s", diff)
	}
}

// checkSearches looks for an address that a search has passed and would find if it began anew.
func checkSearches(t *testing.T, a *Allocator, key string, shared *sharers) {
	t.Helper()
	for who, past := range shared.searches {
		terms := Sharing{Key: key, Backend: who.backend}
		for name := range strings.FieldsSeq(who.ports) {
			protocol, number, _ := strings.Cut(name, "/")
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			terms.Ports = append(terms.Ports, Port{protocol, uint16(n)})
		}
		shared.addrs.Ascend(func(addr netip.Addr) bool {
			if addr.Less(past.end) && !past.changed.Has(addr) && a.joinable(&terms, who, addr) {
				t.Errorf("%s can be joined under the key %q by %+v, but has been passed", addr, key, who)
			}
			return true
		})
	}
}

// recount looks at every address of a pool: it is avoided, held, withheld or free.
func recount(t *testing.T, a *Allocator, p *placedPool, holders map[netip.Addr][]*service) Usage {
	t.Helper()
	var usage Usage
	free := map[Family]int64{}
	for _, r := range p.ranges {
		if r.Size() > 1<<12 {
			t.Fatalf("%s is too large to be counted one by one", r)
		}
		for addr := r.First; r.Contains(addr); addr = addr.Next() {
			if p.AvoidBuggyIPs && buggy(addr) {
				continue
			}
			held := int64(min(1, len(holders[addr])))
			if FamilyOf(addr) == IPv4 {
				usage.TotalIPv4, usage.InUseIPv4, usage.AvailableIPv4 = usage.TotalIPv4+1, usage.InUseIPv4+held, usage.AvailableIPv4+1-held
			} else {
				usage.TotalIPv6, usage.InUseIPv6, usage.AvailableIPv6 = usage.TotalIPv6+1, usage.InUseIPv6+held, usage.AvailableIPv6+1-held
			}
			_, quarantined := a.quarantined[addr]
			_, conflict := a.conflicts[addr]
			isFree := held == 0 && !quarantined && !conflict
			if isFree {
				free[FamilyOf(addr)]++
			}
			if got := p.free[FamilyOf(addr)].contains(addr); got != isFree {
				t.Errorf("%s is free in pool %s: %t, want %t", addr, p.Name, got, isFree)
			}
			if _, got := p.withheld[FamilyOf(addr)][addr]; got != (held == 0 && !isFree) {
				t.Errorf("%s is withheld in pool %s: %t, want %t", addr, p.Name, got, held == 0 && !isFree)
			}
		}
	}
	for family, set := range p.free {
		got := int64(set.released.Len())
		set.untouched.Ascend(func(r Range) bool {
			got += r.Size()
			if p.AvoidBuggyIPs {
				got -= buggyCount(r)
			}
			return true
		})
		if got != free[family] {
			t.Errorf("pool %s has %d free %s addresses, want %d", p.Name, got, family, free[family])
		}
	}
	return usage
}
