// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

func TestInterfacesOnTheSessionLease(t *testing.T) {
	text := FormatInterfaces([]LocalInterface{
		{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.11/24"), netip.MustParsePrefix("fd00:1::b/64")}},
		{Name: "eth1"},
		{Name: "eth2", Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")}, Down: true},
		{Name: "a;eth0="}, {Name: "b=c", Down: true}, // which nobody could read
	})
	if want := "eth0=192.168.1.11/24,fd00:1::b/64;eth1=;down:eth2=10.1.0.1/16"; text != want {
		t.Fatalf("%q, want %q", text, want)
	}
	for _, test := range []struct {
		text string
		want []plan.Interface
	}{
		{"", nil},
		{FormatInterfaces(nil), []plan.Interface{}},
		{FormatInterfaces([]LocalInterface{{Name: "a;b"}}), []plan.Interface{}},
		{text, []plan.Interface{
			{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}, Addresses: addresses("192.168.1.11", "fd00:1::b")},
			{Name: "eth1", Up: true},
			{Name: "eth2", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Addresses: addresses("10.1.0.1")},
		}},
		{"down:=10.0.0.1/8", []plan.Interface{}},
		{"eth0=nonsense,10.0.0.1/8;;=1.2.3.4/8;what", []plan.Interface{
			{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Addresses: addresses("10.0.0.1")},
		}},
	} {
		if diff := cmp.Diff(test.want, ParseInterfaces(test.text), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Errorf("ParseInterfaces(%q): %s", test.text, diff)
		}
	}
}

func addresses(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

// A speaker whose interfaces are all down is known for having none, and what is down is nowhere to announce on.
func TestInterfacesThatAreDown(t *testing.T) {
	for text, want := range map[string]bool{"": false, ";": true, "down:eth0=": true, "eth0=": false, "down:eth0=;eth1=": false} {
		if got := saysNoneUp(text); got != want {
			t.Errorf("%q: none is up: %v, want %v", text, got, want)
		}
	}
	inWorld(t, 2, 2, func(w *world) {
		w.pass(atRest)
		node := w.node("node-1")
		down := node.interfaces()
		down[0].Down = true
		node.speaker.SetInterfaces(down)
		w.pass(5 * time.Second)
		for vip, holder := range w.settled() {
			if holder == "node-1" {
				t.Errorf("%s is still on the node whose only interface is down", vip)
			}
		}
		told := w.api.lease(names.SessionLease("node-1")).Annotations[names.AnnotationInterfaces]
		if want := "down:eth0=192.168.0.1/16"; told != want {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
