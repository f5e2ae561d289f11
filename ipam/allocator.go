// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Allocator knows all pools, and which Service holds which address. It is not safe for concurrent use.
type Allocator struct {
	pools      []*placedPool // oldest first
	byName     map[string]*placedPool
	choice     []*placedPool // as automatic allocation tries them
	index      []indexed     // all ranges of all pools, disjoint, sorted
	configured bool          // there has been a pool
	unreadable bool          // a part of some pool is unknown

	services    map[string]*service
	waiting     map[*service]struct{} // those that do not hold all they ask for
	holders     map[netip.Addr][]*service
	quarantined map[netip.Addr]struct{}
	shared      map[string]map[netip.Addr]struct{} // by sharing key
	memory      memory
}

type indexed struct {
	Range
	pool *placedPool
}

// service is what the allocator knows of one Service.
type service struct {
	request Request // the latest
	terms   Sharing // under which it holds its addresses
	addrs   []netip.Addr
	lost    []Loss
	err     error // why it does not hold all it asks for
}

// Loss is an address that a Service held and holds no more, and why.
type Loss struct {
	Addr   netip.Addr
	Reason string
}

// Result is what a Service holds, in the order of its families, and what it lost since the last Result.
type Result struct {
	Addresses []netip.Addr
	Lost      []Loss
}

// NewAllocator returns an allocator without pools.
func NewAllocator() *Allocator {
	return &Allocator{
		byName:      map[string]*placedPool{},
		services:    map[string]*service{},
		waiting:     map[*service]struct{}{},
		holders:     map[netip.Addr][]*service{},
		quarantined: map[netip.Addr]struct{}{},
		shared:      map[string]map[netip.Addr]struct{}{},
		memory:      newMemory(),
	}
}

// SetPools replaces all pools. They come oldest first: where two overlap, the older has the addresses. Services keep
// what they hold until Settle or Allocate looks at them again.
func (a *Allocator) SetPools(pools []Pool) []Overlap {
	former := a.pools
	a.pools, a.index, a.unreadable = nil, nil, false
	clear(a.byName)
	var overlaps []Overlap
	for _, pool := range pools {
		placed, found := place(pool, a.pools)
		overlaps = append(overlaps, found...)
		a.pools = append(a.pools, placed)
		a.byName[pool.Name] = placed
		a.unreadable = a.unreadable || pool.Unreadable
		for _, r := range placed.ranges {
			a.index = append(a.index, indexed{r, placed})
		}
	}
	slices.SortFunc(a.index, func(x, y indexed) int { return compareRanges(x.Range, y.Range) })
	a.choice = slices.Clone(a.pools)
	slices.SortFunc(a.choice, func(x, y *placedPool) int { return compareChoice(&x.Pool, &y.Pool) })
	a.configured = a.configured || len(pools) > 0
	a.carryOver(former)
	return overlaps
}

// carryOver takes what is held out of the new pools, and keeps the order in which addresses were released.
func (a *Allocator) carryOver(former []*placedPool) {
	for addr := range a.holders {
		if pool := a.poolOf(addr); pool != nil {
			pool.free[FamilyOf(addr)].take(addr)
			pool.inUse[FamilyOf(addr)]++
		}
	}
	for addr := range a.quarantined {
		if pool := a.poolOf(addr); pool != nil {
			pool.free[FamilyOf(addr)].take(addr)
		}
	}
	for _, old := range former {
		for family, free := range old.free {
			for element := free.released.Front(); element != nil; element = element.Next() {
				addr := element.Value.(netip.Addr)
				if pool := a.poolOf(addr); pool != nil && pool.free[family].contains(addr) {
					pool.free[family].take(addr)
					pool.free[family].release(addr)
				}
			}
		}
	}
}

// poolOf finds the pool that has an address, nil if none.
func (a *Allocator) poolOf(addr netip.Addr) *placedPool {
	i, exact := slices.BinarySearchFunc(a.index, Range{First: addr}, func(x indexed, r Range) int { return compareRanges(x.Range, r) })
	if !exact {
		i--
	}
	if i < 0 || !a.index[i].Contains(addr) {
		return nil
	}
	return a.index[i].pool
}

// PoolOf names the pool that has an address.
func (a *Allocator) PoolOf(addr netip.Addr) (string, bool) {
	if pool := a.poolOf(addr); pool != nil {
		return pool.Name, true
	}
	return "", false
}

// Usage counts the addresses of every pool.
func (a *Allocator) Usage() map[string]Usage {
	usage := make(map[string]Usage, len(a.pools))
	for _, pool := range a.pools {
		usage[pool.Name] = pool.usage()
	}
	return usage
}

// Held lists the addresses that a Service holds.
func (a *Allocator) Held(id string) []netip.Addr {
	if s, ok := a.services[id]; ok {
		return slices.Clone(s.addrs)
	}
	return nil
}

// InUse tells whether any Service holds the address.
func (a *Allocator) InUse(addr netip.Addr) bool { return len(a.holders[addr]) > 0 }

// Knows tells whether the Service has been restored or has asked, and has not been released.
func (a *Allocator) Knows(id string) bool {
	_, ok := a.services[id]
	return ok
}

// Name tells what people call a Service.
func (a *Allocator) Name(id string) (namespace, name string, ok bool) {
	s, ok := a.services[id]
	if !ok {
		return "", "", false
	}
	return s.request.Namespace, s.request.Name, true
}

// Restore gives a Service the addresses that a record says it holds. Call it for the oldest Service first: where two
// claim what they cannot share, the first keeps it. Whether the addresses fit is left to Allocate.
func (a *Allocator) Restore(r Request, addrs []netip.Addr) {
	s := a.know(r)
	for _, addr := range addrs {
		if err := a.conflict(s, addr); err != nil {
			s.lost = append(s.lost, Loss{addr, err.Error()})
			continue
		}
		a.hold(s, addr)
	}
}

// Allocate gives a Service what it asks for, and keeps whatever of it the Service holds already. With an error, the
// Result is what it holds all the same: an address in use is not given up for one that cannot be had.
func (a *Allocator) Allocate(r Request, now time.Time) (Result, error) {
	s := a.know(r)
	a.attempt(s, now)
	result := Result{Addresses: slices.Clone(s.addrs), Lost: s.lost}
	s.lost = nil
	return result, s.err
}

// Update replaces what a Service asks for, for the next Settle to look at.
func (a *Allocator) Update(r Request) {
	if a.Knows(r.ID) {
		a.know(r)
	}
}

// Settle tries again for Services that wait for an address, oldest first, and with all also for those whose addresses
// may no longer fit. It returns the IDs of those for whom something changed.
func (a *Allocator) Settle(all bool, now time.Time) []string {
	candidates := slices.Collect(maps.Keys(a.waiting))
	if all {
		candidates = slices.Collect(maps.Values(a.services))
	}
	slices.SortFunc(candidates, func(x, y *service) int { return compareAge(&x.request, &y.request) })
	var changed []string
	for _, s := range candidates {
		before, beforeErr := slices.Clone(s.addrs), errorText(s.err)
		a.attempt(s, now)
		if !slices.Equal(before, s.addrs) || all && beforeErr != errorText(s.err) {
			changed = append(changed, s.request.ID)
		}
	}
	return changed
}

// Release takes everything from a Service and returns the addresses that nobody holds any more.
func (a *Allocator) Release(id string, now time.Time) (freed []netip.Addr) {
	s, ok := a.services[id]
	if !ok {
		return nil
	}
	if len(s.addrs) > 0 {
		a.memory.remember(s.request.fullName(), s.addrs, now)
	}
	for _, addr := range slices.Clone(s.addrs) {
		if a.drop(s, addr) {
			freed = append(freed, addr)
		}
	}
	delete(a.services, id)
	delete(a.waiting, s)
	return freed
}

// Quarantine keeps a free address from being handed out until EndQuarantine.
func (a *Allocator) Quarantine(addr netip.Addr) {
	a.quarantined[addr] = struct{}{}
	if pool := a.poolOf(addr); pool != nil {
		pool.free[FamilyOf(addr)].take(addr)
	}
}

// EndQuarantine makes the address free again. It is the last to be handed out.
func (a *Allocator) EndQuarantine(addr netip.Addr) {
	if _, ok := a.quarantined[addr]; !ok {
		return
	}
	delete(a.quarantined, addr)
	if pool := a.poolOf(addr); pool != nil && !a.InUse(addr) {
		pool.free[FamilyOf(addr)].release(addr)
	}
}

func (a *Allocator) know(r Request) *service {
	s, ok := a.services[r.ID]
	if !ok {
		s = &service{terms: r.Sharing}
		a.services[r.ID] = s
	}
	s.request = r
	return s
}

// fit says whether a Service may go on holding an address.
type fit int

const (
	fits  fit = iota
	yield     // it asks for another one, and keeps this until it has it
	gone      // it must not have it any more
)

// attempt allocates and keeps track of who waits.
func (a *Allocator) attempt(s *service, now time.Time) {
	s.err = a.allocate(s, now)
	if s.err != nil || len(s.addrs) < len(s.request.Families) {
		a.waiting[s] = struct{}{}
		return
	}
	delete(a.waiting, s)
}

func (a *Allocator) allocate(s *service, now time.Time) error {
	if err := s.request.validate(); err != nil {
		return err
	}
	kept := map[Family]netip.Addr{}
	yielding := map[Family]netip.Addr{}
	for _, addr := range slices.Clone(s.addrs) {
		family := FamilyOf(addr)
		verdict, reason := a.fit(s, addr)
		switch {
		case verdict == gone, kept[family].IsValid(), yielding[family].IsValid():
			s.lost = append(s.lost, Loss{addr, reason})
			a.drop(s, addr)
		case verdict == yield:
			yielding[family] = addr
		default:
			kept[family] = addr
		}
	}
	chosen, err := a.choose(&s.request, s, kept, yielding, now)
	for family, addr := range chosen {
		if old, ok := yielding[family]; ok {
			s.lost = append(s.lost, Loss{old, "the Service asks for another one"})
			a.drop(s, old)
		}
		a.hold(s, addr)
	}
	a.agree(s)
	s.request.inOrder(s.addrs)
	return err
}

// fit judges an address that a Service holds against what it asks for now.
func (a *Allocator) fit(s *service, addr netip.Addr) (fit, string) {
	r := &s.request
	pool := a.poolOf(addr)
	asked, byName := r.asked(FamilyOf(addr))
	switch {
	case !slices.Contains(r.Families, FamilyOf(addr)):
		return gone, fmt.Sprintf("the Service has no %s any more", FamilyOf(addr))
	case pool == nil && !a.configured:
		return fits, ""
	case pool == nil && !a.unreadable:
		return gone, "no pool has it any more"
	case pool != nil && pool.avoids(addr):
		return gone, fmt.Sprintf("pool %s avoids addresses that end in .0 or .255", pool.Name)
	case pool != nil && !pool.serves(r) && !pool.Unreadable:
		return gone, fmt.Sprintf("pool %s does not serve this Service any more", pool.Name)
	case byName && asked != addr, pool != nil && r.Pool != "" && r.Pool != pool.Name:
		return yield, ""
	case a.conflict(s, addr) != nil:
		return yield, ""
	}
	return fits, "the Service holds another one of this family"
}

// conflict says why a Service cannot hold an address beside those who do.
func (a *Allocator) conflict(s *service, addr netip.Addr) error {
	for _, holder := range a.holders[addr] {
		if holder == s {
			continue
		}
		agreed := holder.request
		agreed.Sharing = holder.terms
		if err := mayShare(addr, &s.request, &agreed); err != nil {
			return err
		}
	}
	return nil
}

func (a *Allocator) hold(s *service, addr netip.Addr) {
	if slices.Contains(s.addrs, addr) {
		return
	}
	if len(a.holders[addr]) == 0 {
		if pool := a.poolOf(addr); pool != nil {
			pool.free[FamilyOf(addr)].take(addr)
			pool.inUse[FamilyOf(addr)]++
		}
	}
	s.addrs = append(s.addrs, addr)
	a.holders[addr] = append(a.holders[addr], s)
	a.indexKey(s, addr)
}

// drop takes an address from a Service and tells whether nobody holds it any more.
func (a *Allocator) drop(s *service, addr netip.Addr) (free bool) {
	s.addrs = slices.DeleteFunc(s.addrs, func(held netip.Addr) bool { return held == addr })
	a.holders[addr] = slices.DeleteFunc(a.holders[addr], func(holder *service) bool { return holder == s })
	a.dropKey(s, addr)
	if len(a.holders[addr]) > 0 {
		return false
	}
	delete(a.holders, addr)
	if pool := a.poolOf(addr); pool != nil {
		pool.free[FamilyOf(addr)].release(addr)
		pool.inUse[FamilyOf(addr)]--
	}
	return true
}

// agree makes what a Service now asks for the terms under which it holds its addresses, unless they clash with those
// who share them: then the old terms stay until it has other addresses.
func (a *Allocator) agree(s *service) {
	for _, addr := range s.addrs {
		if a.conflict(s, addr) != nil {
			return
		}
	}
	for _, addr := range s.addrs {
		a.dropKey(s, addr)
	}
	s.terms = s.request.Sharing
	for _, addr := range s.addrs {
		a.indexKey(s, addr)
	}
}

func (a *Allocator) indexKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	if key == "" {
		return
	}
	if a.shared[key] == nil {
		a.shared[key] = map[netip.Addr]struct{}{}
	}
	a.shared[key][addr] = struct{}{}
}

// dropKey takes an address out of the index of a Service's key when no other holder has that key.
func (a *Allocator) dropKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	for _, holder := range a.holders[addr] {
		if holder != s && holder.terms.Key == key {
			return
		}
	}
	delete(a.shared[key], addr)
	if len(a.shared[key]) == 0 {
		delete(a.shared, key)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
