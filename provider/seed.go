// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"cmp"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// seed gives every Service what its status says it has, the oldest first. Only then is any Service served.
func (c *Cloud) seed(logger klog.Logger) {
	all, err := c.services.ServiceInformer.Lister().List(labels.Everything())
	if err != nil {
		logger.Error(err, "Cannot list Services from the cache")
	}
	claims := slices.DeleteFunc(slices.Clone(all), func(svc *v1.Service) bool { return !c.services.ours(svc) || len(recordedOn(svc)) == 0 })
	slices.SortFunc(claims, func(a, b *v1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	c.mu.Lock()
	for _, svc := range claims {
		request, _ := requestOf(svc, c.namespaceLabels(svc.Namespace)) // what is wrong with it is said when it is served
		c.allocator.Restore(request, recordedOn(svc))
	}
	c.mu.Unlock()
	logger.Info("Addresses in use read from the Services", "services", len(claims))
	c.seeded.Store(true)
	c.statusChanged.set()
}

func (c *Cloud) namespaceLabels(name string) map[string]string {
	namespace, err := c.caches.namespaces.Lister().Get(name)
	if err != nil {
		return nil
	}
	return namespace.Labels
}

// watchNamespaces re-queues the Services of a namespace whose labels changed, for pools that select by them.
func (c *Cloud) watchNamespaces() {
	c.caches.namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if namespace := obj.(*v1.Namespace); c.ready() {
				c.enqueueNamespace(namespace.Name)
			}
		},
		UpdateFunc: func(old, current any) {
			former, namespace := old.(*v1.Namespace), current.(*v1.Namespace)
			if c.ready() && !labels.Equals(former.Labels, namespace.Labels) {
				c.enqueueNamespace(namespace.Name)
			}
		},
	})
}

func (c *Cloud) enqueueNamespace(namespace string) {
	all, err := c.services.ServiceInformer.Lister().Services(namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, svc := range all {
		if c.services.ours(svc) {
			c.services.enqueue(svc.Namespace, svc.Name)
		}
	}
}

// slim drops from caches what nobody reads.
func slim(informers ...cache.SharedIndexInformer) {
	for _, informer := range informers {
		// An error means that the informer runs already: then it keeps what it has.
		_ = informer.SetTransform(func(obj any) (any, error) {
			if accessor, err := meta.Accessor(obj); err == nil {
				accessor.SetManagedFields(nil)
			}
			if node, ok := obj.(*v1.Node); ok {
				node.Status.Images, node.Status.VolumesInUse, node.Status.VolumesAttached = nil, nil, nil
			}
			return obj, nil
		})
	}
}
