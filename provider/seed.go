// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

const seedRetryInterval = time.Second

// seed gives every Service what its status says it has. Only then is any Service served. It asks the API server, since
// the cache may be older than what the former leader wrote last.
func (c *Cloud) seed(ctx context.Context) error {
	all, err := c.clients.kube.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing Services: %w", err)
	}
	claims := slices.DeleteFunc(all.Items, func(svc v1.Service) bool { return !c.services.ours(&svc) || len(translate.Recorded(&svc)) == 0 })
	slices.SortFunc(claims, translate.CompareClaims)
	c.mu.Lock()
	for i := range claims {
		svc := &claims[i]
		request := translate.Request(svc, c.namespaceLabels(svc.Namespace))
		c.allocator.Restore(request, translate.Recorded(svc))
		c.judge(request)
	}
	c.rebuildQuarantine()
	c.mu.Unlock()
	klog.FromContext(ctx).Info("Addresses in use read from the Services", "services", len(claims))
	c.seeded.Store(true)
	c.statusChanged.set()
	c.leasesChanged.set()
	return nil
}

// seedUntilDone tells whether the seeding was done before ctx.
func (c *Cloud) seedUntilDone(ctx context.Context) bool {
	for {
		err := c.seed(ctx)
		if err == nil {
			return true
		}
		klog.FromContext(ctx).Error(err, "Cannot read the addresses in use yet: nothing is allocated")
		if !pause(ctx, seedRetryInterval) {
			return false
		}
	}
}

func (c *Cloud) namespaceLabels(name string) map[string]string {
	namespace, err := c.caches.namespaces.Lister().Get(name)
	if err != nil {
		return nil
	}
	return namespace.Labels
}

// watchNamespaces has the Services of a namespace whose labels changed judged again, for pools that select by them.
func (c *Cloud) watchNamespaces() {
	c.caches.namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if namespace := obj.(*v1.Namespace); c.ready() {
				c.judgeNamespace(namespace.Name)
			}
		},
		UpdateFunc: func(old, current any) {
			former, namespace := old.(*v1.Namespace), current.(*v1.Namespace)
			if c.ready() && !labels.Equals(former.Labels, namespace.Labels) {
				c.judgeNamespace(namespace.Name)
			}
		},
	})
}

// judgeNamespace looks at once at Services that can only gain, and at others when the labels have rested.
func (c *Cloud) judgeNamespace(namespace string) {
	all, err := c.services.ServiceInformer.Lister().Services(namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, svc := range all {
		if c.services.ours(svc) && !c.judgeAfterRest(svc.UID) {
			c.services.enqueue(svc.Namespace, svc.Name)
		}
	}
}
