// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// settle is how long after a change everything is read again: changes come in groups, and the API server is shared.
const settle = 300 * time.Millisecond

// watchChanges tells, until the context is done, when addresses, holders or the configuration may have changed. Renewals of sessions,
// which are most of what happens, are not watched.
func watchChanges(ctx context.Context, c *snapshot.Collector) (<-chan struct{}, error) {
	factory := func(namespace string, tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(namespace), informers.WithTweakListOptions(tweak))
	}
	watched := []cache.SharedIndexInformer{
		factory("", func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String()
		}).Core().V1().Services().Informer(),
		factory(c.Namespace, func(options *metav1.ListOptions) { options.LabelSelector = names.LabelLease + "=" + names.LeaseVIP }).Coordination().V1().Leases().Informer(),
		client.NewIPAddressPoolInformer(c.Custom, c.Namespace, 0),
		client.NewL2AdvertisementInformer(c.Custom, c.Namespace, 0),
	}
	raw := make(chan struct{}, 1)
	notify := func() {
		select {
		case raw <- struct{}{}:
		default:
		}
	}
	for _, informer := range watched {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(_ any, initial bool) {
				if !initial {
					notify()
				}
			},
			UpdateFunc: func(any, any) { notify() },
			DeleteFunc: func(any) { notify() },
		}); err != nil {
			return nil, fmt.Errorf("watching: %w", err)
		}
		go informer.RunWithContext(ctx)
	}
	settled := make(chan struct{})
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-raw:
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
			select {
			case <-raw: // what came meanwhile is seen too
			default:
			}
			select {
			case <-ctx.Done():
				return
			case settled <- struct{}{}:
			}
		}
	}()
	notify() // what happened between the first reading and the watch
	return settled, nil
}
