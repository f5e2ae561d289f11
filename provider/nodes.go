// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"time"

	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// silentNodes is the Node informer that the stock service controller is given: it lists no node, and tells of no change.
// Nodes are the speakers' matter, so every change would end in an UpdateLoadBalancer that does nothing, for every Service.
// It also keeps the stock controller's node worker asleep, which reads the Services it caches while its service workers
// write them (a data race in k8s.io/cloud-provider v0.37.2). The stock controller keeps the nodes that it last listed for
// every Service, and goes on keeping them for Services that are gone (also there); of none, that is next to nothing. Its
// event that there is no node is dropped (changes.news).
type silentNodes struct{ coreinformers.NodeInformer }

func (silentNodes) Lister() corelisters.NodeLister {
	return corelisters.NewNodeLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}))
}

func (n silentNodes) Informer() cache.SharedIndexInformer {
	return silentInformer{n.NodeInformer.Informer()}
}

type silentInformer struct{ cache.SharedIndexInformer }

func (silentInformer) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return nil, nil
}

func (silentInformer) AddEventHandlerWithResyncPeriod(cache.ResourceEventHandler, time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return nil, nil
}

func (silentInformer) AddEventHandlerWithOptions(cache.ResourceEventHandler, cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return nil, nil
}
