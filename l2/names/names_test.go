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
