// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/api"
	servicehelpers "k8s.io/cloud-provider/service/helpers"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// GetLoadBalancer says that one exists as long as the allocator knows the Service. The Service's own status is no
// witness: the API server wipes it when the type changes.
func (c *Cloud) GetLoadBalancer(_ context.Context, _ string, svc *v1.Service) (*v1.LoadBalancerStatus, bool, error) {
	status := c.recorded(svc)
	return status, status != nil, nil
}

// GetLoadBalancerName is not used: Services have no name but their own here.
func (c *Cloud) GetLoadBalancerName(_ context.Context, _ string, svc *v1.Service) string {
	return svc.Namespace + "/" + svc.Name
}

// withdrawalPatience is how long a Service waits for an address that was just freed before users are told. Speakers
// withdraw it within milliseconds, and the Service is then looked at again at once (settle).
const withdrawalPatience = time.Second

// EnsureLoadBalancer allocates what the Service asks for. An error is for those who see no change by it: a Service that
// loses its address and finds no other has its status cleared, and waits for one without anybody retrying. A bare
// ImplementedElsewhere is how the stock controller is told to leave a Service as it is without a word.
func (c *Cloud) EnsureLoadBalancer(_ context.Context, _ string, svc *v1.Service, _ []*v1.Node) (*v1.LoadBalancerStatus, error) {
	if !c.ready() {
		return nil, api.NewRetryError("addresses in use are still being read", time.Second)
	}
	if c.awaitsPools(svc) {
		return nil, cloudprovider.ImplementedElsewhere
	}
	result, err := c.allocate(svc)
	status := translate.Status(result.Addresses)
	differs := !servicehelpers.LoadBalancerStatusEqual(status, &svc.Status.LoadBalancer)
	if err != nil && !differs && c.awaitsWithdrawal(svc) {
		return nil, cloudprovider.ImplementedElsewhere
	}
	// Not the context's logger: the stock controller's is quieter than users need (see StartServiceController).
	c.report(klog.Background(), svc, result, err, differs)
	if err != nil && !differs {
		return nil, err
	}
	return status, nil
}

// awaitsWithdrawal tells whether an address was freed so recently that it may end the Service's wait in a moment. If it
// does not, the Service is looked at again.
func (c *Cloud) awaitsWithdrawal(svc *v1.Service) bool {
	now := c.now()
	c.mu.Lock()
	recent := now.Sub(c.lastFreed) < withdrawalPatience
	c.mu.Unlock()
	if !recent {
		return false
	}
	patience := c.changes.patience(svc.UID, now)
	if patience > 0 {
		time.AfterFunc(patience, func() { c.services.enqueue(svc.Namespace, svc.Name) })
	}
	return patience > 0
}

// allocate lets a Service that was not seeded keep what its status names: the seeding may have read an older state.
func (c *Cloud) allocate(svc *v1.Service) (ipam.Result, error) {
	request := translate.Request(svc, c.namespaceLabels(svc.Namespace))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.allocator.Knows(request.ID) {
		c.allocator.Restore(request, translate.Recorded(svc), !servicehelpers.HasLBFinalizer(svc))
	}
	request = c.byRestedLabels(request)
	before := c.allocator.Held(request.ID)
	result, err := c.allocator.Allocate(request, c.now())
	if c.newTerms(request, err) && len(result.Addresses) > 0 {
		c.addressFreed.set() // its ports or backends may have made room for another one
	}
	if !slices.Equal(before, result.Addresses) {
		c.statusChanged.set()
		if len(before) > 0 {
			c.addressFreed.set()
		}
	}
	return result, err
}

// newTerms tells whether a Service may share its addresses on other terms than after its last Ensure. Where that failed,
// nobody knows on which. Call it with mu held.
func (c *Cloud) newTerms(request ipam.Request, failure error) bool {
	uid := types.UID(request.ID)
	former, ok := c.terms[uid]
	if failure != nil {
		delete(c.terms, uid)
		return true
	}
	c.terms[uid] = request.Sharing
	return !ok || former.Key != request.Sharing.Key || former.Backend != request.Sharing.Backend || !slices.Equal(former.Ports, request.Sharing.Ports)
}

// report tells users what an Ensure came to: one log line and one event for a change, nothing for none.
func (c *Cloud) report(logger klog.Logger, svc *v1.Service, result ipam.Result, err error, differs bool) {
	recorded := translate.Recorded(svc)
	for _, loss := range result.Lost {
		if slices.Contains(recorded, loss.Addr) {
			logger.Info("unassigned", "service", klog.KObj(svc), "vip", loss.Addr, "reason", loss.Reason)
			c.recorder.Eventf(svc, v1.EventTypeNormal, reasonCleared, "%s is not assigned any more: %s", loss.Addr, loss.Reason)
		}
	}
	gained := slices.DeleteFunc(slices.Clone(result.Addresses), func(addr netip.Addr) bool { return slices.Contains(recorded, addr) })
	if c.changes.tellAssigned(svc.UID, fmt.Sprint(result.Addresses)) && len(gained) > 0 {
		for _, addr := range gained {
			pool, _ := c.poolOf(addr)
			logger.Info("assigned", "service", klog.KObj(svc), "vip", addr, "pool", pool)
		}
		c.recorder.Eventf(svc, v1.EventTypeNormal, reasonAllocated, "Assigned IP %q", gained)
	}
	if err != nil {
		if c.changes.tellFailure(svc.UID, err.Error()) {
			logger.Info("not assigned", "service", klog.KObj(svc), "reason", err.Error())
			c.recorder.Eventf(svc, v1.EventTypeWarning, reasonFailed, "Failed to allocate IP for %q: %s", svc.Namespace+"/"+svc.Name, err)
		}
		return
	}
	c.changes.succeeded(svc.UID, differs)
}

// UpdateLoadBalancer is the speakers' matter. Any other answer, a wrapped one included, would cost an event per Service
// whenever a node comes or goes.
func (c *Cloud) UpdateLoadBalancer(context.Context, string, *v1.Service, []*v1.Node) error {
	return cloudprovider.ImplementedElsewhere
}

// EnsureLoadBalancerDeleted takes the Service's addresses back, and does not wait until they are withdrawn (quarantine.go).
func (c *Cloud) EnsureLoadBalancerDeleted(_ context.Context, _ string, svc *v1.Service) error {
	c.release(svc)
	return nil
}

func (c *Cloud) release(svc *v1.Service) {
	c.mu.Lock()
	held := c.allocator.Held(string(svc.UID))
	c.allocator.Release(string(svc.UID), c.now())
	delete(c.judged, svc.UID)
	delete(c.terms, svc.UID)
	c.mu.Unlock()
	c.changes.forget(svc.UID)
	for _, addr := range held {
		klog.Background().Info("released", "service", klog.KObj(svc), "vip", addr)
	}
	if len(held) > 0 {
		c.addressFreed.set()
		c.statusChanged.set()
	}
}

func (c *Cloud) poolOf(addr netip.Addr) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allocator.PoolOf(addr)
}
