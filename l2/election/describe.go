// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// FormatInterfaces writes what a session Lease says of the interfaces of its speaker: `eth0=192.168.1.11/24,fd00::b/64;eth1=`.
func FormatInterfaces(interfaces []LocalInterface) string {
	parts := make([]string, 0, len(interfaces))
	for _, each := range interfaces {
		addresses := make([]string, 0, len(each.Addresses))
		for _, address := range each.Addresses {
			addresses = append(addresses, address.String())
		}
		parts = append(parts, each.Name+"="+strings.Join(addresses, ","))
	}
	return strings.Join(parts, ";")
}

// ParseInterfaces is the inverse of FormatInterfaces, as the plan wants it. What it cannot read it leaves out: the text may
// come from another version of the speaker. It returns nil, which the plan takes for unknown, only for an empty text.
func ParseInterfaces(text string) []plan.Interface {
	if text == "" {
		return nil
	}
	interfaces := []plan.Interface{}
	for part := range strings.SplitSeq(text, ";") {
		name, list, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			continue
		}
		each := plan.Interface{Name: name, Up: true}
		for address := range strings.SplitSeq(list, ",") {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				each.Subnets = append(each.Subnets, prefix.Masked())
			}
		}
		interfaces = append(interfaces, each)
	}
	return interfaces
}
