// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
)

// Candidates orders the eligible nodes of every VIP.
func Candidates(vips map[netip.Addr]VIP, live func(node string) bool, held map[netip.Addr]string) map[netip.Addr][]string {
	return nil
}
