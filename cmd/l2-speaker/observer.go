// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Reasons of the speaker's events, as MetalLB's users know them.
const (
	eventNodeAssigned    = "nodeAssigned"
	eventAddressConflict = "AddressConflict"
)

var announced = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Namespace:      "metallb",
	Subsystem:      "speaker",
	Name:           "announced",
	Help:           "1 for each Service and address that this node answers for now.",
	StabilityLevel: metrics.ALPHA,
}, []string{"service", "protocol", "node", "ip"})

func init() {
	legacyregistry.MustRegister(announced)
}

// observer shows users what the speaker does: events on Services, and metrics. Its methods are called from the
// decision loop; the recorder queues, and never blocks.
type observer struct {
	node    string
	events  record.EventRecorder
	cluster *cluster.Watcher
	// services that each VIP was last counted for, so that the series go with it.
	services map[netip.Addr][]types.NamespacedName
}

func (o *observer) Announced(vip plan.VIP) {
	shown := o.services[vip.Addr]
	o.services[vip.Addr] = vip.Services
	for _, service := range shown {
		if !slices.Contains(vip.Services, service) {
			o.forget(service, vip.Addr)
		}
	}
	for _, service := range vip.Services {
		if slices.Contains(shown, service) {
			continue
		}
		announced.WithLabelValues(service.String(), "layer2", o.node, vip.Addr.String()).Set(1)
		o.events.Event(o.reference(service), corev1.EventTypeNormal, eventNodeAssigned,
			fmt.Sprintf("announcing from node %q with protocol %q", o.node, "layer2"))
	}
}

func (o *observer) Withdrawn(address netip.Addr) {
	for _, service := range o.services[address] {
		o.forget(service, address)
	}
	delete(o.services, address)
}

func (o *observer) forget(service types.NamespacedName, address netip.Addr) {
	announced.Delete(map[string]string{"service": service.String(), "protocol": "layer2", "node": o.node, "ip": address.String()})
}

func (o *observer) Conflict(vip plan.VIP, sighting election.Sighting) {
	for _, service := range vip.Services {
		o.events.Event(o.reference(service), corev1.EventTypeWarning, eventAddressConflict,
			fmt.Sprintf("another host, %s on %s of node %q, announces %s too: give that host another address, or take this one out of the pool", sighting.MAC, sighting.Interface, o.node, sighting.VIP))
	}
}

func (o *observer) MembersHeard(count int) { membership.SetMembersHeard(count) }

func (o *observer) Sessions(speakers map[string]plan.Speaker) { o.cluster.SetSpeakers(speakers) }

// reference is what an event is attached to; with the UID, so that `kubectl describe` finds it.
func (o *observer) reference(service types.NamespacedName) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: o.cluster.ServiceUID(service),
	}
}
