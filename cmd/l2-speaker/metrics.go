// SPDX-License-Identifier: Apache-2.0

package main

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// When an address was found to be in conflict: values of the label of conflicts.
const (
	// conflictUnclaimed: before any node claimed it.
	conflictUnclaimed = "Unclaimed"
	// conflictAnnounced: while this node announces it, and goes on.
	conflictAnnounced = "Announced"
)

var (
	announced = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace:      "metallb",
		Subsystem:      "speaker",
		Name:           "announced",
		Help:           "1 for each Service and address that this node answers for now.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"service", "protocol", "node", "ip"})
	announcedVIPs = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace:      "cloud_provider_l2",
		Name:           "announced_vips",
		Help:           "VIPs that this node answers for now. One that Services share counts once.",
		StabilityLevel: metrics.ALPHA,
	})
	announcedAfter = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace:      "cloud_provider_l2",
		Name:           "service_announcement_duration_seconds",
		Help:           "For each Service that is newer than this speaker, on an address that no node had announced, the time from its creation until this node announced that. The API server's clock, in whole seconds, is compared with this node's.",
		Buckets:        []float64{0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 30, 60, 300},
		StabilityLevel: metrics.ALPHA,
	})
	conflicts = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      "cloud_provider_l2",
		Name:           "address_conflicts_total",
		Help:           "VIPs that a host which is no speaker was found to have, by the interface where it was heard, and by when: Unclaimed, before any node announced the VIP, or Announced.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"interface", "when"})
)

func init() {
	legacyregistry.MustRegister(announced, announcedVIPs, announcedAfter, conflicts)
}
