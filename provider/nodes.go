// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"time"

	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// silentNodes is the Node informer that the stock service controller is given: it can list nodes, and is told of no
// change. Nodes are the speakers' matter, so every change would end in an UpdateLoadBalancer that does nothing, for
// every Service. It also keeps the stock controller's node worker asleep, which reads the Services it caches while its
// service workers write them (a data race in k8s.io/cloud-provider v0.37.2).
type silentNodes struct{ coreinformers.NodeInformer }

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
