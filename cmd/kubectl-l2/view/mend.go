// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// mendWaiting says what to do for a Service that waits for an address. What the allocator refuses for says most of it.
func mendWaiting(s *snapshot.Snapshot, service ServiceAllocation) []string {
	switch {
	case len(s.Pools) == 0:
		return []string{fmt.Sprintf("create an IPAddressPool in namespace %s, and an L2Advertisement for it", s.Namespace)}
	case snapshot.Holder(s.ControllerLease()) == "" && s.CouldRead(snapshot.Leases):
		return []string{fmt.Sprintf("no controller leads: see kubectl get pods -n %s -l component=controller", s.Namespace)}
	}
	for _, pool := range service.Pools {
		if pool.Tried && pool.Total > 0 && pool.InUse >= pool.Total {
			return []string{fmt.Sprintf("pool %s is exhausted (%d of %d in use): add addresses to it with kubectl edit ipaddresspool -n %s %s, or delete Services that are not needed", pool.Name, pool.InUse, pool.Total, s.Namespace, pool.Name)}
		}
	}
	return nil
}

// Mend says what to do about an address that no node announces, with the commands for it.
func Mend(s *snapshot.Snapshot, reason plan.Reason, address Announcement) []string {
	switch reason {
	case plan.NoPool:
		return []string{fmt.Sprintf("add %s to an IPAddressPool in namespace %s, or let the Service have another address", address.Address, s.Namespace)}
	case plan.NoAdvertisement, plan.SharedNotAdvertised:
		var refusals []string
		for _, ad := range address.Advertisements {
			if ad.Reason != "" {
				refusals = append(refusals, fmt.Sprintf("L2Advertisement %s: %s", ad.Name, ad.Reason))
			}
		}
		mend := fmt.Sprintf("create an L2Advertisement in namespace %s with spec.ipAddressPools: [%s]", s.Namespace, address.Pool)
		if len(refusals) > 0 {
			mend += ", or correct one that is there: " + strings.Join(refusals, "; ")
		}
		return []string{mend}
	case plan.NoReadyEndpoints:
		namespace, _, _ := strings.Cut(address.Services[0], "/")
		return []string{"make pods ready that the selector of the Service matches: see kubectl get pods,endpointslices -n " + namespace}
	case plan.NoEligibleNode:
		return MendNodes(s, address)
	}
	return nil
}

// MendNodes says what to do about each reason for which nodes may not announce an address.
func MendNodes(s *snapshot.Snapshot, address Announcement) (mend []string) {
	byReason := map[plan.Reason][]string{}
	var reasons []plan.Reason
	for _, node := range address.Nodes {
		if byReason[node.Reason] == nil {
			reasons = append(reasons, node.Reason)
		}
		byReason[node.Reason] = append(byReason[node.Reason], node.Node)
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		if text := mendNode(s, reason, byReason[reason], address); text != "" {
			mend = append(mend, text)
		}
	}
	return mend
}

func mendNode(s *snapshot.Snapshot, reason plan.Reason, nodes []string, address Announcement) string {
	list := someOf(nodes)
	switch reason {
	case plan.NoSpeaker:
		return fmt.Sprintf("let a speaker run on %s: see kubectl get pods -n %s -l component=speaker -o wide", list, s.Namespace)
	case plan.ExcludeLabel:
		return fmt.Sprintf("take the label off: kubectl label node %s %s-", strings.Join(nodes[:min(len(nodes), 5)], " "), corev1.LabelNodeExcludeBalancers)
	case plan.NotSelected:
		return fmt.Sprintf("label a node as the L2Advertisement wants it (%s), or change its nodeSelectors", nodeSelectorsOf(s, address))
	case plan.NoLocalEndpoint:
		return fmt.Sprintf("let a ready pod of the Service run on %s, or set the Service's externalTrafficPolicy to Cluster", list)
	case plan.NoSuchInterface:
		return fmt.Sprintf("correct the interfaces of the L2Advertisement: %s has none of them", list)
	case plan.InterfaceDown:
		return "bring the interfaces up on " + list
	case plan.NetworkUnavailable:
		return "let the network plugin set up " + list
	case plan.OutOfService:
		return fmt.Sprintf("take the taint off when the node is back: kubectl taint node %s %s-", strings.Join(nodes[:min(len(nodes), 5)], " "), corev1.TaintNodeOutOfService)
	}
	return ""
}

// nodeSelectorsOf are the nodeSelectors of the L2Advertisements that cover an address.
func nodeSelectorsOf(s *snapshot.Snapshot, address Announcement) string {
	var texts []string
	for _, object := range s.Advertisements {
		covers := slices.ContainsFunc(address.Advertisements, func(verdict AdvertisementVerdict) bool { return verdict.Name == object.Name && verdict.Covers })
		if !covers {
			continue
		}
		for i := range object.Spec.NodeSelectors {
			texts = append(texts, object.Name+": "+metav1.FormatLabelSelector(&object.Spec.NodeSelectors[i]))
		}
	}
	return strings.Join(texts, "; ")
}

// someOf names nodes, at most ten.
func someOf(nodes []string) string {
	if len(nodes) <= 10 {
		return strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(nodes[:10], ", "), len(nodes)-10)
}
