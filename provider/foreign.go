// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

// Pools and L2Advertisements are read in one namespace. Whoever makes one elsewhere would wait in vain, so it is told
// there: by an event, and on a pool by its condition. It may be for another installation, or another controller: whose
// status somebody maintains is left alone.

// foreignPeriod is the least time between two looks at what is elsewhere. Nothing waits for it.
const foreignPeriod = 5 * time.Second

// foreignCaches hold the objects of all namespaces but ours.
type foreignCaches struct {
	pools, advertisements cache.SharedIndexInformer
	changed               signal
}

func newForeignCaches(api client.Interface, namespace string) foreignCaches {
	f := foreignCaches{
		pools:          elsewhere(api.IPAddressPools(metav1.NamespaceAll), &v1beta1.IPAddressPool{}, namespace),
		advertisements: elsewhere(api.L2Advertisements(metav1.NamespaceAll), &v1beta1.L2Advertisement{}, namespace),
		changed:        newSignal(),
	}
	slim(f.pools, f.advertisements)
	for _, informer := range []cache.SharedIndexInformer{f.pools, f.advertisements} {
		informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { f.changed.set() },
			UpdateFunc: func(any, any) { f.changed.set() },
		})
	}
	return f
}

// elsewhere watches the objects of one kind in all namespaces but one.
func elsewhere[T, L runtime.Object](resource client.Resource[T, L], example T, namespace string) cache.SharedIndexInformer {
	others := fields.OneTermNotEqualSelector("metadata.namespace", namespace).String()
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = others
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = others
			return resource.Watch(ctx, options)
		},
	}, example, 0, cache.Indexers{})
}

// reportForeign tells of what is elsewhere until ctx is done.
func (c *Cloud) reportForeign(ctx context.Context) {
	told := map[types.UID]bool{} // L2Advertisements, which have no condition to remember it by
	c.caches.foreign.changed.each(ctx, foreignPeriod, func() {
		for _, obj := range c.caches.foreign.pools.GetStore().List() {
			if pool := obj.(*v1beta1.IPAddressPool); pool.Namespace != c.options.Namespace && !maintained(pool) {
				c.refuseForeign(ctx, pool)
			}
		}
		for _, obj := range c.caches.foreign.advertisements.GetStore().List() {
			if ad := obj.(*v1beta1.L2Advertisement); ad.Namespace != c.options.Namespace && !told[ad.UID] {
				told[ad.UID] = true
				klog.FromContext(ctx).Info("L2Advertisement in a foreign namespace", "l2Advertisement", klog.KObj(ad))
				c.recorder.Event(ad, v1.EventTypeWarning, reasonForeign, c.readOnlyHere(v1beta1.KindL2Advertisement))
			}
		}
	})
}

func (c *Cloud) readOnlyHere(kind string) string {
	return fmt.Sprintf("%ss are read in namespace %s only: create it there and delete it here, unless it is for another controller", kind, c.options.Namespace)
}

// maintained tells whether somebody else says in a pool's status how it is used: in counters, or in the condition.
func maintained(pool *v1beta1.IPAddressPool) bool {
	status := &pool.Status
	if status.AssignedIPv4 != 0 || status.AvailableIPv4 != 0 || status.AssignedIPv6 != 0 || status.AvailableIPv6 != 0 {
		return true
	}
	ready := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady)
	return ready != nil && ready.Reason != reasonForeign
}

// refuseForeign says on a pool that it is not used, unless that is said already.
func (c *Cloud) refuseForeign(ctx context.Context, pool *v1beta1.IPAddressPool) {
	refused := pool.DeepCopy()
	if !meta.SetStatusCondition(&refused.Status.Conditions, metav1.Condition{
		Type:               v1beta1.ConditionReady,
		Status:             metav1.ConditionFalse,
		Reason:             reasonForeign,
		Message:            c.readOnlyHere(v1beta1.KindIPAddressPool),
		ObservedGeneration: pool.Generation,
	}) {
		return
	}
	_, err := c.clients.pools.IPAddressPools(pool.Namespace).UpdateStatus(ctx, refused, metav1.UpdateOptions{})
	switch {
	case err == nil:
		c.reportPool(klog.FromContext(ctx), pool, refused)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsInvalid(err):
		// It is gone, or it is seen again when it has changed.
	default:
		klog.FromContext(ctx).Info("Cannot write the status of a pool yet", "pool", klog.KObj(pool), "reason", err.Error())
		c.caches.foreign.changed.set()
	}
}
