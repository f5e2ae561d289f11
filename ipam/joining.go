// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/google/btree"
)

// searchesRemembered bounds how many searches a sharing key remembers.
const searchesRemembered = 1 << 10

// sharers are the addresses that Services hold under one sharing key, and how far each kind of joining Service has
// searched them in vain, so that the next one does not look at all of them again.
type sharers struct {
	addrs    *btree.BTreeG[netip.Addr]
	searches map[joining]*search
}

// joining is all that decides which address a Service can join under its key. The namespace is empty unless it counts.
type joining struct {
	pool               *placedPool
	family             Family
	backend, namespace string
	ports              string
}

// search remembers that nothing below an address can be joined, but for what has changed since.
type search struct {
	end     netip.Addr // not valid: before the lowest
	changed *btree.BTreeG[netip.Addr]
}

func newAddrTree() *btree.BTreeG[netip.Addr] { return btree.NewG(16, netip.Addr.Less) }

// shareable finds the lowest address of a pool that the Service's sharing key lets it join.
func (a *Allocator) shareable(s *service, pool *placedPool, family Family) (netip.Addr, bool) {
	shared := a.shared[s.request.Sharing.Key]
	if shared == nil {
		return netip.Addr{}, false
	}
	// Many Services have one port in common and one each of their own: what no Service with the one port can join
	// need not be searched for both.
	var from netip.Addr
	if ports := s.request.Sharing.Ports; len(ports) > 1 {
		for i := range ports {
			lowest, ok := a.searchFrom(shared, netip.Addr{}, s, pool, family, ports[i:i+1])
			if !ok {
				return netip.Addr{}, false
			}
			from = maxAddr(from, lowest)
		}
	}
	return a.searchFrom(shared, from, s, pool, family, s.request.Sharing.Ports)
}

// searchFrom finds the lowest address that the Service could join if it had only these ports. Nothing below from can be.
func (a *Allocator) searchFrom(shared *sharers, from netip.Addr, s *service, pool *placedPool, family Family, ports []Port) (found netip.Addr, ok bool) {
	terms := Sharing{Key: s.request.Sharing.Key, Ports: ports, Backend: s.request.Sharing.Backend}
	who := joining{pool: pool, family: family, backend: terms.Backend, ports: portNames(ports)}
	if a.options.SeparateNamespaces {
		who.namespace = s.request.Namespace
	}
	past := shared.search(who)
	look := func(addr netip.Addr) bool {
		ok = a.joinable(&terms, who, addr)
		found = addr
		return !ok
	}
	for addr, any := past.changed.Min(); any; addr, any = past.changed.Min() {
		if !look(addr) {
			return found, true
		}
		past.changed.Delete(addr)
	}
	past.end = maxAddr(past.end, from)
	shared.addrs.AscendGreaterOrEqual(past.end, look)
	if ok {
		past.end = found
	} else if last, any := shared.addrs.Max(); any {
		past.end = maxAddr(past.end, last.Next())
	}
	return found, ok
}

// joinable tells whether a Service that holds nothing could join those who hold an address.
func (a *Allocator) joinable(terms *Sharing, who joining, addr netip.Addr) bool {
	if FamilyOf(addr) != who.family || a.poolOf(addr) != who.pool || who.pool.avoids(addr) || a.inConflict(addr) {
		return false
	}
	return !slices.ContainsFunc(a.holders[addr], func(holder *service) bool {
		return a.options.SeparateNamespaces && holder.request.Namespace != who.namespace || terms.clashes(&holder.terms)
	})
}

func (s *sharers) search(who joining) *search {
	past := s.searches[who]
	if past == nil {
		if len(s.searches) >= searchesRemembered {
			clear(s.searches)
		}
		past = &search{changed: newAddrTree()}
		s.searches[who] = past
	}
	return past
}

// reopen makes the next search under any key look at an address again. A Service that joins it needs no such call: it
// can only be in the way.
func (s *sharers) reopen(addr netip.Addr) {
	for _, past := range s.searches {
		if addr.Less(past.end) {
			past.changed.ReplaceOrInsert(addr)
		}
	}
}

// reopen does that for the keys of all who hold the address.
func (a *Allocator) reopen(addr netip.Addr) {
	last := ""
	for _, holder := range a.holders[addr] {
		if key := holder.terms.Key; key != "" && key != last {
			a.shared[key].reopen(addr)
			last = key
		}
	}
}

// forgetSearches makes the next search look at all addresses again.
func (a *Allocator) forgetSearches() {
	for _, shared := range a.shared {
		clear(shared.searches)
	}
}

func (a *Allocator) indexKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	if key == "" {
		return
	}
	if a.shared[key] == nil {
		a.shared[key] = &sharers{addrs: newAddrTree(), searches: map[joining]*search{}}
	}
	if _, known := a.shared[key].addrs.ReplaceOrInsert(addr); !known {
		a.shared[key].reopen(addr)
	}
}

// dropKey takes an address out of the index of a Service's key when no other holder has that key.
func (a *Allocator) dropKey(s *service, addr netip.Addr) {
	key := s.terms.Key
	if a.shared[key] == nil || slices.ContainsFunc(a.holders[addr], func(other *service) bool { return other != s && other.terms.Key == key }) {
		return
	}
	a.shared[key].addrs.Delete(addr)
	if a.shared[key].addrs.Len() == 0 {
		delete(a.shared, key)
	}
}

// portNames is the same for the same ports in any order.
func portNames(ports []Port) string {
	names := make([]string, len(ports))
	for i, port := range ports {
		names[i] = port.String()
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
