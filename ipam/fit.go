// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// fit says whether a Service may go on holding an address.
type fit int

const (
	fits  fit = iota
	stays     // it had the address before there was an allocator, or has moved too often already, for the reason to move it
	yield     // it needs another one, and keeps this until it has it
	gone      // it must not have it any more
)

// fit judges an address that a Service holds against what it asks for now, and says why it may lose it.
func (a *Allocator) fit(s *service, addr netip.Addr, now time.Time) (fit, string) {
	r := &s.request
	pool := a.poolOf(addr)
	asked, byName := r.asked(FamilyOf(addr))
	who, conflict := a.conflicts[addr]
	refused := a.refused(r, addr)
	inherited := slices.Contains(s.inherited, addr)
	switch {
	case !slices.Contains(r.Families, FamilyOf(addr)):
		return gone, fmt.Sprintf("the Service has no %s any more", FamilyOf(addr))
	case refused != "":
		return gone, refused
	case pool == nil && !a.configured:
		return fits, ""
	case byName && asked != addr, pool != nil && r.Pool != "" && r.Pool != pool.Name:
		return yield, "the Service asks for another one"
	case conflict && !byName && !inherited && !s.movedTooOften(now):
		return yield, who
	}
	if err := a.clashStaying(s, addr); err != nil {
		return yield, err.Error()
	}
	if conflict && !byName && inherited {
		return stays, who + "; the Service had the address before this controller first served it: take it from that host, or ask for another one by annotation"
	}
	if conflict && !byName {
		return stays, a.manyConflicts(pool, who)
	}
	return fits, "the Service holds another one of this family"
}

// A host with proxy ARP answers for every address that a Service could move to. So a Service that has moved conflictMoves
// times within conflictWindow because of conflicts stays where it is, until the first of these moves is that long ago.
const (
	conflictMoves  = 3
	conflictWindow = 10 * time.Minute
)

func (s *service) movedTooOften(now time.Time) bool {
	return len(s.moves) == conflictMoves && now.Sub(s.moves[0]) < conflictWindow
}

// moved keeps the last conflictMoves times when the Service moved because of a conflict, oldest first.
func (s *service) moved(now time.Time) {
	s.moves = append(s.moves, now)
	s.moves = s.moves[max(0, len(s.moves)-conflictMoves):]
}

func (a *Allocator) manyConflicts(pool *placedPool, who string) string {
	of := ""
	if pool != nil { // else the pool cannot be read at the moment
		of = " of pool " + pool.Name
	}
	return fmt.Sprintf("another host answers for many addresses%s (%s): is there a proxy ARP?", of, who)
}

// refused says why the pools do not let a Service have an address any more, whatever it asks for; "" if they let it.
func (a *Allocator) refused(r *Request, addr netip.Addr) string {
	pool := a.poolOf(addr)
	switch {
	case pool == nil && a.configured && !a.unreadable:
		return "no pool has it any more"
	case pool != nil && pool.avoids(addr):
		return fmt.Sprintf("pool %s avoids addresses that end in .0 or .255", pool.Name)
	case pool != nil && !pool.serves(r) && !pool.Unreadable:
		return fmt.Sprintf("pool %s does not serve this Service any more", pool.Name)
	}
	return ""
}
