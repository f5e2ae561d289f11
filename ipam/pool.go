// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// Pool is a named set of addresses and the rules by which it is handed out.
type Pool struct {
	Name   string
	Ranges []Range
	// AutoAssign lets Services have an address from this pool without asking for it by name.
	AutoAssign bool
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// Reservation restricts whom the pool serves. Nil: everyone.
	Reservation *Reservation
	// Unreadable says that ranges or selectors were left out, because they could not be read. The pool gives out nothing
	// by them, and takes nothing away: what is held may be what they were meant for.
	Unreadable bool
}

// Reservation says for whom a pool is, and how eagerly it is used for them.
type Reservation struct {
	// Priority orders pools that serve the same Service, lowest first; 0 comes last.
	Priority int
	// Namespaces and NamespaceSelectors name namespaces; one match is enough. With both empty, every namespace
	// matches. A selector that matches no namespace means nobody, never everybody.
	Namespaces         []string
	NamespaceSelectors []Selector
	// ServiceSelectors match the Service's labels; one match is enough. Empty: every Service.
	ServiceSelectors []Selector
}

// Selector matches labels.
type Selector interface {
	Matches(labels map[string]string) bool
}

// serves tells whether the pool may give addresses to the Service of a request.
func (p *Pool) serves(r *Request) bool {
	if p.Reservation == nil {
		return true
	}
	return p.Reservation.servesNamespace(r) && matchesAny(p.Reservation.ServiceSelectors, r.Labels, true)
}

func (r *Reservation) servesNamespace(request *Request) bool {
	if len(r.Namespaces) == 0 && len(r.NamespaceSelectors) == 0 {
		return true
	}
	return slices.Contains(r.Namespaces, request.Namespace) || matchesAny(r.NamespaceSelectors, request.NamespaceLabels, false)
}

func matchesAny(selectors []Selector, labels map[string]string, whenEmpty bool) bool {
	if len(selectors) == 0 {
		return whenEmpty
	}
	return slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(labels) })
}

// compareChoice orders pools as automatic allocation tries them: reserved ones first, then by priority, then by name.
func compareChoice(a, b *Pool) int {
	return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Name, b.Name))
}

func (p *Pool) rank() int {
	switch {
	case p.Reservation == nil:
		return math.MaxInt
	case p.Reservation.Priority == 0:
		return math.MaxInt - 1
	}
	return p.Reservation.Priority
}

// Overlap says that a pool does not use a range because an older pool has it.
type Overlap struct {
	Pool, With string
	Range      Range
}

// Usage counts the addresses of a pool. Counts stop at math.MaxInt64.
type Usage struct {
	TotalIPv4, TotalIPv6         int64
	InUseIPv4, InUseIPv6         int64
	AvailableIPv4, AvailableIPv6 int64
}

// placedPool is a pool in an allocator: what is left of its ranges after older pools took theirs, and what is free.
type placedPool struct {
	Pool
	ranges []Range
	free   map[Family]*freeSet
	total  map[Family]int64
	inUse  map[Family]int64
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
		Pool:   pool,
		ranges: left,
		free:   map[Family]*freeSet{IPv4: newFreeSet(pool.AvoidBuggyIPs), IPv6: newFreeSet(pool.AvoidBuggyIPs)},
		total:  map[Family]int64{},
		inUse:  map[Family]int64{},
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

func (p *placedPool) usage() Usage {
	available := func(f Family) int64 {
		if p.total[f] == math.MaxInt64 {
			return math.MaxInt64
		}
		return max(0, p.total[f]-p.inUse[f])
	}
	return Usage{
		TotalIPv4: p.total[IPv4], InUseIPv4: p.inUse[IPv4], AvailableIPv4: available(IPv4),
		TotalIPv6: p.total[IPv6], InUseIPv6: p.inUse[IPv6], AvailableIPv6: available(IPv6),
	}
}

func (p *placedPool) avoids(addr netip.Addr) bool { return p.AvoidBuggyIPs && buggy(addr) }
