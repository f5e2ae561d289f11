// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// State is what the plan is computed from. Nothing in it is changed.
type State struct {
	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
	Nodes          []*corev1.Node
	Pools          []*v1beta1.IPAddressPool
	Advertisements []*v1beta1.L2Advertisement
	// Speakers by node name: who has a session. A node without an entry runs no speaker.
	Speakers map[string]Speaker

	// ServeClassless and LoadBalancerClass say which Services are ours: those without a class, those with this one.
	ServeClassless    bool
	LoadBalancerClass string
	// IgnoreExcludeLabel makes nodes eligible in spite of node.kubernetes.io/exclude-from-external-load-balancers.
	IgnoreExcludeLabel bool
}

// Speaker is what a speaker says of its node.
type Speaker struct {
	// Interfaces that it can announce on. Nil: unknown, taken as any interface, up, with an address in any subnet.
	Interfaces []Interface
}

// Interface is a network interface of a node.
type Interface struct {
	Name    string
	Up      bool
	Subnets []netip.Prefix
	// Addresses that the node itself has on the interface; link-local ones may be left out.
	Addresses []netip.Addr
}

// VIP says who may announce an address. VIPs of one plan share what is equal: maps and slices are not to be changed.
type VIP struct {
	Addr netip.Addr
	// Pool that the address belongs to; empty when it is in none.
	Pool string
	// Services on the address, by namespace and name.
	Services []types.NamespacedName
	// Nodes has a verdict for every node, and for every speaker whose node is gone. Where some node is eligible and Local is set,
	// nodes without an endpoint are left out: there may be thousands of such VIPs, on few of many nodes each. Verdict knows.
	Nodes map[string]Verdict
	// Local is set when externalTrafficPolicy Local restricts the VIP to nodes with endpoints.
	Local bool
	// Reason why no node at all is eligible; empty when one is.
	Reason Reason
}

// Verdict is that of a node, whether listed or not.
func (v VIP) Verdict(node string) Verdict {
	verdict, listed := v.Nodes[node]
	switch {
	case listed:
		return verdict
	case v.Local && v.Reason == Eligible:
		return Verdict{Reason: NoLocalEndpoint}
	}
	return Verdict{Reason: NodeDeleted}
}

// Verdict says whether a node may announce a VIP.
type Verdict struct {
	Eligible bool
	// Reason why not; empty when eligible.
	Reason Reason
	// Interfaces to announce on, by name; nil means all.
	Interfaces []string
	// Score is the sum of the weights of the preferredNodeSelectors that select the node.
	Score int32
	// InSubnet tells whether an interface to announce on has an address in a subnet with the VIP.
	InSubnet bool
}
