// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
	servicehelpers "k8s.io/cloud-provider/service/helpers"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

const (
	seedRetryInterval = time.Second
	cachesPoll        = 50 * time.Millisecond
	// listAgain is how long caches get to come as far as a List before the next, which a Service that was deleted in between
	// makes necessary. It doubles up to seedRetryInterval.
	listAgain = 100 * time.Millisecond
	// cachesPatience is how long the seeding waits for caches that are older than what the API server has.
	cachesPatience = 10 * time.Second
)

// seed gives every Service what its status says it has. Only then is any Service served. It asks the API server, since
// the cache may be older than what the former leader wrote last. What Services are judged by next, they are judged by from
// caches, so these must have come as far as the API server: seed tells whether they have, and does nothing if they have
// not within its patience, unless it is to go on.
func (c *Cloud) seed(ctx context.Context, patience time.Duration, goOn bool) (done bool, err error) {
	services, err := c.clients.kube.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing Services: %w", err)
	}
	namespaces, err := c.clients.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing namespaces: %w", err)
	}
	pools, err := c.clients.pools.IPAddressPools(c.options.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing IPAddressPools: %w", err)
	}
	caughtUp := waitUntil(ctx, patience, func() bool {
		return reached(c.services.ServiceInformer.Informer().GetStore(), services) &&
			reached(c.caches.namespaces.Informer().GetStore(), namespaces) &&
			reached(c.caches.pools.GetStore(), pools)
	})
	switch {
	case caughtUp:
	case !goOn || ctx.Err() != nil:
		return false, nil
	default:
		klog.FromContext(ctx).Info("Caches are older than what the API server has: the seeding goes on by them", "waited", cachesPatience)
	}
	c.restore(ctx, services.Items, caughtUp)
	c.seeded.Store(true)
	c.statusChanged.set()
	c.leasesChanged.set()
	return true, nil
}

// restore fills the allocator. Services that are not in a cache that has been as new as they are were deleted since.
func (c *Cloud) restore(ctx context.Context, all []v1.Service, caughtUp bool) {
	logger := klog.FromContext(ctx)
	c.readPools(logger)
	claims := slices.DeleteFunc(all, func(svc v1.Service) bool { return !c.services.ours(&svc) || len(translate.Recorded(&svc)) == 0 })
	slices.SortFunc(claims, translate.CompareClaims)
	c.mu.Lock()
	for i := range claims {
		svc := &claims[i]
		request := translate.Request(svc, c.namespaceLabels(svc.Namespace))
		c.allocator.Restore(request, translate.Recorded(svc), !servicehelpers.HasLBFinalizer(svc))
		c.judge(request)
	}
	c.rebuildQuarantine()
	c.mu.Unlock()
	logger.Info("Addresses in use read from the Services", "services", len(claims))
	for i := range claims {
		if svc := &claims[i]; caughtUp && !c.services.mayHold(svc) {
			c.release(svc)
		}
	}
}

// seedUntilDone tells whether the seeding was done before ctx.
func (c *Cloud) seedUntilDone(ctx context.Context) bool {
	start := time.Now()
	for patience := listAgain; ; patience = min(2*patience, seedRetryInterval) {
		done, err := c.seed(ctx, patience, time.Since(start) >= cachesPatience)
		switch {
		case done:
			return true
		case ctx.Err() != nil:
			return false
		case err != nil:
			klog.FromContext(ctx).Error(err, "Cannot read the addresses in use yet: nothing is allocated")
			if !pause(ctx, seedRetryInterval) {
				return false
			}
			start = time.Now() // caches may have heard nothing either
		}
	}
}

// reached tells whether a cache has come as far as a List: it has nothing older than that, and nothing that is gone by then.
func reached(store cache.Store, list runtime.Object) bool {
	whole, err := meta.ListAccessor(list)
	if err != nil {
		return false
	}
	listed := map[string]bool{}
	asNew := meta.EachListItem(list, func(obj runtime.Object) error {
		key, err := cache.MetaNamespaceKeyFunc(obj)
		if err != nil {
			return err
		}
		listed[key] = true
		cached, ok, _ := store.GetByKey(key)
		if !ok || older(versionOf(cached), versionOf(obj)) {
			return errOlder
		}
		return nil
	})
	if asNew != nil {
		return false
	}
	for _, key := range store.ListKeys() {
		if cached, ok, _ := store.GetByKey(key); ok && !listed[key] && !older(whole.GetResourceVersion(), versionOf(cached)) {
			return false
		}
	}
	return true
}

var errOlder = errors.New("the cache is older")

func versionOf(obj any) string {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return accessor.GetResourceVersion()
}

// older tells whether a version is older than another one. Those that cannot be compared are not.
func older(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// waitUntil tells whether something came true before ctx was done and before the time was up.
func waitUntil(ctx context.Context, patience time.Duration, came func() bool) bool {
	for end := time.Now().Add(patience); ; {
		if came() {
			return ctx.Err() == nil
		}
		if time.Now().After(end) || !pause(ctx, cachesPoll) {
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
