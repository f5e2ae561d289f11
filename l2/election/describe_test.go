// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

func TestInterfacesOnTheSessionLease(t *testing.T) {
	text := FormatInterfaces([]LocalInterface{
		{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.11/24"), netip.MustParsePrefix("fd00:1::b/64")}},
		{Name: "eth1"},
	})
	if want := "eth0=192.168.1.11/24,fd00:1::b/64;eth1="; text != want {
		t.Fatalf("%q, want %q", text, want)
	}
	for _, test := range []struct {
		text string
		want []plan.Interface
	}{
		{"", nil},
		{FormatInterfaces(nil), []plan.Interface{}},
		{text, []plan.Interface{
			{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}},
			{Name: "eth1", Up: true},
		}},
		{"eth0=nonsense,10.0.0.1/8;;=1.2.3.4/8;what", []plan.Interface{
			{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		}},
	} {
		if diff := cmp.Diff(test.want, ParseInterfaces(test.text), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("ParseInterfaces(%q): %s", test.text, diff)
		}
	}
}
