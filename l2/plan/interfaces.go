// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
	"strings"
)

// DownInterface stands before the name of an interface that is down, on a session Lease. No name of an interface has a colon.
const DownInterface = "down:"

// ParseInterfaces reads what a session Lease says of the interfaces of its speaker: `eth0=192.168.1.11/24,fd00::b/64;down:eth1=`. It returns
// nil, which stands for unknown, only for an empty text. What it cannot read it leaves out: the text may come from another version.
func ParseInterfaces(text string) []Interface {
	if text == "" {
		return nil
	}
	interfaces := []Interface{}
	for part := range strings.SplitSeq(text, ";") {
		text, list, ok := strings.Cut(part, "=")
		name, down := strings.CutPrefix(text, DownInterface)
		if !ok || name == "" {
			continue
		}
		each := Interface{Name: name, Up: !down}
		for address := range strings.SplitSeq(list, ",") {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				each.Subnets = append(each.Subnets, prefix.Masked())
				each.Addresses = append(each.Addresses, prefix.Addr())
			}
		}
		interfaces = append(interfaces, each)
	}
	return interfaces
}
