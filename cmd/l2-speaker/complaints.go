// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// mostComplaints bounds how many VIPs users are told of at a time: an interface that is misspelt in an advertisement for a thousand of them
// is one mistake, and every node finds it.
const mostComplaints = 20

// complaints tells users, by an event on its Services, of a VIP that this node does not announce because it has none of the interfaces that
// are named. Why no node at all announces a VIP is for the controller to tell.
type complaints struct {
	observer *observer
	plans    chan map[netip.Addr]plan.VIP
	refusals cluster.Refusals // run's
}

func newComplaints(observer *observer) *complaints {
	return &complaints{observer: observer, plans: make(chan map[netip.Addr]plan.VIP, 1), refusals: cluster.Refusals{Node: observer.node}}
}

// plan brings a new plan; it does not block. One goroutine calls it.
func (c *complaints) plan(vips map[netip.Addr]plan.VIP) {
	select {
	case <-c.plans: // an older one that was not taken yet
	default:
	}
	c.plans <- vips
}

// run tells until the context is done.
func (c *complaints) run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case vips := <-c.plans:
			c.refusals.Plan(vips, time.Now())
		case <-ticker.C:
			c.tell(ctx, c.refusals.Due(time.Now()))
		}
	}
}

func (c *complaints) tell(ctx context.Context, due []plan.VIP) {
	for _, vip := range due[:min(len(due), mostComplaints)] {
		klog.FromContext(ctx).Info("VIP is not announced from this node", "vip", vip.Addr, "node", c.observer.node, "reason", plan.NoSuchInterface)
		for _, service := range vip.Services {
			c.observer.events.Event(c.observer.reference(service), corev1.EventTypeWarning, eventAnnounceFailed,
				"node "+c.observer.node+" does not announce "+vip.Addr.String()+": "+plan.Message(plan.NoSuchInterface))
		}
	}
	if more := len(due) - mostComplaints; more > 0 {
		klog.FromContext(ctx).Info("More VIPs are not announced from this node for the same reason", "vips", more, "node", c.observer.node, "reason", plan.NoSuchInterface)
	}
}
