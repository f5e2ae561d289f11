// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// noInterfaces is what a speaker that has none says of its interfaces.
const noInterfaces = ";"

// FormatInterfaces writes what a session Lease says of the interfaces of its speaker: `eth0=192.168.1.11/24,fd00::b/64;down:eth1=`. A
// speaker that has none says so with a lone `;`. An interface whose name has one of the signs that part the text, which the kernel allows, is left out: nobody
// is to take it for another.
func FormatInterfaces(interfaces []LocalInterface) string {
	parts := make([]string, 0, len(interfaces))
	for _, each := range interfaces {
		if strings.ContainsAny(each.Name, ";=") {
			continue
		}
		addresses := make([]string, 0, len(each.Addresses))
		for _, address := range each.Addresses {
			addresses = append(addresses, address.String())
		}
		name := each.Name
		if each.Down {
			name = plan.DownInterface + name
		}
		parts = append(parts, name+"="+strings.Join(addresses, ","))
	}
	if len(parts) == 0 {
		return noInterfaces
	}
	return strings.Join(parts, ";")
}

// ParseInterfaces reads what FormatInterfaces wrote as the plan wants it. It returns nil, which the plan takes for unknown,
// only for an empty text.
func ParseInterfaces(text string) []plan.Interface {
	return plan.ParseInterfaces(text)
}

// parseInterfaces is the inverse of FormatInterfaces for the interfaces that are up, but for the hardware addresses, which stand in an
// annotation of their own. What it cannot read it leaves out: the text may come from another version of the speaker.
func parseInterfaces(text string) []LocalInterface {
	var interfaces []LocalInterface
	for part := range strings.SplitSeq(text, ";") {
		name, list, ok := strings.Cut(part, "=")
		if !ok || name == "" || strings.HasPrefix(name, plan.DownInterface) {
			continue
		}
		each := LocalInterface{Name: name}
		for address := range strings.SplitSeq(list, ",") {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				each.Addresses = append(each.Addresses, prefix)
			}
		}
		interfaces = append(interfaces, each)
	}
	return interfaces
}

// saysNoneUp says that a speaker has described its interfaces, and none of them is up.
func saysNoneUp(text string) bool { return text != "" && len(parseInterfaces(text)) == 0 }
