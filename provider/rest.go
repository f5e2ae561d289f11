// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// What one `kubectl apply` writes belongs together, in whatever order it is written: pools, and the labels of Services
// and namespaces, by which pools choose. So nothing is taken away by them before they have rested. What they give, they
// give at once.
const (
	poolsRest    = 200 * time.Millisecond // without any change
	poolsRestMax = 2 * time.Second        // of changes that do not end
)

// judgedBy is the labels by which a Service was last judged.
type judgedBy struct{ service, namespace map[string]string }

// applyPools judges all Services by the pools and the labels as they are now, once they have rested. What is there for
// those who wait need not rest: pools that only grew take nothing from anybody.
func (c *Cloud) applyPools(ctx context.Context) {
	logger := klog.FromContext(ctx)
	end := time.After(poolsRestMax)
	for resting := true; resting; {
		if c.comparePools() == poolsGrew {
			c.readPools(logger)
			c.settle(false)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.poolsChanged:
		case <-time.After(poolsRest):
			resting = false
		case <-end:
			resting = false
		}
	}
	if c.comparePools() != poolsSame {
		c.readPools(logger)
	}
	c.updateRequests()
	c.settle(true)
}

// awaitsPools tells whether a Service without addresses has to wait until the pools have rested: what it was given before might be taken away in a moment.
// It is looked at again.
func (c *Cloud) awaitsPools(svc *v1.Service) bool {
	if len(translate.Recorded(svc)) > 0 {
		return false
	}
	c.mu.Lock()
	holds := len(c.allocator.Held(string(svc.UID))) > 0
	c.mu.Unlock()
	if holds || c.comparePools() != poolsOther {
		return false
	}
	time.AfterFunc(poolsRest, func() { c.services.enqueue(svc.Namespace, svc.Name) })
	return true
}

// updateRequests tells the allocator what Services ask for, before they have been ensured again.
func (c *Cloud) updateRequests() {
	services, err := c.services.ServiceInformer.Lister().List(labels.Everything())
	if err != nil {
		return // a cache has no reason to fail
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, svc := range services {
		if c.services.ours(svc) && c.allocator.Knows(string(svc.UID)) {
			request := translate.Request(svc, c.namespaceLabels(svc.Namespace))
			c.judge(request)
			c.allocator.Update(request)
		}
	}
}

// judge remembers by which labels a Service is judged. Call it with mu held.
func (c *Cloud) judge(request ipam.Request) {
	c.judged[types.UID(request.ID)] = judgedBy{request.Labels, request.NamespaceLabels}
}

// byRestedLabels has a Service that holds addresses judged by the labels by which it was last judged, until the rest of
// those that it has now is over. Call it with mu held.
func (c *Cloud) byRestedLabels(request ipam.Request) ipam.Request {
	former, ok := c.judged[types.UID(request.ID)]
	if !ok || len(c.allocator.Held(request.ID)) == 0 {
		c.judge(request)
		return request
	}
	if !labels.Equals(former.service, request.Labels) || !labels.Equals(former.namespace, request.NamespaceLabels) {
		request.Labels, request.NamespaceLabels = former.service, former.namespace
		c.poolsChanged.set()
	}
	return request
}

// judgeAfterRest has a Service judged by its labels once they have rested, if it holds anything that it could lose.
func (c *Cloud) judgeAfterRest(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.allocator.Held(string(uid))) == 0 {
		return false
	}
	c.poolsChanged.set()
	return true
}

// anyHeld tells whether any Service holds an address. Call it with mu held.
func (c *Cloud) anyHeld() bool {
	for uid := range c.judged {
		if len(c.allocator.Held(string(uid))) > 0 {
			return true
		}
	}
	return false
}
