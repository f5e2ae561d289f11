// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Allocator knows all pools, and which Service holds which address. It is not safe for concurrent use.
type Allocator struct {
	options Options

	pools      []*placedPool // oldest first
	byName     map[string]*placedPool
	choice     []*placedPool // as automatic allocation tries them
	index      []indexed     // all ranges of all pools, disjoint, sorted
	configured bool          // there has been a pool
	unreadable bool          // a part of some pool is unknown

	services    map[string]*service
	waiting     map[*service]struct{} // those that do not hold all they ask for
	holders     map[netip.Addr][]*service
	quarantined map[netip.Addr]Quarantined
	conflicts   map[netip.Addr]string // who else answers
	shared      map[string]*sharers   // by sharing key
	memory      memory
}

// service is what the allocator knows of one Service.
type service struct {
	request Request // the latest
	terms   Sharing // under which it holds its addresses
	addrs   []netip.Addr
	lost    []Loss
	err     error       // why it does not hold all it asks for
	moves   []time.Time // because of conflicts, the last few, oldest first
	// inherited are addresses that it had from another program: clients may have known them for long.
	inherited []netip.Addr
}

// Loss is an address that a Service held and holds no more, and why.
type Loss struct {
	Addr   netip.Addr
	Reason string
}

// Result is what a Service holds, in the order of its families, and what it lost since the last Result.
type Result struct {
	Addresses []netip.Addr
	Lost      []Loss
}

// Options are the rules that hold for all Services, and what the allocator has to ask others.
type Options struct {
	// SeparateNamespaces refuses to let Services of different namespaces share an address.
	SeparateNamespaces bool
	// Withdrawing names the node that still answers for an address which no Service holds any more: UnknownNode if that
	// has to be looked up, and "", which makes the address free at once, only if certainly none does. It is asked in the moment in which an address is freed, within the call that frees it: the address is then quarantined
	// before any other Service can have it. Nil: nobody ever does.
	Withdrawing func(netip.Addr) (node string)
}

// NewAllocator returns an allocator without pools.
func NewAllocator() *Allocator {
	return &Allocator{
		byName:      map[string]*placedPool{},
		services:    map[string]*service{},
		waiting:     map[*service]struct{}{},
		holders:     map[netip.Addr][]*service{},
		quarantined: map[netip.Addr]Quarantined{},
		conflicts:   map[netip.Addr]string{},
		shared:      map[string]*sharers{},
		memory:      newMemory(),
	}
}

// SetOptions sets the options. Services that share an address already go on sharing it.
func (a *Allocator) SetOptions(options Options) {
	a.options = options
	a.forgetSearches()
}

// Held lists the addresses that a Service holds.
func (a *Allocator) Held(id string) []netip.Addr {
	if s, ok := a.services[id]; ok {
		return slices.Clone(s.addrs)
	}
	return nil
}

// InUse tells whether any Service holds the address.
func (a *Allocator) InUse(addr netip.Addr) bool { return len(a.holders[addr]) > 0 }

// Knows tells whether the Service has been restored or has asked, and has not been released.
func (a *Allocator) Knows(id string) bool {
	_, ok := a.services[id]
	return ok
}

// Name tells what people call a Service.
func (a *Allocator) Name(id string) (namespace, name string, ok bool) {
	s, ok := a.services[id]
	if !ok {
		return "", "", false
	}
	return s.request.Namespace, s.request.Name, true
}

// Restore gives a Service the addresses that a record says it holds. Call it for the oldest Service first: where two
// claim one and either has no sharing key, the first keeps it. Where both have one they did share it, perhaps on terms
// that one of them does not ask for any more, and hold it both. Whether the addresses fit is left to Allocate, but for a conflict
// with another host: inherited addresses, which another program gave the Service, stay. That host may be a speaker of that program, which answers until
// ours do.
func (a *Allocator) Restore(r Request, addrs []netip.Addr, inherited bool) {
	s := a.know(r)
	for _, addr := range addrs {
		if !a.sharedBefore(s, addr) {
			s.lost = append(s.lost, Loss{addr, a.clash(s, addr).Error()})
			continue
		}
		a.hold(s, addr)
		if inherited {
			s.inherited = append(s.inherited, addr)
		}
	}
}

// Allocate gives a Service what it asks for, and keeps whatever of it the Service holds already. With an error, the
// Result is what it holds all the same: an address in use is not given up for one that cannot be had.
func (a *Allocator) Allocate(r Request, now time.Time) (Result, error) {
	s := a.know(r)
	a.attempt(s, now)
	result := Result{Addresses: slices.Clone(s.addrs), Lost: s.lost}
	s.lost = nil
	return result, s.err
}

// Update replaces what a Service asks for, for the next Settle to look at.
func (a *Allocator) Update(r Request) {
	if a.Knows(r.ID) {
		a.know(r)
	}
}

// Settle tries again for Services that wait for an address, oldest first, and with all also for those whose addresses
// may no longer fit. It returns the IDs of those for whom something changed.
func (a *Allocator) Settle(all bool, now time.Time) []string {
	candidates := slices.Collect(maps.Keys(a.waiting))
	if all {
		candidates = slices.Collect(maps.Values(a.services))
	}
	slices.SortFunc(candidates, func(x, y *service) int { return compareAge(&x.request, &y.request) })
	var changed []string
	for _, s := range candidates {
		before, beforeErr := slices.Clone(s.addrs), errorText(s.err)
		a.attempt(s, now)
		if !slices.Equal(before, s.addrs) || all && beforeErr != errorText(s.err) {
			changed = append(changed, s.request.ID)
		}
	}
	return changed
}

// Release takes everything from a Service and returns the addresses that nobody holds any more.
func (a *Allocator) Release(id string, now time.Time) (freed []netip.Addr) {
	s, ok := a.services[id]
	if !ok {
		return nil
	}
	if len(s.addrs) > 0 {
		a.memory.remember(s.request.fullName(), s.addrs, now)
	}
	for _, addr := range slices.Clone(s.addrs) {
		if a.drop(s, addr, now) {
			freed = append(freed, addr)
		}
	}
	delete(a.services, id)
	delete(a.waiting, s)
	return freed
}

func (a *Allocator) know(r Request) *service {
	s, ok := a.services[r.ID]
	if !ok {
		s = &service{terms: r.Sharing}
		a.services[r.ID] = s
	}
	s.request = r
	return s
}

// attempt allocates and keeps track of who waits.
func (a *Allocator) attempt(s *service, now time.Time) {
	s.err = a.allocate(s, now)
	if s.err != nil || len(s.addrs) < len(s.request.Families) {
		a.waiting[s] = struct{}{}
		return
	}
	delete(a.waiting, s)
}

func (a *Allocator) allocate(s *service, now time.Time) error {
	if err := s.request.validate(); err != nil {
		for _, addr := range slices.Clone(s.addrs) {
			if reason := a.refused(&s.request, addr); reason != "" {
				s.lost = append(s.lost, Loss{addr, reason})
				a.drop(s, addr, now)
			}
		}
		return err
	}
	kept := map[Family]netip.Addr{}
	yielding := map[Family]Loss{}
	var stay error
	for _, addr := range slices.Clone(s.addrs) {
		family := FamilyOf(addr)
		verdict, reason := a.fit(s, addr, now)
		_, hasOther := yielding[family]
		switch {
		case verdict == gone, kept[family].IsValid(), hasOther:
			s.lost = append(s.lost, Loss{addr, reason})
			a.drop(s, addr, now)
		case verdict == yield:
			yielding[family] = Loss{addr, reason}
		case verdict == stays:
			stay = fmt.Errorf("%s is in conflict and not announced, but the Service keeps it: %s", addr, reason)
			fallthrough
		default:
			kept[family] = addr
		}
	}
	chosen, err := a.choose(&s.request, s, kept, yielding, now)
	for _, family := range s.request.Families {
		old, yields := yielding[family]
		addr, found := chosen[family]
		switch {
		case yields && found:
			if who, conflict := a.conflicts[old.Addr]; conflict && who == old.Reason {
				s.moved(now)
			}
			s.lost = append(s.lost, old)
			a.drop(s, old.Addr, now)
		case yields && a.inConflict(old.Addr):
			err = fmt.Errorf("%s is in conflict and not announced (%s), but the Service keeps it: %w", old.Addr, old.Reason, err)
		}
		if found {
			a.hold(s, addr)
		}
	}
	a.agree(s)
	s.request.inOrder(s.addrs)
	switch {
	case stay == nil:
		return err
	case err == nil:
		return stay
	}
	return fmt.Errorf("%w; %w", stay, err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
