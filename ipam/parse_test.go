// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRange(t *testing.T) {
	for _, tt := range []struct{ rule, entry, want, refused string }{
		{rule: "V02 CIDR", entry: "10.0.0.0/28", want: "10.0.0.0-10.0.0.15"},
		{rule: "IPv6 CIDR", entry: "fd00:1::/64", want: "fd00:1::-fd00:1::ffff:ffff:ffff:ffff"},
		{rule: "range", entry: "192.168.1.240-192.168.1.255", want: "192.168.1.240-192.168.1.255"},
		{rule: "IPv6 range", entry: "fc00::1-fc00::ffff:ffff:ffff:fffe", want: "fc00::1-fc00::ffff:ffff:ffff:fffe"},
		{rule: "spaces in a range", entry: " fd00::1 - fd00::5 ", want: "fd00::1-fd00::5"},
		{rule: "spaces around a CIDR", entry: " 10.0.0.0/28 ", want: "10.0.0.0-10.0.0.15"},
		{rule: "range of one", entry: "10.0.0.1-10.0.0.1", want: "10.0.0.1"},
		{rule: "single address with prefix", entry: "10.1.2.3/32", want: "10.1.2.3"},
		{rule: "single address without prefix", entry: "10.1.2.3", want: "10.1.2.3"},
		{rule: "single IPv6 address with prefix", entry: "fd00::1/128", want: "fd00::1"},
		{rule: "single IPv6 address without prefix", entry: "fd00::1", want: "fd00::1"},
		{rule: "host bits", entry: "10.0.0.1/24", refused: `"10.0.0.1/24" has host bits set and would hand out 10.0.0.0-10.0.0.255: write 10.0.0.0/24 for that, or 10.0.0.1/32 for the one address`},
		{rule: "IPv6 host bits", entry: "fd00::1/126", refused: `"fd00::1/126" has host bits set and would hand out fd00::-fd00::3: write fd00::/126 for that, or fd00::1/128 for the one address`},
		{rule: "V12 reversed", entry: "10.0.0.9-10.0.0.1", refused: `"10.0.0.9-10.0.0.1" ends before it starts: write 10.0.0.1-10.0.0.9`},
		{rule: "mixed families, IPv6 first", entry: "::1-1.2.3.4", refused: `"::1-1.2.3.4" runs from IPv6 to IPv4: write one range for each family`},
		{rule: "mixed families, IPv4 first", entry: "1.2.3.4-::1", refused: `"1.2.3.4-::1" runs from IPv4 to IPv6: write one range for each family`},
		{rule: "bad start", entry: "x-1.2.3.4", refused: `"x-1.2.3.4" starts with "x", which is not an IP address: write for example 192.168.1.240`},
		{rule: "no end", entry: "1.2.3.4-", refused: `"1.2.3.4-" ends with "", which is not an IP address: write for example 192.168.1.240`},
		{rule: "range of CIDRs", entry: "10.0.0.0/24-10.0.1.0/24", refused: `"10.0.0.0/24-10.0.1.0/24" starts with "10.0.0.0/24", which is not an IP address: write for example 192.168.1.240`},
		{rule: "V11 prefix too long", entry: "1.2.3.0/33", refused: `"1.2.3.0/33" is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250`},
		{rule: "V10 no CIDR", entry: "100.200.300.400/24", refused: `"100.200.300.400/24" is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250`},
		{rule: "leading zeros", entry: "001.2.3.4/32", refused: `"001.2.3.4/32" is not a CIDR: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250`},
		{rule: "no address", entry: "100.200.300.400", refused: `"100.200.300.400" is not an IP address: write for example 192.168.1.240`},
		{rule: "empty", entry: "", refused: `"" is not an IP address: write for example 192.168.1.240`},
		{rule: "IPv4-mapped CIDR", entry: "::ffff:1.2.3.0/120", refused: `"::ffff:1.2.3.0/120" is an IPv4-mapped IPv6 address: write 1.2.3.0/24`},
		{rule: "IPv4-mapped CIDR with host bits", entry: "::ffff:1.2.3.4/120", refused: `"::ffff:1.2.3.4/120" is an IPv4-mapped IPv6 address: write 1.2.3.0/24`},
		{rule: "IPv4-mapped address", entry: "::ffff:1.2.3.4", refused: `"::ffff:1.2.3.4" is an IPv4-mapped IPv6 address: write 1.2.3.4`},
		{rule: "IPv4-mapped in a range", entry: "::ffff:1.2.3.4-::ffff:1.2.3.9", refused: `"::ffff:1.2.3.4-::ffff:1.2.3.9" starts with "::ffff:1.2.3.4", which is an IPv4-mapped IPv6 address: write 1.2.3.4`},
		{rule: "IPv4-mapped inside", entry: "::fffe:0:0-::ffff:ffff:ffff:ffff", refused: `"::fffe:0:0-::ffff:ffff:ffff:ffff" contains IPv4-mapped addresses (::ffff:0.0.0.0-::ffff:255.255.255.255), which cannot be VIPs: leave them out`},
		{rule: "zone", entry: "fe80::1%eth0", refused: `"fe80::1%eth0" has a zone: write fe80::1`},
		{rule: "everything", entry: "0.0.0.0/0", refused: `"0.0.0.0/0" contains unspecified addresses (0.0.0.0-0.255.255.255), which cannot be VIPs: leave them out`},
		{rule: "unspecified", entry: "::/128", refused: `"::/128" contains unspecified addresses (::), which cannot be VIPs: leave them out`},
		{rule: "loopback", entry: "127.0.0.1/32", refused: `"127.0.0.1/32" contains loopback addresses (127.0.0.0-127.255.255.255), which cannot be VIPs: leave them out`},
		{rule: "IPv6 loopback", entry: "::1-::5", refused: `"::1-::5" contains loopback addresses (::1), which cannot be VIPs: leave them out`},
		{rule: "multicast", entry: "223.0.0.0-224.0.0.1", refused: `"223.0.0.0-224.0.0.1" contains multicast addresses (224.0.0.0-239.255.255.255), which cannot be VIPs: leave them out`},
		{rule: "IPv6 multicast", entry: "ff02::/64", refused: `"ff02::/64" contains multicast addresses (ff00::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff), which cannot be VIPs: leave them out`},
		{rule: "link-local", entry: "169.254.1.0/24", refused: `"169.254.1.0/24" contains link-local addresses (169.254.0.0-169.254.255.255), which cannot be VIPs: leave them out`},
		{rule: "IPv6 link-local", entry: "fe80::/64", refused: `"fe80::/64" contains link-local addresses (fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff), which cannot be VIPs: leave them out`},
		{rule: "broadcast", entry: "255.255.255.255", refused: `"255.255.255.255" contains broadcast addresses (255.255.255.255), which cannot be VIPs: leave them out`},
	} {
		t.Run(tt.rule, func(t *testing.T) {
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

func TestParseAddresses(t *testing.T) {
	for _, tt := range []struct{ rule, list, want, refused string }{
		{rule: "one", list: "192.168.1.240", want: "[192.168.1.240]"},
		{rule: "two, with spaces", list: " 192.168.1.240 , fd00::1 ", want: "[192.168.1.240 fd00::1]"},
		{rule: "M07 M09 garbage", list: "192.168.1.x", refused: `"192.168.1.x", which is not an IP address: write for example 192.168.1.240`},
		{rule: "an empty place", list: "192.168.1.240,", refused: `"", which is not an IP address: write for example 192.168.1.240`},
		{rule: "a CIDR", list: "192.168.1.240/32", refused: `"192.168.1.240/32", which is not an IP address: write for example 192.168.1.240`},
		{rule: "zone", list: "fe80::1%eth0", refused: `"fe80::1%eth0", which has a zone: write fe80::1`},
		{rule: "IPv4-mapped", list: "::ffff:10.0.0.1", refused: `"::ffff:10.0.0.1", which is an IPv4-mapped IPv6 address: write 10.0.0.1`},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := ParseAddresses(tt.list)
			if diff := cmp.Diff(tt.refused, errorText(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err == nil && fmt.Sprint(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/28", "10.0.0.1 - 10.0.0.9", "fd00::/64", "::ffff:1.2.3.4", "::ffff:1.2.3.4/90", "1-", "/", "fe80::1%-/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		r, err := ParseRange(entry)
		if err != nil {
			checkSentence(t, err)
			return
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%q became %s, which reads as %s, %v", entry, r, again, err)
		}
		if r.Size() < 1 || !r.Contains(r.First) || !r.Contains(r.Last) || buggyCount(r) > r.Size() {
			t.Errorf("%q became %s, which has %d addresses, %d of them buggy", entry, r, r.Size(), buggyCount(r))
		}
	})
}

func FuzzParseAddresses(f *testing.F) {
	for _, seed := range []string{"10.0.0.1", "10.0.0.1, fd00::1", ",", "::ffff:1.2.3.4", "fe80::1%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := ParseAddresses(list)
		if err != nil {
			checkSentence(t, err)
			return
		}
		var texts []string
		for _, addr := range got {
			if addr.Is4In6() || addr.Zone() != "" {
				t.Errorf("%q contains %s", list, addr)
			}
			texts = append(texts, addr.String())
		}
		if again, err := ParseAddresses(strings.Join(texts, ",")); err != nil || !slices.Equal(again, got) {
			t.Errorf("%q became %v, which reads as %v, %v", list, got, again, err)
		}
	})
}

// checkSentence wants the refusal of a stranger's text to fit into one line of an event, with a remedy after the colon.
func checkSentence(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); strings.ContainsAny(text, "\n\r\x00") || !strings.Contains(text, ": ") {
		t.Errorf("refused with %q", text)
	}
}

// TestLongInputIsCutInErrors: an annotation may have 256 KB, and an error becomes an event.
func TestLongInputIsCutInErrors(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, tt := range []struct{ text, want string }{
		{"", `""`},
		{`a "b"`, `"a \"b\""`},
		{strings.Repeat("x", 80), `"` + strings.Repeat("x", 80) + `"`},
		{strings.Repeat("ü", 80), `"` + strings.Repeat("ü", 80) + `"`},
		{long, `"` + strings.Repeat("x", 80) + `…"`},
		{strings.Repeat("ü", 81), `"` + strings.Repeat("ü", 80) + `…"`},
	} {
		if got := Quote(tt.text); got != tt.want {
			t.Errorf("%.100s is quoted as %.200s, want %s", tt.text, got, tt.want)
		}
	}
	s := newStory(t, pool(t, "a", "10.0.0.0/29", "fd00::/125"))
	s.gets("10.0.0.0", "holder", sharing("k", "", 80))
	many := make([]string, 10_000)
	for i := range many {
		many[i] = "10.0.0.1"
	}
	_, parsed := ParseAddresses(long)
	_, read := ParseRange(long + "-" + long)
	errs := map[string]error{"addresses": parsed, "range": read}
	for name, option := range map[string]option{
		"key":   func(r *Request) { sharing(long, "", 81)(r); asking("10.0.0.0")(r) },
		"pool":  from(long),
		"asked": asking(many...),
	} {
		_, errs[name] = s.a.Allocate(s.request(name, option), s.now)
	}
	for name, err := range errs {
		if err == nil || len(err.Error()) > 500 {
			t.Errorf("%s: the error has %d characters: %.600v", name, len(fmt.Sprint(err)), err)
		}
	}
}
