// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"math"
	"slices"
)

// Pool is a named set of addresses and the rules by which it is handed out.
type Pool struct {
	Name   string
	Ranges []Range
	// AutoAssign lets Services have an address from this pool without asking for it by name.
	AutoAssign bool
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255.
	AvoidBuggyIPs bool
	// Reservation restricts whom the pool serves. Nil: everyone.
	Reservation *Reservation
	// Unreadable says that ranges or selectors were left out, because they could not be read. The pool gives out nothing
	// by them, and takes nothing away: what is held may be what they were meant for.
	Unreadable bool
}

// Reservation says for whom a pool is, and how eagerly it is used for them.
type Reservation struct {
	// Priority orders pools that serve the same Service, lowest first; 0 comes last.
	Priority int
	// Namespaces and NamespaceSelectors name namespaces; one match is enough. With both empty, every namespace
	// matches. A selector that matches no namespace means nobody, never everybody.
	Namespaces         []string
	NamespaceSelectors []Selector
	// ServiceSelectors match the Service's labels; one match is enough. Empty: every Service.
	ServiceSelectors []Selector
}

// Selector matches labels.
type Selector interface {
	Matches(labels map[string]string) bool
}

// serves tells whether the pool may give addresses to the Service of a request.
func (p *Pool) serves(r *Request) bool {
	if p.Reservation == nil {
		return true
	}
	return p.Reservation.servesNamespace(r) && matchesAny(p.Reservation.ServiceSelectors, r.Labels, true)
}

func (r *Reservation) servesNamespace(request *Request) bool {
	if len(r.Namespaces) == 0 && len(r.NamespaceSelectors) == 0 {
		return true
	}
	return slices.Contains(r.Namespaces, request.Namespace) || matchesAny(r.NamespaceSelectors, request.NamespaceLabels, false)
}

func matchesAny(selectors []Selector, labels map[string]string, whenEmpty bool) bool {
	if len(selectors) == 0 {
		return whenEmpty
	}
	return slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(labels) })
}

// compareChoice orders pools as automatic allocation tries them: reserved ones first, then by priority, then by name.
func compareChoice(a, b *Pool) int {
	return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Name, b.Name))
}

func (p *Pool) rank() int {
	switch {
	case p.Reservation == nil:
		return math.MaxInt
	case p.Reservation.Priority == 0:
		return math.MaxInt - 1
	}
	return p.Reservation.Priority
}
