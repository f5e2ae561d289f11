// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
)

// Overlap says that a pool does not use a range because an older pool has it.
type Overlap struct {
	Pool, With string
	Range      Range
}

// placedPool is a pool in an allocator: what is left of its ranges after older pools took theirs, and what is free.
type placedPool struct {
	Pool
	ranges   []Range
	free     map[Family]*freeSet
	withheld map[Family]map[netip.Addr]struct{} // neither free nor in use
	total    map[Family]int64
	inUse    map[Family]int64
}

// indexed is a range and the pool that has it.
type indexed struct {
	Range
	pool *placedPool
}

// place takes the ranges that older pools already have out of a pool.
func place(pool Pool, older []*placedPool) (*placedPool, []Overlap) {
	var overlaps []Overlap
	left := union(pool.Ranges)
	for _, other := range older {
		for _, mine := range left {
			for _, theirs := range other.ranges {
				if mine.Overlaps(theirs) {
					common := Range{maxAddr(mine.First, theirs.First), minAddr(mine.Last, theirs.Last)}
					overlaps = append(overlaps, Overlap{Pool: pool.Name, With: other.Name, Range: common})
				}
			}
		}
		left = subtractAll(left, other.ranges)
	}
	placed := &placedPool{
		Pool:     pool,
		ranges:   left,
		free:     map[Family]*freeSet{IPv4: newFreeSet(pool.AvoidBuggyIPs), IPv6: newFreeSet(pool.AvoidBuggyIPs)},
		withheld: map[Family]map[netip.Addr]struct{}{IPv4: {}, IPv6: {}},
		total:    map[Family]int64{},
		inUse:    map[Family]int64{},
	}
	for _, r := range left {
		placed.free[r.Family()].add(r)
		size := r.Size()
		if pool.AvoidBuggyIPs {
			size -= buggyCount(r)
		}
		placed.total[r.Family()] = addSaturating(placed.total[r.Family()], size)
	}
	return placed, overlaps
}

func minAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}

func (p *placedPool) avoids(addr netip.Addr) bool { return p.AvoidBuggyIPs && buggy(addr) }

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

// carryOver takes what is held or withheld out of the new pools, and keeps the order in which addresses were released.
func (a *Allocator) carryOver(former []*placedPool) {
	for addr := range a.holders {
		if pool := a.poolOf(addr); pool != nil {
			pool.inUse[FamilyOf(addr)]++
		}
		a.refresh(addr)
	}
	for addr := range a.quarantined {
		a.refresh(addr)
	}
	for addr := range a.conflicts {
		a.refresh(addr)
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
