// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
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

// ParseRange reads an entry of a pool: a CIDR ("10.0.0.0/28"), a range ("10.0.0.1-10.0.0.9", spaces allowed) or one
// address ("10.0.0.1"). It refuses what could never be a VIP, and says what to write instead.
func ParseRange(entry string) (Range, error) {
	text := strings.TrimSpace(entry)
	r, err := parseEntry(text)
	if err != nil {
		return Range{}, fmt.Errorf("%q %w", text, err)
	}
	for _, special := range specialRanges {
		if r.Overlaps(special.Range) {
			return Range{}, fmt.Errorf("%q contains %s addresses (%s), which cannot be VIPs: leave them out", text, special.kind, special.Range)
		}
	}
	return r, nil
}

// ParseRanges reads all entries of a pool. The ranges are those that can be read; there is an error for each other one,
// and one for a pool without entries. Errors name the pool.
func ParseRanges(pool string, entries []string) ([]Range, []error) {
	if len(entries) == 0 {
		return nil, []error{fmt.Errorf("pool %s has no addresses: add a range, for example 192.168.1.240-192.168.1.250", pool)}
	}
	var ranges []Range
	var errs []error
	for _, entry := range entries {
		r, err := ParseRange(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %w", pool, err))
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges, errs
}

func parseEntry(text string) (Range, error) {
	switch {
	case strings.Contains(text, "-"):
		from, to, _ := strings.Cut(text, "-")
		return parseBounds(strings.TrimSpace(from), strings.TrimSpace(to))
	case strings.Contains(text, "/"):
		return parseCIDR(text)
	default:
		addr, err := parseAddr(text)
		return Range{First: addr, Last: addr}, err
	}
}

func parseBounds(from, to string) (Range, error) {
	first, err := parseAddr(from)
	if err != nil {
		return Range{}, fmt.Errorf("starts with %q, which %w", from, err)
	}
	last, err := parseAddr(to)
	if err != nil {
		return Range{}, fmt.Errorf("ends with %q, which %w", to, err)
	}
	if FamilyOf(first) != FamilyOf(last) {
		return Range{}, fmt.Errorf("runs from %s to %s: write one range for each family", FamilyOf(first), FamilyOf(last))
	}
	if last.Less(first) {
		return Range{}, fmt.Errorf("ends before it starts: write %s-%s", last, first)
	}
	return Range{First: first, Last: last}, nil
}

func parseCIDR(text string) (Range, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return Range{}, fmt.Errorf("is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250")
	}
	if prefix.Addr().Is4In6() {
		return Range{}, fmt.Errorf("is an IPv4-mapped IPv6 address: write the IPv4 form, %s", prefix.Addr().Unmap())
	}
	whole := prefixRange(prefix)
	if prefix.Masked() != prefix {
		return Range{}, fmt.Errorf("has host bits set and would hand out %s: write %s for that, or %s/%d for the one address",
			whole, prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
	}
	return whole, nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("is not an IP address")
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("has a zone: write %s", addr.WithZone(""))
	case addr.Is4In6():
		return netip.Addr{}, fmt.Errorf("is an IPv4-mapped IPv6 address: write %s", addr.Unmap())
	}
	return addr, nil
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

// specialRanges are the addresses that no pool may contain, and what they are called.
var specialRanges = []struct {
	Range
	kind string
}{
	{prefixRange(netip.MustParsePrefix("0.0.0.0/8")), "unspecified"},
	{prefixRange(netip.MustParsePrefix("127.0.0.0/8")), "loopback"},
	{prefixRange(netip.MustParsePrefix("169.254.0.0/16")), "link-local"},
	{prefixRange(netip.MustParsePrefix("224.0.0.0/4")), "multicast"},
	{prefixRange(netip.MustParsePrefix("255.255.255.255/32")), "broadcast"},
	{prefixRange(netip.MustParsePrefix("::/128")), "unspecified"},
	{prefixRange(netip.MustParsePrefix("::1/128")), "loopback"},
	{prefixRange(netip.MustParsePrefix("::ffff:0:0/96")), "IPv4-mapped"},
	{prefixRange(netip.MustParsePrefix("fe80::/10")), "link-local"},
	{prefixRange(netip.MustParsePrefix("ff00::/8")), "multicast"},
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

// subtract returns what is left of r without other, at most two pieces.
func (r Range) subtract(other Range) []Range {
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

// subtractAll returns what is left of ranges without others.
func subtractAll(ranges, others []Range) []Range {
	for _, other := range others {
		var left []Range
		for _, r := range ranges {
			left = append(left, r.subtract(other)...)
		}
		ranges = left
	}
	return ranges
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
