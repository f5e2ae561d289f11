// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// concerns says whether an object can matter to the plan at all. Pods come and go all the time; their EndpointSlices matter only
// if there is a LoadBalancer Service of their name. When that comes later than its slices, its own coming is what matters.
func (w *Watcher) concerns(object any) bool {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	switch it := object.(type) {
	case *corev1.Service:
		return balances(it)
	case *discoveryv1.EndpointSlice:
		service, _, err := w.services.GetStore().GetByKey(it.Namespace + "/" + it.Labels[discoveryv1.LabelServiceName])
		return balances(service) || err != nil
	}
	return object != nil
}

// balances says whether an object is a Service of type LoadBalancer: a cache that others share has Services of all types.
func balances(object any) bool {
	service, ok := object.(*corev1.Service)
	return ok && service.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// sameButVersion says whether two trimmed objects are the same but for the version. Kubelets report on their nodes all the time,
// Services and pools have status fields, and next to none of that is left of trimmed objects.
func sameButVersion(old, new any) bool {
	switch was := old.(type) {
	case *corev1.Node:
		is, ok := new.(*corev1.Node)
		return ok && same(*was, *is, func(n *corev1.Node) { n.ResourceVersion = "" })
	case *corev1.Service:
		is, ok := new.(*corev1.Service)
		return ok && same(*was, *is, func(s *corev1.Service) { s.ResourceVersion = "" })
	case *discoveryv1.EndpointSlice:
		is, ok := new.(*discoveryv1.EndpointSlice)
		return ok && same(*was, *is, func(s *discoveryv1.EndpointSlice) { s.ResourceVersion = "" })
	case *v1beta1.IPAddressPool:
		is, ok := new.(*v1beta1.IPAddressPool)
		return ok && same(*was, *is, func(p *v1beta1.IPAddressPool) { p.ResourceVersion = "" })
	case *v1beta1.L2Advertisement:
		is, ok := new.(*v1beta1.L2Advertisement)
		return ok && same(*was, *is, func(a *v1beta1.L2Advertisement) { a.ResourceVersion = "" })
	}
	return false
}

// same compares two objects without what clear clears in copies of them.
func same[T any](old, new T, clear func(*T)) bool {
	clear(&old)
	clear(&new)
	return equality.Semantic.DeepEqual(old, new)
}
