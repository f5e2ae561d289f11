// SPDX-License-Identifier: Apache-2.0

package names

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestVIPLease(t *testing.T) {
	for text, want := range map[string]string{
		"192.168.1.240":        "vip-192.168.1.240",
		"fd00:1::f0":           "vip-fd00-1--f0",
		"fd00::":               "vip-fd00--0",
		"::":                   "vip---0",
		"::1":                  "vip---1",
		"2001:db8:1:2:3:4:5:6": "vip-2001-db8-1-2-3-4-5-6",
	} {
		vip := netip.MustParseAddr(text)
		got := VIPLease(vip)
		if got != want {
			t.Errorf("VIPLease(%s) = %q, want %q", text, got, want)
		}
		if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 {
			t.Errorf("VIPLease(%s) = %q is no object name: %v", text, got, errs)
		}
		if back, ok := ParseVIPLease(got); !ok || back != vip {
			t.Errorf("ParseVIPLease(%q) = %v, %v", got, back, ok)
		}
	}
	for _, name := range []string{"vip-", "vip-x", "speaker-node-1", "vip-010.0.0.1", "vip-FD00--1", "vip-fd00-0--1-0-0-0-0"} {
		if vip, ok := ParseVIPLease(name); ok {
			t.Errorf("ParseVIPLease(%q) = %v, want refusal", name, vip)
		}
	}
}

// FuzzVIPLease: every address has a name of its own that is valid and leads back to it.
func FuzzVIPLease(f *testing.F) {
	f.Add([]byte{192, 168, 1, 240})
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, raw []byte) {
		vip, ok := netip.AddrFromSlice(raw)
		if !ok || vip.Is4In6() {
			return
		}
		name := VIPLease(vip)
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			t.Fatalf("%s: %q is no object name", vip, name)
		}
		if back, ok := ParseVIPLease(name); !ok || back != vip {
			t.Fatalf("%s: %q leads to %v, %v", vip, name, back, ok)
		}
	})
}

// FuzzLeaseNames: a name of a Lease that somebody made up is read only if it is just the one that the address or node has, and never as both.
func FuzzLeaseNames(f *testing.F) {
	for _, name := range []string{
		"", "vip-", "speaker-", "vip-192.168.1.240", "vip-fd00-1--f0", "vip---0", "vip---", "vip-::1", "vip-FD00--1", "vip-010.0.0.1", "vip-1.2.3", "vip-fe80--1%eth0",
		"vip--ffff-10.0.0.1", "vip---ffff-10.0.0.1", "speaker-node-1", "speaker-vip-10.0.0.1", "vip-speaker-1", "vip-0-0-0-0-0-0-0-0", "cloud-provider-l2-controller",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		vip, isVIP := ParseVIPLease(name)
		node, isSession := ParseSessionLease(name)
		switch {
		case isVIP && isSession:
			t.Fatalf("%q is the Lease of %s and of %s", name, vip, node)
		case isVIP && (!vip.IsValid() || vip.Zone() != "" || vip.Is4In6() || VIPLease(vip) != name || len(validation.IsDNS1123Subdomain(name)) > 0):
			t.Fatalf("%q is read as the Lease of %v, which is %q", name, vip, VIPLease(vip))
		case isSession && (node == "" || SessionLease(node) != name):
			t.Fatalf("%q is read as the Lease of the speaker on %q", name, node)
		}
	})
}
