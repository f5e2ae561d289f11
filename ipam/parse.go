// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseRange reads an entry of a pool: a CIDR ("10.0.0.0/28"), a range ("10.0.0.1-10.0.0.9", spaces allowed) or one
// address ("10.0.0.1"). It refuses what could never be a VIP, and says what to write instead.
func ParseRange(entry string) (Range, error) {
	text := strings.TrimSpace(entry)
	r, err := parseEntry(text)
	if err != nil {
		return Range{}, fmt.Errorf("%s %w", Quote(text), err)
	}
	for _, special := range specialRanges {
		if r.Overlaps(special.Range) {
			return Range{}, fmt.Errorf("%s contains %s addresses (%s), which cannot be VIPs: leave them out", Quote(text), special.kind, special.Range)
		}
	}
	return r, nil
}

// ParseAddresses reads the addresses that a Service asks for: "192.168.1.240" or "192.168.1.240, fd00::1". Its error follows the name of what was
// read, as in "spec.loadBalancerIP names".
func ParseAddresses(list string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		addr, err := parseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%s, which %w", Quote(text), err)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// quoted is how many characters of what a user wrote an error repeats.
const quoted = 80

// Quote quotes what a user wrote for an error or event, and cuts what is too long to be read there.
func Quote(text string) string {
	if len(text) > quoted {
		runes := []rune(text[:min(len(text), quoted*utf8.UTFMax)])
		if len(runes) > quoted {
			text = string(runes[:quoted]) + "…"
		}
	}
	return strconv.Quote(text)
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
		return Range{}, fmt.Errorf("starts with %s, which %w", Quote(from), err)
	}
	last, err := parseAddr(to)
	if err != nil {
		return Range{}, fmt.Errorf("ends with %s, which %w", Quote(to), err)
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
		return Range{}, errors.New("is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250")
	}
	if prefix.Addr().Is4In6() {
		return Range{}, fmt.Errorf("is an IPv4-mapped IPv6 address: write %s", netip.PrefixFrom(prefix.Addr().Unmap(), max(0, prefix.Bits()-96)).Masked())
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
		return netip.Addr{}, errors.New("is not an IP address: write for example 192.168.1.240")
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("has a zone: write %s", addr.WithZone(""))
	case addr.Is4In6():
		return netip.Addr{}, fmt.Errorf("is an IPv4-mapped IPv6 address: write %s", addr.Unmap())
	}
	return addr, nil
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
