// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"maps"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// entry is what a node does for a Service.
type entry struct {
	service types.NamespacedName
	// addresses in order; interfaces in order of name, none for all.
	addresses  []netip.Addr
	interfaces []string
}

// wanted is what a node answers for. It is pure, and belongs to whoever holds its lock; the zero value answers for nothing.
type wanted struct {
	vips map[netip.Addr]announced
	// services on those VIPs.
	services map[types.NamespacedName][]netip.Addr
}

type announced struct {
	services   []types.NamespacedName
	interfaces []string
}

// announce takes in what the plan says of a VIP that the node answers for, and returns the Services for which that changes something.
func (w *wanted) announce(vip plan.VIP, interfaces []string) []types.NamespacedName {
	before, known := w.vips[vip.Addr]
	if known && slices.Equal(before.services, vip.Services) && slices.Equal(before.interfaces, interfaces) {
		return nil
	}
	if w.vips == nil {
		w.vips, w.services = map[netip.Addr]announced{}, map[types.NamespacedName][]netip.Addr{}
	}
	changed := map[types.NamespacedName]bool{}
	for _, service := range before.services {
		if !slices.Contains(vip.Services, service) {
			w.drop(service, vip.Addr)
			changed[service] = true
		}
	}
	for _, service := range vip.Services {
		switch had := slices.Contains(before.services, service); {
		case !had:
			w.services[service] = append(w.services[service], vip.Addr)
			changed[service] = true
		case !slices.Equal(before.interfaces, interfaces):
			changed[service] = true
		}
	}
	w.vips[vip.Addr] = announced{services: vip.Services, interfaces: slices.Clone(interfaces)}
	return slices.Collect(maps.Keys(changed))
}

// withdraw takes in that the node no longer answers for a VIP, and returns the Services for which that changes something.
func (w *wanted) withdraw(vip netip.Addr) []types.NamespacedName {
	before := w.vips[vip]
	delete(w.vips, vip)
	for _, service := range before.services {
		w.drop(service, vip)
	}
	return before.services
}

func (w *wanted) drop(service types.NamespacedName, vip netip.Addr) {
	rest := slices.DeleteFunc(slices.Clone(w.services[service]), func(each netip.Addr) bool { return each == vip })
	if len(rest) == 0 {
		delete(w.services, service)
		return
	}
	w.services[service] = rest
}

// entry of a Service; ok is false when the node does not answer for it. Where its addresses are announced on different interfaces, those of
// all of them are named.
func (w *wanted) entry(service types.NamespacedName) (e entry, ok bool) {
	addresses, ok := w.services[service]
	if !ok {
		return entry{}, false
	}
	e = entry{service: service, addresses: slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare)}
	for _, address := range addresses {
		interfaces := w.vips[address].interfaces
		if len(interfaces) == 0 {
			e.interfaces = nil
			break
		}
		e.interfaces = append(e.interfaces, interfaces...)
	}
	slices.Sort(e.interfaces)
	e.interfaces = slices.Compact(e.interfaces)
	return e, true
}
