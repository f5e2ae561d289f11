// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// endpoints are those of one Service and one family, as kube-proxy sees them: the ready ones, and, only when there is no
// ready one, those that terminate but still serve. With externalTrafficPolicy Local kube-proxy asks that of each node alone; here
// it is asked of all: a node whose last endpoints terminate still serves, and hands over to one that has a ready endpoint.
type endpoints struct {
	ready, terminating       bool
	readyOn, terminatingOnly []int32 // nodes, by index; sorted once complete
}

// any tells whether traffic to the Service would reach anything.
func (e *endpoints) any() bool { return e != nil && (e.ready || e.terminating) }

// nodes lists the nodes that have an endpoint of their own, sorted.
func (e *endpoints) nodes() []int32 {
	if e.ready {
		return e.readyOn
	}
	return e.terminatingOnly
}

type endpointsKey struct {
	service types.NamespacedName
	ipv6    bool
}

// readEndpoints collects the endpoints of the given Services.
func readEndpoints(slicesOfAll []*discoveryv1.EndpointSlice, wanted map[types.NamespacedName]bool, nodeIndex map[string]int32) map[endpointsKey]*endpoints {
	found := make(map[endpointsKey]*endpoints, len(wanted))
	for _, slice := range slicesOfAll {
		service := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
		if !wanted[service] || slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		key := endpointsKey{service: service, ipv6: slice.AddressType == discoveryv1.AddressTypeIPv6}
		of := found[key]
		if of == nil {
			of = &endpoints{}
			found[key] = of
		}
		for i := range slice.Endpoints {
			of.add(&slice.Endpoints[i], nodeIndex)
		}
	}
	for _, of := range found {
		slices.Sort(of.readyOn)
		of.readyOn = slices.Compact(of.readyOn)
		slices.Sort(of.terminatingOnly)
		of.terminatingOnly = slices.Compact(of.terminatingOnly)
	}
	return found
}

func (e *endpoints) add(endpoint *discoveryv1.Endpoint, nodeIndex map[string]int32) {
	conditions := endpoint.Conditions
	on := int32(-1)
	if endpoint.NodeName != nil {
		if index, ok := nodeIndex[*endpoint.NodeName]; ok {
			on = index
		}
	}
	switch {
	case conditions.Ready == nil || *conditions.Ready:
		e.ready = true
		if on >= 0 {
			e.readyOn = append(e.readyOn, on)
		}
	case (conditions.Serving == nil || *conditions.Serving) && conditions.Terminating != nil && *conditions.Terminating:
		e.terminating = true
		if on >= 0 {
			e.terminatingOnly = append(e.terminatingOnly, on)
		}
	}
}

// keyFor is the key of the endpoints that traffic to an address of the Service goes to: families do not mix.
func keyFor(service types.NamespacedName, addr netip.Addr) endpointsKey {
	return endpointsKey{service: service, ipv6: addr.Is6()}
}
