// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"time"

	"github.com/google/btree"
)

// clash says why a Service cannot hold an address beside those who do.
func (a *Allocator) clash(s *service, addr netip.Addr) error {
	return a.compare(s, addr, mayShare)
}

// clashJoining says why a Service that does not hold an address yet cannot have it. SeparateNamespaces is asked only
// here: it takes nothing from those who share already.
func (a *Allocator) clashJoining(s *service, addr netip.Addr) error {
	if a.options.SeparateNamespaces {
		return a.compare(s, addr, mayShareInNamespace)
	}
	return a.compare(s, addr, mayShare)
}

func (a *Allocator) compare(s *service, addr netip.Addr, mayShare func(netip.Addr, *Request, *Request) error) error {
	for _, holder := range a.holders[addr] {
		if holder == s {
			continue
		}
		agreed := holder.request
		agreed.Sharing = holder.terms
		if err := mayShare(addr, &s.request, &agreed); err != nil {
			return err
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
	a.holders[addr] = slices.DeleteFunc(a.holders[addr], func(holder *service) bool { return holder == s })
	a.dropKey(s, addr)
	if len(a.holders[addr]) > 0 {
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
	}
}

func (a *Allocator) indexKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	if key == "" {
		return
	}
	if a.shared[key] == nil {
		a.shared[key] = btree.NewG(16, netip.Addr.Less)
	}
	a.shared[key].ReplaceOrInsert(addr)
}

// dropKey takes an address out of the index of a Service's key when no other holder has that key.
func (a *Allocator) dropKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	if a.shared[key] == nil || slices.ContainsFunc(a.holders[addr], func(other *service) bool { return other != s && other.terms.Key == key }) {
		return
	}
	a.shared[key].Delete(addr)
	if a.shared[key].Len() == 0 {
		delete(a.shared, key)
	}
}
