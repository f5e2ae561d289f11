// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// fit says whether a Service may go on holding an address.
type fit int

const (
	fits  fit = iota
	yield     // it needs another one, and keeps this until it has it
	gone      // it must not have it any more
)

// fit judges an address that a Service holds against what it asks for now, and says why it may lose it.
func (a *Allocator) fit(s *service, addr netip.Addr) (fit, string) {
	r := &s.request
	pool := a.poolOf(addr)
	asked, byName := r.asked(FamilyOf(addr))
	who, conflict := a.conflicts[addr]
	switch {
	case !slices.Contains(r.Families, FamilyOf(addr)):
		return gone, fmt.Sprintf("the Service has no %s any more", FamilyOf(addr))
	case pool == nil && !a.configured:
		return fits, ""
	case pool == nil && !a.unreadable:
		return gone, "no pool has it any more"
	case pool != nil && pool.avoids(addr):
		return gone, fmt.Sprintf("pool %s avoids addresses that end in .0 or .255", pool.Name)
	case pool != nil && !pool.serves(r) && !pool.Unreadable:
		return gone, fmt.Sprintf("pool %s does not serve this Service any more", pool.Name)
	case byName && asked != addr, pool != nil && r.Pool != "" && r.Pool != pool.Name:
		return yield, "the Service asks for another one"
	case conflict && !byName:
		return yield, who
	}
	if err := a.clashStaying(s, addr); err != nil {
		return yield, err.Error()
	}
	return fits, "the Service holds another one of this family"
}
