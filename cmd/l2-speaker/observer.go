// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Reasons of the speaker's events, as MetalLB's users know them.
const (
	eventNodeAssigned    = "nodeAssigned"
	eventAddressConflict = "AddressConflict"
	eventAnnounceFailed  = "announceFailed"
	eventMoved           = "nodeChanged" // ours alone
)

// statuses is what servicestatus.Writer does; its methods do not block.
type statuses interface {
	Announced(vip plan.VIP)
	Withdrawn(vip netip.Addr)
	SetSpeakers(speakers map[string]plan.Speaker)
}

// observer shows users what the speaker does: events on Services, ServiceL2Status objects, and metrics. Its methods are called from the
// decision loop; the recorder queues, and never blocks.
type observer struct {
	node string
	// began is when this speaker did.
	began   time.Time
	events  record.EventRecorder
	cluster *cluster.Watcher
	// statuses are the ServiceL2Status objects of this node.
	statuses statuses
	// services that each VIP was last counted for, so that the series go with it.
	services map[netip.Addr][]types.NamespacedName
}

func (o *observer) Announced(vip plan.VIP) {
	shown := o.services[vip.Addr]
	o.services[vip.Addr] = vip.Services
	announcedVIPs.Set(float64(len(o.services)))
	o.statuses.Announced(vip)
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

// FirstAnnounced counts how long users waited for their Services. One that was there before this speaker is not counted: nobody knows for how long it had no
// speaker to announce it, or which address it had.
func (o *observer) FirstAnnounced(vip plan.VIP) {
	for _, service := range vip.Services {
		if created := o.cluster.ServiceCreated(service); created.After(o.began) {
			announcedAfter.Observe(max(0, time.Since(created).Seconds()))
		}
	}
}

func (o *observer) Withdrawn(address netip.Addr) {
	for _, service := range o.services[address] {
		o.forget(service, address)
	}
	delete(o.services, address)
	announcedVIPs.Set(float64(len(o.services)))
	o.statuses.Withdrawn(address)
}

// Moved tells users why another node announces their Service now.
func (o *observer) Moved(vip plan.VIP, from, to, reason string) {
	for _, service := range vip.Services {
		o.events.Event(o.reference(service), corev1.EventTypeNormal, eventMoved, fmt.Sprintf("%s went from node %q to node %q: %s", vip.Addr, from, to, reason))
	}
}

func (o *observer) forget(service types.NamespacedName, address netip.Addr) {
	announced.Delete(map[string]string{"service": service.String(), "protocol": "layer2", "node": o.node, "ip": address.String()})
}

// Conflict tells of the host that has a VIP. Its MAC stands in the event and in the log and not in a label, for strangers can make up
// any number of them.
func (o *observer) Conflict(vip plan.VIP, sighting election.Sighting) {
	stage, message := conflictAnnounced, "another host, %s on %s of node %q, announces %s too: give that host another address, or take this one out of the pool"
	if sighting.Unclaimed {
		stage, message = conflictUnclaimed, "another host, %s on %s of node %q, has %s, which is not announced therefore: give that host another address, or take this one out of the pool"
	}
	conflicts.WithLabelValues(sighting.Interface, stage).Inc()
	for _, service := range vip.Services {
		o.events.Event(o.reference(service), corev1.EventTypeWarning, eventAddressConflict,
			fmt.Sprintf(message, sighting.MAC, sighting.Interface, o.node, sighting.VIP))
	}
}

func (o *observer) MembersHeard(count int) { membership.SetMembersHeard(count) }

func (o *observer) Sessions(speakers map[string]plan.Speaker) {
	o.cluster.SetSpeakers(speakers)
	o.statuses.SetSpeakers(speakers)
}

// reference is what an event is attached to; with the UID, so that `kubectl describe` finds it.
func (o *observer) reference(service types.NamespacedName) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: o.cluster.ServiceUID(service),
	}
}
