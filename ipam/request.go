// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Request is what a Service asks for.
type Request struct {
	// ID is the Service's identity: a Service created again under its name is another one.
	ID string
	// Namespace and Name are what people call it.
	Namespace, Name string
	Created         time.Time
	Labels          map[string]string
	NamespaceLabels map[string]string

	// Families are wanted in this order, one address each.
	Families []Family
	// Flexible is content with one of two families until the other can be had (PreferDualStack).
	Flexible bool
	// Addresses are asked for by name, one per family. Empty: any.
	Addresses []netip.Addr
	// Pool is asked for by name. Empty: any pool that assigns automatically.
	Pool string

	Sharing Sharing

	// Invalid is why the request cannot be understood. The Service then keeps what it holds, as far as the pools let it,
	// and gets nothing.
	Invalid error
}

func (r *Request) fullName() string { return r.Namespace + "/" + r.Name }

// validate refuses combinations that no pool could serve.
func (r *Request) validate() error {
	if r.Invalid != nil {
		return r.Invalid
	}
	if len(r.Families) == 0 {
		return errors.New("the Service has no cluster IP and so no IP family: give it one, or another type")
	}
	if len(r.Addresses) == 0 {
		return nil
	}
	if len(r.Addresses) != len(r.Families) || !r.oneAddressPerFamily() {
		return fmt.Errorf("the Service's families are %s, but it asks for %s: ask for one address per family, or change ipFamilyPolicy",
			conjunction(r.Families), conjunction(r.Addresses))
	}
	return nil
}

func (r *Request) oneAddressPerFamily() bool {
	for _, family := range r.Families {
		if _, ok := r.asked(family); !ok {
			return false
		}
	}
	return true
}

// asked is the address of a family that the request names.
func (r *Request) asked(family Family) (netip.Addr, bool) {
	i := slices.IndexFunc(r.Addresses, func(addr netip.Addr) bool { return FamilyOf(addr) == family })
	if i < 0 {
		return netip.Addr{}, false
	}
	return r.Addresses[i], true
}

// inOrder sorts addresses as the Service lists its families.
func (r *Request) inOrder(addrs []netip.Addr) []netip.Addr {
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int {
		return cmp.Compare(slices.Index(r.Families, FamilyOf(a)), slices.Index(r.Families, FamilyOf(b)))
	})
	return addrs
}

// compareAge orders Services, oldest first, by name where they are equally old.
func compareAge(a, b *Request) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.fullName(), b.fullName()), cmp.Compare(a.ID, b.ID))
}

func conjunction[T fmt.Stringer](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.String()
	}
	if len(texts) > 4 {
		texts = append(texts[:4], fmt.Sprintf("%d more", len(items)-4))
	}
	return strings.Join(texts, " and ")
}
