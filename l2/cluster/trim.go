// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// trim leaves of an object what the plan reads, and what a cache needs. There is a copy of every object on every node, also of
// the EndpointSlices of Services that are not ours: the API can leave those out no more than this can, which sees them before
// it knows their Services.
func trim(object any) (any, error) {
	switch it := object.(type) {
	case *corev1.Node:
		it.ObjectMeta = identity(it.ObjectMeta)
		it.Spec = corev1.NodeSpec{Unschedulable: it.Spec.Unschedulable, Taints: it.Spec.Taints}
		var conditions []corev1.NodeCondition
		for _, condition := range it.Status.Conditions {
			if condition.Type == corev1.NodeNetworkUnavailable {
				conditions = append(conditions, corev1.NodeCondition{Type: condition.Type, Status: condition.Status})
			}
		}
		var addresses []corev1.NodeAddress // which are nobody's to announce
		for _, address := range it.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				addresses = append(addresses, address)
			}
		}
		it.Status = corev1.NodeStatus{Conditions: conditions, Addresses: addresses}
	case *corev1.Service:
		it.ObjectMeta = identity(it.ObjectMeta)
		it.Spec = corev1.ServiceSpec{
			Type: it.Spec.Type, LoadBalancerClass: it.Spec.LoadBalancerClass, ExternalTrafficPolicy: it.Spec.ExternalTrafficPolicy,
		}
		var ingress []corev1.LoadBalancerIngress
		for _, each := range it.Status.LoadBalancer.Ingress {
			ingress = append(ingress, corev1.LoadBalancerIngress{IP: each.IP})
		}
		it.Status = corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}}
	case *discoveryv1.EndpointSlice:
		service := it.Labels[discoveryv1.LabelServiceName]
		it.ObjectMeta = identity(it.ObjectMeta)
		it.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		it.Ports, it.Endpoints = nil, kindsOf(it.Endpoints)
	case *v1beta1.IPAddressPool:
		it.ObjectMeta = identity(it.ObjectMeta)
		it.Status = v1beta1.IPAddressPoolStatus{}
	case *v1beta1.L2Advertisement:
		generation := it.Generation
		it.ObjectMeta = identity(it.ObjectMeta)
		it.Generation = generation
		it.Status = v1beta1.L2AdvertisementStatus{}
	}
	return object, nil
}

// identity leaves of the metadata what tells objects apart, and their labels. Pools have their rights by age.
func identity(full metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID, ResourceVersion: full.ResourceVersion,
		CreationTimestamp: full.CreationTimestamp, DeletionTimestamp: full.DeletionTimestamp, Labels: full.Labels,
	}
}

// kindsOf leaves one endpoint for each node and state: the plan does not count them.
func kindsOf(endpoints []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	type kind struct {
		node                        string
		known                       bool
		ready, serving, terminating int8
	}
	seen := make(map[kind]bool)
	var kinds []discoveryv1.Endpoint
	for _, endpoint := range endpoints {
		conditions := endpoint.Conditions
		each := kind{ready: state(conditions.Ready), serving: state(conditions.Serving), terminating: state(conditions.Terminating)}
		if endpoint.NodeName != nil {
			each.node, each.known = unique.Make(*endpoint.NodeName).Value(), true // one copy of the name for all slices
		}
		if seen[each] {
			continue
		}
		seen[each] = true
		left := discoveryv1.Endpoint{Conditions: conditions}
		if each.known {
			left.NodeName = &each.node
		}
		kinds = append(kinds, left)
	}
	return kinds
}

// state is that of a condition: unknown, false or true.
func state(condition *bool) int8 {
	switch {
	case condition == nil:
		return 0
	case *condition:
		return 2
	}
	return 1
}
