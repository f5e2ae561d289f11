// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// FuzzParseInterfaces: whatever somebody writes on a session Lease, what is read of it is no longer than the text and could be a node's interfaces; only
// an empty text says nothing; and of a text that names no interface which is up, nobody concludes that the node can announce.
func FuzzParseInterfaces(f *testing.F) {
	for _, text := range []string{
		"", ";", ";;=;", "eth0", "eth0=", "=10.0.0.1/8", "eth0=192.168.1.11/24,fd00::b/64;down:eth1=", "down:=10.0.0.1/8", "down:down:eth0=",
		"eth0=192.168.1.240/24", "eth0=::ffff:10.0.0.1/120", "eth0=fe80::1%eth0/64", "eth0=10.0.0.1/33,10.0.0.1/024,10.0.0.1,,10.0.0.1/8", "eth0==10.0.0.1/8",
		"eth0=0.0.0.0/0,::/0", strings.Repeat("a=;", 1000), "\x00=\xff;\u00e9=",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		interfaces := ParseInterfaces(text)
		if (interfaces == nil) != (text == "") {
			t.Fatalf("%q: read as %#v", text, interfaces)
		}
		length, up := 0, false
		for _, each := range interfaces {
			if each.Name == "" || strings.ContainsAny(each.Name, ";=") || each.Up && strings.HasPrefix(each.Name, DownInterface) {
				t.Fatalf("%q: interface %q, up %v", text, each.Name, each.Up)
			}
			if len(each.Addresses) != len(each.Subnets) {
				t.Fatalf("%q: %d addresses in %d subnets", text, len(each.Addresses), len(each.Subnets))
			}
			for i, address := range each.Addresses {
				if subnet := each.Subnets[i]; !subnet.IsValid() || subnet != subnet.Masked() || !subnet.Contains(address) || address.Zone() != "" {
					t.Fatalf("%q: address %v in subnet %v", text, address, subnet)
				}
			}
			length += len(each.Name) + len("=") + len("::/0")*len(each.Addresses)
			up = up || each.Up
		}
		if length > len(text) {
			t.Fatalf("%q: more was read than it says: %+v", text, interfaces)
		}
		own := slices.ContainsFunc(interfaces, func(each Interface) bool {
			return each.Name != ipvsInterface && slices.Contains(each.Addresses, netip.MustParseAddr(vip))
		})
		planned := Compute(cluster(interfacesOf("node-1", interfaces...)))[netip.MustParseAddr(vip)]
		if can := planned.Nodes["node-1"].Eligible; can != (up || interfaces == nil) && !own {
			t.Fatalf("%q: node-1 may announce: %v", text, can)
		}
	})
}
