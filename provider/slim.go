// SPDX-License-Identifier: Apache-2.0

package provider

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
	servicehelpers "k8s.io/cloud-provider/service/helpers"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// slim drops from caches what nobody reads: neither this package nor the stock controller.
func slim(informers ...cache.SharedIndexInformer) {
	for _, informer := range informers {
		// An error means that the informer runs already: then it keeps what it has.
		_ = informer.SetTransform(func(obj any) (any, error) {
			if svc, ok := obj.(*v1.Service); ok {
				slimService(svc)
				return obj, nil
			}
			if accessor, err := meta.Accessor(obj); err == nil {
				accessor.SetManagedFields(nil)
			}
			switch it := obj.(type) {
			case *v1.Node:
				slimNode(it)
			case *v1.Namespace:
				it.Annotations = nil
			case *coordinationv1.Lease:
				it.Annotations = only(it.Annotations, names.AnnotationEpoch, names.AnnotationConflict)
			}
			return obj, nil
		})
	}
}

// slimNode leaves of a node that there is one: whether a speaker's node is gone is all that is asked (sweepSession).
func slimNode(node *v1.Node) {
	node.Labels, node.Annotations, node.OwnerReferences = nil, nil, nil
	node.Spec, node.Status = v1.NodeSpec{}, v1.NodeStatus{}
}

// slimService leaves of a Service that neither is a load balancer nor was one what tells when it becomes one. Users'
// annotations, kubectl's copy of the manifest among them, are as large as the rest; services shows none but ours anyway. Whose
// a finalizer is matters once the Service is no load balancer any more.
func slimService(svc *v1.Service) {
	svc.Annotations = only(svc.Annotations, translate.Annotations...)
	if svc.Spec.Type != v1.ServiceTypeLoadBalancer && servicehelpers.HasLBFinalizer(svc) {
		svc.ManagedFields = finalizedByUs(svc.ManagedFields)
	} else {
		svc.ManagedFields = nil
	}
	if svc.Spec.Type == v1.ServiceTypeLoadBalancer || servicehelpers.HasLBFinalizer(svc) || len(svc.Status.LoadBalancer.Ingress) > 0 {
		return
	}
	svc.Labels, svc.OwnerReferences = nil, nil
	svc.Spec = v1.ServiceSpec{Type: svc.Spec.Type}
	svc.Status = v1.ServiceStatus{}
}

// only leaves some annotations. It is nil when nothing is left: to the stock controller, none and an empty map are not the
// same.
func only(annotations map[string]string, keys ...string) map[string]string {
	var left map[string]string
	for _, key := range keys {
		if value, ok := annotations[key]; ok {
			if left == nil {
				left = map[string]string{}
			}
			left[key] = value
		}
	}
	return left
}
