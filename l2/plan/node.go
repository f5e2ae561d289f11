// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// node is what of a node does not depend on the VIP.
type node struct {
	name     string
	labels   labels.Set
	speaker  Speaker
	cordoned bool
	// reason why the node may announce nothing at all; empty when there is none.
	reason Reason
}

// nodes lists the nodes, and the speakers whose nodes are gone, by name.
func nodes(state State) []node {
	byName := map[string]node{}
	for name := range state.Speakers {
		byName[name] = node{name: name, reason: NodeDeleted}
	}
	for _, object := range state.Nodes {
		speaker, speaks := state.Speakers[object.Name]
		byName[object.Name] = node{
			name:     object.Name,
			labels:   object.Labels,
			speaker:  speaker,
			cordoned: object.Spec.Unschedulable,
			reason:   excluded(object, speaks, state.IgnoreExcludeLabel),
		}
	}
	list := make([]node, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		list = append(list, byName[name])
	}
	return list
}

func excluded(object *corev1.Node, speaks, ignoreLabel bool) Reason {
	_, labelled := object.Labels[corev1.LabelNodeExcludeBalancers]
	switch {
	case object.DeletionTimestamp != nil:
		return NodeDeleted
	case !speaks:
		return NoSpeaker
	case labelled && !ignoreLabel:
		return ExcludeLabel
	case slices.ContainsFunc(object.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService }):
		return OutOfService
	case slices.ContainsFunc(object.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue
	}):
		return NetworkUnavailable
	}
	return Eligible
}

// ipvsInterface is where kube-proxy in IPVS mode puts the addresses of all Services, on every node.
const ipvsInterface = "kube-ipvs0"

// ownAddresses are those of the nodes themselves: what their speakers say they have, and what the Node objects name, which lasts while a
// speaker is away.
func ownAddresses(state State) map[netip.Addr]bool {
	own := map[netip.Addr]bool{}
	for _, speaker := range state.Speakers {
		for _, each := range speaker.Interfaces {
			if each.Name == ipvsInterface {
				continue
			}
			for _, addr := range each.Addresses {
				own[addr] = true
			}
		}
	}
	for _, object := range state.Nodes {
		for _, each := range object.Status.Addresses {
			if addr, err := netip.ParseAddr(each.Address); err == nil && each.Type == corev1.NodeInternalIP {
				own[addr.Unmap()] = true
			}
		}
	}
	return own
}

// cutOff says that an interface of the node, of those allowed, is in the subnet of an address and down.
func (n *node) cutOff(addr netip.Addr, allowed []string) bool {
	return slices.ContainsFunc(n.speaker.Interfaces, func(each Interface) bool {
		return !each.Up && (allowed == nil || slices.Contains(allowed, each.Name)) &&
			slices.ContainsFunc(each.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) })
	})
}

// reach says how the node can announce an address when only the named interfaces are allowed; nil allows all.
func (n *node) reach(addr netip.Addr, allowed []string) (interfaces []string, inSubnet bool, reason Reason) {
	if allowed != nil && len(allowed) == 0 { // the Services on the address have no interface in common
		return nil, false, NoSuchInterface
	}
	if n.speaker.Interfaces == nil {
		return allowed, true, Eligible
	}
	up := false
	for _, each := range n.speaker.Interfaces {
		if allowed != nil && !slices.Contains(allowed, each.Name) {
			continue
		}
		interfaces = append(interfaces, each.Name)
		if each.Up {
			up = true
			inSubnet = inSubnet || slices.ContainsFunc(each.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) })
		}
	}
	switch {
	case len(interfaces) == 0 && allowed != nil:
		return nil, false, NoSuchInterface
	case !up:
		return nil, false, InterfaceDown
	case allowed == nil:
		return nil, inSubnet, Eligible
	}
	slices.Sort(interfaces)
	return interfaces, inSubnet, Eligible
}
