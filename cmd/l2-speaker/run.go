// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/serve"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/servicestatus"
)

// writes to Leases that a speaker has under way at once, when it takes or hands over many VIPs.
const writes = 32

// stuck is how long the decision loop may not have turned before the kubelet is told, so that it restarts the speaker.
const stuck = 10 * time.Second

// run wires the parts of the speaker and runs them until the context is done.
func run(ctx context.Context, o *options) error {
	log := klog.FromContext(ctx)
	log.Info("Speaker starts", "version", version.Get().GitVersion, "node", o.node, "namespace", o.namespace, "failover", o.failover, "onAPILoss", o.onAPILoss)
	clients, err := newClients(o.kubeconfig)
	if err != nil {
		return err
	}

	// The parts outlive the context: VIPs are handed over after it is done.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()

	events := newEvents(running, ctx.Done(), &typedcorev1.EventSinkImpl{Interface: clients.events.CoreV1().Events("")},
		corev1.EventSource{Component: "metallb-speaker", Host: o.node})
	defer events.end()
	statuses, err := servicestatus.NewWriter(clients.statuses.ServiceL2Statuses(o.namespace), o.namespace, o.node)
	if err != nil {
		return err
	}
	observer := &observer{
		node:     o.node,
		began:    time.Now(),
		events:   events,
		statuses: statuses,
		services: map[netip.Addr][]types.NamespacedName{},
	}

	var speaker *election.Speaker
	announcer, err := announce.New(log.WithName("announce"), announce.Config{
		ExcludeInterfaces: regexp.MustCompile(o.excludedInterfaces), // validated
		Alive:             func() bool { return speaker.Alive() },
		AnnounceOnReturn:  func() bool { return speaker.Fresh() },

		GratuitousInterval: o.gratuitousInterval,
		Metrics:            announce.NewMetrics(legacyregistry.MustRegister),
	})
	if err != nil {
		return fmt.Errorf("announcer: %w", err)
	}
	transport := membership.NewTransport(running, membership.TransportConfig{Port: o.heartbeatPort})
	speaker = election.NewSpeaker(ctx, election.Config{
		Node: o.node, Namespace: o.namespace, Timing: o.timing(), WithdrawOnAPILoss: o.onAPILoss == "withdraw",
		Leases: clients.leases.CoordinationV1(), Sessions: clients.session.CoordinationV1(), Doubts: clients.doubts.CoordinationV1(), Announcer: announcer, Sender: transport, Observer: observer,
		Members:     func(macs []string) { announcer.SetMembers(parseMACs(macs)) },
		LeaveWithin: o.leaveWithin, Writes: writes, Metrics: election.NewMetrics(legacyregistry.MustRegister),
	})
	complaints := newComplaints(observer)
	watcher, err := cluster.NewWatcher(clients.kube, clients.custom, o.namespace, o.selection, func(vips map[netip.Addr]plan.VIP) {
		speaker.SetPlan(vips)
		complaints.plan(vips)
	})
	if err != nil {
		return err
	}
	observer.cluster = watcher
	serve.ShowConfiguration(watcher.HasSynced, func() bool { return watcher.HasSynced() && !speaker.Fresh() })

	failed := make(chan error, 8)
	start := func(name string, part func(context.Context) error) {
		parts.Go(func() {
			if err := part(running); err != nil && running.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("announcer", announcer.Run)
	start("heartbeats", transport.Run)
	start("cluster", watcher.Run)
	start("key of heartbeats", func(ctx context.Context) error { return watchKey(ctx, clients.kube, o.namespace, speaker.SetKey) })
	start("gateway", func(ctx context.Context) error { watchGateway(ctx, speaker.SetGateway); return nil })
	start("LAN", func(ctx context.Context) error { relay(ctx, announcer, transport, speaker); return nil })
	start("ServiceL2Statuses", statuses.Run)
	start("interfaces without a VIP", complaints.run)
	if o.metricsAddress != "" {
		listener, err := serve.Listen(o.metricsAddress)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		turns := func() (string, bool) { return turning(speaker) }
		start("metrics", func(ctx context.Context) error {
			return serve.Run(ctx, listener, turns, func() (string, bool) { return readiness(speaker, watcher) })
		})
	}
	if o.statusSocket != "" {
		listener, err := listenLocally(o.statusSocket)
		if err != nil { // it is for people to look; VIPs are not to wait for it
			log.Error(err, "`l2-speaker status` will not work on this node", "socket", o.statusSocket)
		} else {
			start("status", func(ctx context.Context) error { return serve.HTTP(ctx, listener, statusHandler(speaker, o)) })
		}
	}

	elected := make(chan error, 1)
	go func() { elected <- speaker.Run(ctx) }()
	select {
	case err = <-elected:
	case err = <-failed:
	}
	return err
}

// relay passes on what the LAN shows: interfaces, sightings and heartbeats.
func relay(ctx context.Context, announcer *announce.Announcer, transport *membership.Transport, speaker *election.Speaker) {
	interfaces := func() {
		var locals []election.LocalInterface
		var carriers []membership.Interface
		for _, each := range announcer.Interfaces() {
			locals = append(locals, election.LocalInterface{Name: each.Name, MAC: each.MAC.String(), Addresses: each.Prefixes, Down: !each.Up})
			if !each.Up {
				continue
			}
			carriers = append(carriers, membership.Interface{Name: each.Name, Index: each.Index, Addresses: each.Prefixes})
		}
		transport.SetInterfaces(carriers)
		speaker.SetInterfaces(locals)
	}
	interfaces()
	for {
		select {
		case <-ctx.Done():
			return
		case <-announcer.Changes():
			interfaces()
		case sighting := <-announcer.Sightings():
			bring := speaker.Sight
			switch sighting.Kind {
			case announce.KindProbe:
				bring = speaker.Rival
			case announce.KindUse:
				bring = speaker.Use
			}
			bring(sighting.Addr, sighting.MAC.String(), sighting.Interface)
		case datagram := <-transport.Datagrams():
			speaker.Hear(datagram.Data, datagram.At)
		}
	}
}

// parseMACs reads the hardware addresses that speakers have written down. What is none is left out: it counts as a stranger's.
func parseMACs(texts []string) []announce.MAC {
	macs := make([]announce.MAC, 0, len(texts))
	for _, text := range texts {
		if mac, err := net.ParseMAC(text); err == nil && len(mac) == len(announce.MAC{}) {
			macs = append(macs, announce.MAC(mac))
		}
	}
	return macs
}

// turning is the health of a speaker: its decision loop turns.
func turning(speaker *election.Speaker) (string, bool) {
	if !speaker.TurnedWithin(stuck) {
		return "the decision loop does not turn", false
	}
	return "ok", true
}

// readiness is health, and to know the cluster.
func readiness(speaker *election.Speaker, watcher *cluster.Watcher) (string, bool) {
	if state, well := turning(speaker); !well {
		return state, false
	}
	if !watcher.HasSynced() {
		return "the cluster's objects are not listed yet", false
	}
	return "ok", true
}
