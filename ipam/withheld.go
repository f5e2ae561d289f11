// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// QuarantineLimit is how long an address may stay in quarantine. Who calls EndQuarantine keeps to it; errors promise it.
const QuarantineLimit = 30 * time.Second

// Quarantined is an address that no Service holds, and that a node may still answer for. Nobody gets it, not even by name.
type Quarantined struct {
	Addr  netip.Addr
	Node  string // that answers for it, or UnknownNode
	Since time.Time
}

// UnknownNode stands for a node that may still answer for an address when it is not known which, or whether one does.
const UnknownNode = "(being looked up)"

func (q Quarantined) String() string {
	if q.Node == UnknownNode {
		return fmt.Sprintf("may still be announced by a node: it is free again as soon as that is known, within %.0f s", QuarantineLimit.Seconds())
	}
	return fmt.Sprintf("is being withdrawn by node %s: it is free again within %.0f s", q.Node, QuarantineLimit.Seconds())
}

// Quarantine withholds an address that no Service holds until EndQuarantine. One that a Service holds stays with it, and
// the result is false. Called again it changes the node and not the time.
func (a *Allocator) Quarantine(addr netip.Addr, node string, now time.Time) bool {
	if a.InUse(addr) {
		return false
	}
	q, ok := a.quarantined[addr]
	if !ok {
		q = Quarantined{Addr: addr, Since: now}
	}
	q.Node = node
	a.quarantined[addr] = q
	a.refresh(addr)
	return true
}

// EndQuarantine makes an address free again, the last to be handed out. Settle(false) gives it to those who wait.
func (a *Allocator) EndQuarantine(addr netip.Addr) {
	delete(a.quarantined, addr)
	a.refresh(addr)
}

// Quarantined lists what is in quarantine, the longest there first.
func (a *Allocator) Quarantined() []Quarantined {
	all := make([]Quarantined, 0, len(a.quarantined))
	for _, q := range a.quarantined {
		all = append(all, q)
	}
	slices.SortFunc(all, func(x, y Quarantined) int { return cmp.Or(x.Since.Compare(y.Since), x.Addr.Compare(y.Addr)) })
	return all
}

// SetConflicts replaces what is known of addresses that a host outside the cluster answers for: who, as in
// "52:54:00:12:34:56 on eth0 answers for it, seen from node1". Such an address is given only to a Service that asks for it
// by name. A Service that holds one without having asked for it gets another one, or keeps it while none can be had or
// after three such moves within ten minutes; Settle(true) lets it. The result tells whether addresses came or went.
func (a *Allocator) SetConflicts(conflicts map[netip.Addr]string) (changed bool) {
	former := a.conflicts
	a.conflicts = maps.Clone(conflicts)
	var differ []netip.Addr
	for addr := range conflicts {
		if _, known := former[addr]; !known {
			differ = append(differ, addr)
		}
	}
	for addr := range former {
		if !a.inConflict(addr) {
			differ = append(differ, addr)
		}
	}
	slices.SortFunc(differ, netip.Addr.Compare) // the order in which they are free again must not depend on the map's
	for _, addr := range differ {
		a.refresh(addr)
		a.reopen(addr)
	}
	return len(differ) > 0
}

func (a *Allocator) inConflict(addr netip.Addr) bool {
	_, conflict := a.conflicts[addr]
	return conflict
}

func (a *Allocator) withheld(addr netip.Addr) bool {
	_, quarantined := a.quarantined[addr]
	return quarantined || a.inConflict(addr)
}

// refresh makes an address free in its pool exactly when nobody holds it and nothing withholds it.
func (a *Allocator) refresh(addr netip.Addr) {
	pool := a.poolOf(addr)
	if pool == nil {
		return
	}
	free, withheld := pool.free[FamilyOf(addr)], pool.withheld[FamilyOf(addr)]
	delete(withheld, addr)
	switch {
	case a.InUse(addr):
		free.take(addr)
	case a.withheld(addr):
		free.take(addr)
		if !pool.avoids(addr) {
			withheld[addr] = struct{}{}
		}
	default:
		free.release(addr)
	}
}
