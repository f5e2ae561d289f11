// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRange(t *testing.T) {
	for _, tt := range []struct{ entry, want, refused string }{
		{entry: "192.168.1.240-192.168.1.255", want: "192.168.1.240-192.168.1.255"},
		{entry: " fd00::1 - fd00::5 ", want: "fd00::1-fd00::5"},
		{entry: "10.0.0.0/28", want: "10.0.0.0-10.0.0.15"},
		{entry: "10.1.2.3/32", want: "10.1.2.3"},
		{entry: "10.1.2.3", want: "10.1.2.3"},
		{entry: "fd00:1::/64", want: "fd00:1::-fd00:1::ffff:ffff:ffff:ffff"},
		{entry: "10.0.0.1/24", refused: `"10.0.0.1/24" has host bits set and would hand out 10.0.0.0-10.0.0.255: write 10.0.0.0/24 for that, or 10.0.0.1/32 for the one address`},
		{entry: "10.0.0.9-10.0.0.1", refused: `"10.0.0.9-10.0.0.1" ends before it starts: write 10.0.0.1-10.0.0.9`},
		{entry: "::1-1.2.3.4", refused: `"::1-1.2.3.4" runs from IPv6 to IPv4: write one range for each family`},
		{entry: "x-1.2.3.4", refused: `"x-1.2.3.4" starts with "x", which is not an IP address`},
		{entry: "1.2.3.4-", refused: `"1.2.3.4-" ends with "", which is not an IP address`},
		{entry: "1.2.3.0/33", refused: `"1.2.3.0/33" is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250`},
		{entry: "100.200.300.400", refused: `"100.200.300.400" is not an IP address`},
		{entry: "::ffff:1.2.3.0/120", refused: `"::ffff:1.2.3.0/120" is an IPv4-mapped IPv6 address: write the IPv4 form, 1.2.3.0`},
		{entry: "fe80::1%eth0", refused: `"fe80::1%eth0" has a zone: write fe80::1`},
		{entry: "0.0.0.0/0", refused: `"0.0.0.0/0" contains unspecified addresses (0.0.0.0-0.255.255.255), which cannot be VIPs: leave them out`},
		{entry: "127.0.0.1/32", refused: `"127.0.0.1/32" contains loopback addresses (127.0.0.0-127.255.255.255), which cannot be VIPs: leave them out`},
		{entry: "223.0.0.0-224.0.0.1", refused: `"223.0.0.0-224.0.0.1" contains multicast addresses (224.0.0.0-239.255.255.255), which cannot be VIPs: leave them out`},
		{entry: "fe80::/64", refused: `"fe80::/64" contains link-local addresses (fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff), which cannot be VIPs: leave them out`},
		{entry: "", refused: `"" is not an IP address`},
	} {
		t.Run(tt.entry, func(t *testing.T) {
			got, err := ParseRange(tt.entry)
			if diff := cmp.Diff(tt.refused, errorText(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err == nil && got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/28", "10.0.0.1 - 10.0.0.9", "fd00::/64", "::ffff:1.2.3.4", "1-", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		r, err := ParseRange(entry)
		if err != nil {
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%q became %s, which reads as %s, %v", entry, r, again, err)
		}
		if r.Size() < 1 || !r.Contains(r.First) || !r.Contains(r.Last) {
			t.Errorf("%q became %s, which has %d addresses", entry, r, r.Size())
		}
	})
}

func TestCountsOfAPool(t *testing.T) {
	for _, tt := range []struct {
		ranges     []string
		avoidBuggy bool
		v4, v6     int64
	}{
		{ranges: []string{"1.2.3.0/24"}, v4: 256},
		{ranges: []string{"1.2.3.0/24", "1.2.4.0/25"}, v4: 384},
		{ranges: []string{"1.2.3.0/24", "1.2.4.0/25"}, avoidBuggy: true, v4: 381},
		{ranges: []string{"1.2.3.0/24", "1000::/64"}, v4: 256, v6: math.MaxInt64},
		{ranges: []string{"1000::/64", "1.2.3.0/24", "2000::/100"}, v4: 256, v6: math.MaxInt64},
		{ranges: []string{"1.2.3.0/31", "1000::/127"}, avoidBuggy: true, v4: 1, v6: 2},
		{ranges: []string{"192.168.1.0/32"}, avoidBuggy: true, v4: 0},
		{ranges: []string{"192.168.1.255-192.168.2.0"}, avoidBuggy: true, v4: 0},
		{ranges: []string{"10.0.0.0/8"}, avoidBuggy: true, v4: 1<<24 - 2<<16},
		{ranges: []string{"10.0.0.0/28", "10.0.0.8/29"}, v4: 16},
	} {
		t.Run(fmt.Sprint(tt.ranges, tt.avoidBuggy), func(t *testing.T) {
			a := NewAllocator()
			a.SetPools([]Pool{{Name: "p", Ranges: ranges(t, tt.ranges...), AvoidBuggyIPs: tt.avoidBuggy}})
			got := a.Usage()["p"]
			want := Usage{TotalIPv4: tt.v4, AvailableIPv4: tt.v4, TotalIPv6: tt.v6, AvailableIPv6: tt.v6}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

func ranges(t testing.TB, entries ...string) []Range {
	t.Helper()
	var ranges []Range
	for _, entry := range entries {
		r, err := ParseRange(entry)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func addrs(texts ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}
