// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// choose finds an address for every family that is not kept. All or nothing, unless the Service is flexible and gives
// nothing up: what it yields, it yields only for something else. An address in conflict is replaced in any case.
func (a *Allocator) choose(r *Request, s *service, kept map[Family]netip.Addr, yielding map[Family]Loss, now time.Time) (map[Family]netip.Addr, error) {
	var missing []Family
	for _, family := range r.Families {
		if !kept[family].IsValid() {
			missing = append(missing, family)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	candidates, err := a.candidates(r)
	if err != nil {
		return nil, err
	}
	if len(r.Addresses) > 0 {
		return a.chooseAsked(r, s, missing)
	}
	if err := a.awaited(r, missing, candidates, now); err != nil {
		return nil, err
	}
	chosen := a.chooseAny(s, missing, kept, candidates, now)
	if len(chosen) == len(missing) {
		return chosen, nil
	}
	err = a.exhausted(r, missing, chosen, candidates)
	if r.Flexible && len(chosen)+len(kept) > 0 && covers(chosen, yielding) {
		return chosen, nil
	}
	maps.DeleteFunc(chosen, func(family Family, _ netip.Addr) bool { return !a.inConflict(yielding[family].Addr) })
	for family, loss := range yielding {
		if !chosen[family].IsValid() && a.clash(s, loss.Addr) != nil {
			return nil, err // while it shares this one on its old terms, it joins nobody on the new ones
		}
	}
	return chosen, err
}

// covers tells whether there is another address for every one that is yielded.
func covers(chosen map[Family]netip.Addr, yielding map[Family]Loss) bool {
	for family := range yielding {
		if !chosen[family].IsValid() {
			return false
		}
	}
	return true
}

// chooseAsked takes the addresses that the request names.
func (a *Allocator) chooseAsked(r *Request, s *service, missing []Family) (map[Family]netip.Addr, error) {
	chosen := map[Family]netip.Addr{}
	for _, family := range missing {
		addr, _ := r.asked(family)
		pool := a.poolOf(addr)
		quarantine, quarantined := a.quarantined[addr]
		switch {
		case pool == nil:
			return nil, fmt.Errorf("%s is in no pool: add it to one, or ask for an address of %s", addr, a.describePools())
		case r.Pool != "" && pool.Name != r.Pool:
			return nil, fmt.Errorf("%s is in pool %s, but the Service asks for pool %s: drop one of the two", addr, pool.Name, r.Pool)
		case pool.avoids(addr):
			return nil, fmt.Errorf("%s is left out of pool %s by avoidBuggyIPs: ask for another address", addr, pool.Name)
		case !pool.serves(r):
			return nil, fmt.Errorf("%s is in pool %s, which is reserved for other Services: see its serviceAllocation", addr, pool.Name)
		case quarantined:
			return nil, fmt.Errorf("%s %s", addr, quarantine)
		}
		if err := a.clashJoining(s, addr); err != nil {
			return nil, err
		}
		chosen[family] = addr
	}
	return chosen, nil
}

// candidates are the pools that a request may be served from, in the order in which they are tried.
func (a *Allocator) candidates(r *Request) ([]*placedPool, error) {
	if len(a.pools) == 0 {
		return nil, errors.New("there is no IPAddressPool: create one with the addresses that Services may have")
	}
	if r.Pool != "" {
		pool, ok := a.byName[r.Pool]
		switch {
		case !ok:
			return nil, fmt.Errorf("there is no pool %s: ask for one of %s", Quote(r.Pool), a.describePools())
		case !pool.serves(r):
			return nil, fmt.Errorf("pool %s is reserved for other Services: see its serviceAllocation", pool.Name)
		}
		return []*placedPool{pool}, nil
	}
	if len(r.Addresses) > 0 {
		return a.choice, nil
	}
	var candidates []*placedPool
	for _, pool := range a.choice {
		if pool.AutoAssign && pool.serves(r) {
			candidates = append(candidates, pool)
		}
	}
	if len(candidates) == 0 {
		return nil, a.noneByItself(r)
	}
	return candidates, nil
}

// noneByItself says why no pool is a candidate for a Service that asks for none.
func (a *Allocator) noneByItself(r *Request) error {
	var manual []*placedPool
	for _, pool := range a.choice {
		if pool.serves(r) {
			manual = append(manual, pool)
		}
	}
	switch len(manual) {
	case 0:
		return fmt.Errorf("no pool serves this Service: see serviceAllocation of %s", a.describePools())
	case 1:
		return fmt.Errorf("no pool serves this Service by itself: autoAssign is off; ask for %s by name", describe(manual))
	}
	return fmt.Errorf("no pool serves this Service by itself: autoAssign is off; ask for one of %s by name", describe(manual))
}

// chooseAny picks addresses: what the Service's name had before, both families from one pool, each from any pool.
func (a *Allocator) chooseAny(s *service, missing []Family, kept map[Family]netip.Addr, candidates []*placedPool, now time.Time) map[Family]netip.Addr {
	chosen := a.recall(s, missing, candidates, now)
	if len(missing) > 1 && len(chosen) == 0 {
		for _, pool := range candidates {
			both := map[Family]netip.Addr{}
			for _, family := range missing {
				if addr, ok := a.pick(s, pool, family); ok {
					both[family] = addr
				}
			}
			if len(both) == len(missing) {
				return both
			}
		}
	}
	for _, family := range missing {
		if chosen[family].IsValid() {
			continue
		}
		for _, pool := range a.nearFirst(candidates, kept, chosen) {
			if addr, ok := a.pick(s, pool, family); ok {
				chosen[family] = addr
				break
			}
		}
	}
	return chosen
}

// nearFirst puts the pools that the Service's other address is from before the others.
func (a *Allocator) nearFirst(candidates []*placedPool, others ...map[Family]netip.Addr) []*placedPool {
	var near []*placedPool
	for _, addrs := range others {
		for _, addr := range addrs {
			if pool := a.poolOf(addr); pool != nil && slices.Contains(candidates, pool) {
				near = append(near, pool)
			}
		}
	}
	if len(near) == 0 {
		return candidates
	}
	return append(near, candidates...)
}

// recall finds the addresses that a Service of this name had until recently.
func (a *Allocator) recall(s *service, missing []Family, candidates []*placedPool, now time.Time) map[Family]netip.Addr {
	recalled := map[Family]netip.Addr{}
	for _, addr := range a.memory.recall(s.request.fullName(), now) {
		pool := a.poolOf(addr)
		if slices.Contains(missing, FamilyOf(addr)) && slices.Contains(candidates, pool) && pool.free[FamilyOf(addr)].contains(addr) {
			recalled[FamilyOf(addr)] = addr
		}
	}
	return recalled
}

// awaited says that an address which a Service of this name had is about to be free: it is worth waiting for.
func (a *Allocator) awaited(r *Request, missing []Family, candidates []*placedPool, now time.Time) error {
	for _, addr := range a.memory.recall(r.fullName(), now) {
		q, quarantined := a.quarantined[addr]
		if quarantined && !a.inConflict(addr) && slices.Contains(missing, FamilyOf(addr)) && slices.Contains(candidates, a.poolOf(addr)) {
			return fmt.Errorf("%s, which %s had before, %s, and the Service then gets it back", addr, r.fullName(), q)
		}
	}
	return nil
}

// pick finds an address in one pool: one that Services with the same sharing key hold already, else the lowest free.
func (a *Allocator) pick(s *service, pool *placedPool, family Family) (netip.Addr, bool) {
	if addr, ok := a.shareable(s, pool, family); ok {
		return addr, true
	}
	return pool.free[family].lowest()
}

// exhausted says why a family is missing.
func (a *Allocator) exhausted(r *Request, missing []Family, chosen map[Family]netip.Addr, candidates []*placedPool) error {
	var families []string
	var total, inUse, withheld int64
	for _, family := range missing {
		if chosen[family].IsValid() {
			continue
		}
		families = append(families, family.String())
		for _, pool := range candidates {
			total = addSaturating(total, pool.total[family])
			inUse = addSaturating(inUse, pool.inUse[family])
			withheld += int64(len(pool.withheld[family]))
		}
	}
	family := strings.Join(families, " or ")
	if total == 0 {
		return fmt.Errorf("no %s address in %s: add an %s range or pool", family, describe(candidates), family)
	}
	err := fmt.Errorf("no free %s address in %s: %d of %d in use", family, describe(candidates), inUse, total)
	if withheld > 0 {
		err = fmt.Errorf("%w, %d being withdrawn or in conflict with another host", err, withheld)
	}
	return err
}

func (a *Allocator) describePools() string { return describe(a.choice) }

// describe names pools: "pool a", "pools [a b]".
func describe(pools []*placedPool) string {
	if len(pools) == 1 {
		return "pool " + pools[0].Name
	}
	var names []string
	for _, pool := range pools[:min(len(pools), 10)] {
		names = append(names, pool.Name)
	}
	if len(pools) > 10 {
		names = append(names, "…")
	}
	return "pools [" + strings.Join(names, " ") + "]"
}
