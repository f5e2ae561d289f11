// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// Family is an IP family.
type Family uint8

// The two families, in the order in which they are listed when nothing else says so.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf tells the family of an address.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// Range is a closed interval of addresses of one family. The zero Range is empty.
type Range struct {
	First, Last netip.Addr
}

func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Family is the family of every address in the range.
func (r Range) Family() Family { return FamilyOf(r.First) }

// Contains tells whether addr lies in the range.
func (r Range) Contains(addr netip.Addr) bool {
	return addr.BitLen() == r.First.BitLen() && !addr.Less(r.First) && !r.Last.Less(addr)
}

// Overlaps tells whether the two ranges have an address in common.
func (r Range) Overlaps(other Range) bool {
	return r.First.BitLen() == other.First.BitLen() && !r.Last.Less(other.First) && !other.Last.Less(r.First)
}

func prefixRange(prefix netip.Prefix) Range {
	prefix = prefix.Masked()
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < prefix.Addr().BitLen(); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return Range{First: prefix.Addr(), Last: last}
}

// Subtract returns what is left of r without other, in order: at most two pieces.
func (r Range) Subtract(other Range) []Range {
	if !r.Overlaps(other) {
		return []Range{r}
	}
	var left []Range
	if r.First.Less(other.First) {
		left = append(left, Range{r.First, other.First.Prev()})
	}
	if other.Last.Less(r.Last) {
		left = append(left, Range{other.Last.Next(), r.Last})
	}
	return left
}

// union sorts ranges and joins those that overlap.
func union(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return a.First.Compare(b.First) })
	var joined []Range
	for _, r := range sorted {
		if n := len(joined); n > 0 && joined[n-1].Overlaps(r) {
			joined[n-1].Last = maxAddr(joined[n-1].Last, r.Last)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

// Size counts the addresses of the range, math.MaxInt64 when there are more.
func (r Range) Size() int64 {
	firstHigh, firstLow := halves(r.First)
	lastHigh, lastLow := halves(r.Last)
	low, borrow := bits.Sub64(lastLow, firstLow, 0)
	high, _ := bits.Sub64(lastHigh, firstHigh, borrow)
	if high > 0 || low >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low) + 1
}

func halves(addr netip.Addr) (high, low uint64) {
	bytes := addr.As16()
	return binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])
}

// addSaturating adds counts of addresses; math.MaxInt64 means "at least that many".
func addSaturating(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// buggy tells whether addr ends in .0 or .255, which some equipment takes for a network or broadcast address.
func buggy(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	last := addr.As4()[3]
	return last == 0 || last == 255
}

// buggyCount counts the buggy addresses of an IPv4 range.
func buggyCount(r Range) int64 {
	if r.Family() != IPv4 {
		return 0
	}
	first, last := ipv4Number(r.First), ipv4Number(r.Last)
	return endingIn(0, first, last) + endingIn(255, first, last)
}

// endingIn counts the numbers of first..last whose lowest byte is ending.
func endingIn(ending, first, last int64) int64 {
	upTo := func(n int64) int64 { return (n - ending + 256) / 256 }
	return upTo(last) - upTo(first-1)
}

func ipv4Number(addr netip.Addr) int64 {
	bytes := addr.As4()
	return int64(binary.BigEndian.Uint32(bytes[:]))
}

// compareRanges orders ranges by family, then by first address.
func compareRanges(a, b Range) int {
	return cmp.Or(cmp.Compare(a.Family(), b.Family()), a.First.Compare(b.First))
}
