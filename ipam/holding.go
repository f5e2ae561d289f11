// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// clash says why a Service cannot hold an address beside those who do.
func (a *Allocator) clash(s *service, addr netip.Addr) error {
	for _, holder := range a.holders[addr] {
		if holder == s {
			continue
		}
		if err := mayShare(addr, &s.request, &holder.request, &holder.terms); err != nil {
			return err
		}
	}
	return nil
}

// clashStaying says why a Service should leave an address that it holds. Only a record brings Services together whose
// terms clash (Restore), and does not say which of them changed its own: then the younger one leaves.
func (a *Allocator) clashStaying(s *service, addr netip.Addr) error {
	if !s.terms.equal(&s.request.Sharing) {
		return a.clash(s, addr)
	}
	for _, holder := range a.holders[addr] {
		if holder == s || compareAge(&s.request, &holder.request) < 0 {
			continue
		}
		if err := mayShare(addr, &s.request, &holder.request, &holder.terms); err != nil {
			return err
		}
	}
	return nil
}

// sharedBefore tells whether a Service may have shared an address with those who hold it.
func (a *Allocator) sharedBefore(s *service, addr netip.Addr) bool {
	return !slices.ContainsFunc(a.holders[addr], func(holder *service) bool {
		return holder != s && (s.request.Sharing.Key == "" || holder.terms.Key == "")
	})
}

// clashJoining says why a Service that does not hold an address yet cannot have it. SeparateNamespaces is asked only
// here: it takes nothing from those who share already.
func (a *Allocator) clashJoining(s *service, addr netip.Addr) error {
	if err := a.clash(s, addr); err != nil || !a.options.SeparateNamespaces {
		return err
	}
	for _, holder := range a.holders[addr] {
		if holder != s && holder.request.Namespace != s.request.Namespace {
			return inUse(addr, &holder.request, ", which is in another namespace, and this cluster lets Services share only within one: use another address")
		}
	}
	return nil
}

func (a *Allocator) hold(s *service, addr netip.Addr) {
	if slices.Contains(s.addrs, addr) {
		return
	}
	s.addrs = append(s.addrs, addr)
	a.holders[addr] = append(a.holders[addr], s)
	a.indexKey(s, addr)
	if len(a.holders[addr]) > 1 {
		return
	}
	delete(a.quarantined, addr) // a record that names it is right
	if pool := a.poolOf(addr); pool != nil {
		pool.inUse[FamilyOf(addr)]++
	}
	a.refresh(addr)
}

// drop takes an address from a Service and tells whether nobody holds it any more. It is then free, unless a node still
// answers for it.
func (a *Allocator) drop(s *service, addr netip.Addr, now time.Time) (unheld bool) {
	s.addrs = slices.DeleteFunc(s.addrs, func(held netip.Addr) bool { return held == addr })
	s.inherited = slices.DeleteFunc(s.inherited, func(held netip.Addr) bool { return held == addr })
	a.holders[addr] = slices.DeleteFunc(a.holders[addr], func(holder *service) bool { return holder == s })
	a.dropKey(s, addr)
	if len(a.holders[addr]) > 0 {
		a.reopen(addr)
		return false
	}
	delete(a.holders, addr)
	if pool := a.poolOf(addr); pool != nil {
		pool.inUse[FamilyOf(addr)]--
	}
	if a.options.Withdrawing != nil {
		if node := a.options.Withdrawing(addr); node != "" {
			a.quarantined[addr] = Quarantined{addr, node, now}
		}
	}
	a.refresh(addr)
	return true
}

// agree makes what a Service now asks for the terms under which it holds its addresses, unless they clash with those
// who share them: then the old terms stay until it has other addresses.
func (a *Allocator) agree(s *service) {
	if s.terms.equal(&s.request.Sharing) {
		return
	}
	for _, addr := range s.addrs {
		if a.clash(s, addr) != nil {
			return
		}
	}
	for _, addr := range s.addrs {
		a.dropKey(s, addr)
	}
	s.terms = s.request.Sharing
	for _, addr := range s.addrs {
		a.indexKey(s, addr)
		a.reopen(addr)
	}
}
