// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	leaseSweepPeriod   = 100 * time.Millisecond // between two sweeps, at least
	leaseSweepInterval = 10 * time.Second       // between two sweeps, at most
	// sessionForgotten is how long a session of a deleted node must not have been renewed before its Lease goes.
	sessionForgotten = 30 * time.Second
)

// newLeaseInformer watches the Leases of VIPs and of speakers' sessions.
func newLeaseInformer(kube kubernetes.Interface, namespace string) cache.SharedIndexInformer {
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = names.LabelLease }))
	informer := factory.Coordination().V1().Leases().Informer()
	slim(informer)
	return informer
}

func (c *Cloud) watchLeases() {
	c.caches.leases.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.leasesChanged.set() },
		UpdateFunc: func(old, current any) {
			// Renewals change nothing that matters here, and are most of what is seen.
			if holder(old.(*coordinationv1.Lease)) != holder(current.(*coordinationv1.Lease)) {
				c.leasesChanged.set()
			}
		},
		DeleteFunc: func(any) { c.leasesChanged.set() },
	})
	c.caches.nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(any) { c.leasesChanged.set() },
	})
}

// sweepLeases deletes the Leases of VIPs that no Service has and nobody announces any more, and those of speakers
// whose node is gone.
func (c *Cloud) sweepLeases(ctx context.Context) {
	if !c.ready() {
		return
	}
	for _, obj := range c.caches.leases.GetStore().List() {
		lease := obj.(*coordinationv1.Lease)
		if reason := c.uselessLease(lease); reason != "" {
			c.deleteLease(ctx, lease, reason)
		}
	}
}

// uselessLease says why a Lease may be deleted, "" if it may not.
func (c *Cloud) uselessLease(lease *coordinationv1.Lease) string {
	if vip, ok := names.ParseVIPLease(lease.Name); ok {
		c.mu.Lock()
		inUse := c.allocator.InUse(vip)
		c.mu.Unlock()
		if !inUse && !c.holderLives(lease) {
			return "no Service has the VIP and nobody announces it"
		}
		return ""
	}
	if node, ok := names.ParseSessionLease(lease.Name); ok {
		if _, err := c.caches.nodes.Lister().Get(node); apierrors.IsNotFound(err) && c.sessionEnded(lease) {
			return "the node is gone"
		}
	}
	return ""
}

// holderLives tells whether the session under which a VIP Lease was taken is still the holder's.
func (c *Cloud) holderLives(lease *coordinationv1.Lease) bool {
	if holder(lease) == "" {
		return false
	}
	obj, ok, err := c.caches.leases.GetStore().GetByKey(lease.Namespace + "/" + names.SessionLease(holder(lease)))
	return err == nil && ok && holder(obj.(*coordinationv1.Lease)) != "" &&
		holder(obj.(*coordinationv1.Lease)) == lease.Annotations[names.AnnotationEpoch]
}

// sessionEnded judges a session whose node is gone. Its renewals carry another host's clock; half a minute is more
// than clocks in a cluster differ, and nothing depends on it but tidiness.
func (c *Cloud) sessionEnded(lease *coordinationv1.Lease) bool {
	return holder(lease) == "" || lease.Spec.RenewTime == nil || c.now().Sub(lease.Spec.RenewTime.Time) > sessionForgotten
}

func (c *Cloud) deleteLease(ctx context.Context, lease *coordinationv1.Lease, reason string) {
	logger := klog.FromContext(ctx)
	err := c.clients.kube.CoordinationV1().Leases(lease.Namespace).Delete(ctx, lease.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
	switch {
	case err == nil:
		logger.Info("Lease deleted", "lease", klog.KObj(lease), "reason", reason)
	case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
		logger.Error(err, "Cannot delete a Lease", "lease", klog.KObj(lease), "reason", reason)
	}
}

func holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
