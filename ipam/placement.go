// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"

	"github.com/google/btree"
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

// rangeTree holds disjoint ranges and whose they are, sorted.
type rangeTree struct{ *btree.BTreeG[indexed] }

func newRangeTree() rangeTree {
	return rangeTree{btree.NewG(16, func(a, b indexed) bool { return compareRanges(a.Range, b.Range) < 0 })}
}

// overlapping lists the ranges that have an address in common with r, the lowest first.
func (t rangeTree) overlapping(r Range) []indexed {
	var found []indexed
	t.DescendLessOrEqual(indexed{Range: Range{First: r.Last}}, func(other indexed) bool {
		if !other.Overlaps(r) {
			return false
		}
		found = append(found, other)
		return true
	})
	slices.Reverse(found)
	return found
}

// place takes the ranges that older pools already have out of a pool.
func place(pool Pool, older rangeTree) (*placedPool, []Overlap) {
	var overlaps []Overlap
	var left []Range
	for _, mine := range union(pool.Ranges) {
		rest := []Range{mine}
		for _, theirs := range older.overlapping(mine) {
			common := Range{maxAddr(mine.First, theirs.First), minAddr(mine.Last, theirs.Last)}
			overlaps = append(overlaps, Overlap{Pool: pool.Name, With: theirs.pool.Name, Range: common})
			last := rest[len(rest)-1]
			rest = append(rest[:len(rest)-1], last.Subtract(theirs.Range)...)
			if len(rest) == 0 {
				break
			}
		}
		left = append(left, rest...)
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
	tree := newRangeTree()
	for _, pool := range pools {
		placed, found := place(pool, tree)
		overlaps = append(overlaps, found...)
		a.pools = append(a.pools, placed)
		a.byName[pool.Name] = placed
		a.unreadable = a.unreadable || pool.Unreadable
		for _, r := range placed.ranges {
			tree.ReplaceOrInsert(indexed{r, placed})
		}
	}
	tree.Ascend(func(item indexed) bool {
		a.index = append(a.index, item)
		return true
	})
	a.choice = slices.Clone(a.pools)
	slices.SortFunc(a.choice, func(x, y *placedPool) int { return compareChoice(&x.Pool, &y.Pool) })
	a.configured = a.configured || len(pools) > 0
	a.carryOver(former)
	a.forgetSearches()
	return overlaps
}

// carryOver takes what is held or withheld out of the new pools, and keeps the order in which addresses were released.
func (a *Allocator) carryOver(former []*placedPool) {
	for addr := range a.holders {
		if pool := a.poolOf(addr); pool != nil {
			pool.inUse[FamilyOf(addr)]++
			pool.free[FamilyOf(addr)].take(addr)
		}
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
