// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
	"strings"
)

// ParseInterfaces reads what a session Lease says of the interfaces of its speaker: `eth0=192.168.1.11/24,fd00::b/64;eth1=`. It returns
// nil, which stands for unknown, only for an empty text. What it cannot read it leaves out: the text may come from another version.
func ParseInterfaces(text string) []Interface {
	if text == "" {
		return nil
	}
	interfaces := []Interface{}
	for part := range strings.SplitSeq(text, ";") {
		name, list, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			continue
		}
		each := Interface{Name: name, Up: true}
		for address := range strings.SplitSeq(list, ",") {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				each.Subnets = append(each.Subnets, prefix.Masked())
			}
		}
		interfaces = append(interfaces, each)
	}
	return interfaces
}
