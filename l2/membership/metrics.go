// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	membersHeard = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "memberlist_members_heard",
		Help:           "Speakers heard on the LAN now, this one included.",
		StabilityLevel: metrics.ALPHA,
	})
	heartbeatsSent = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "memberlist_heartbeats_sent_total",
		Help:           "Heartbeat datagrams sent: one for each period, interface and IP family.",
		StabilityLevel: metrics.ALPHA,
	})
	heartbeatsTaken = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "memberlist_heartbeats_received_total",
		Help:           "Datagrams received for heartbeats, before any check.",
		StabilityLevel: metrics.ALPHA,
	})
	heartbeatsDropped = metrics.NewCounterVec(&metrics.CounterOpts{
		Name:           "memberlist_heartbeats_dropped_total",
		Help:           "Heartbeats not counted or not sent, by reason. Duplicates are normal: every heartbeat comes over both IP families.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})
)

// registerMetrics makes the metrics visible. Until then they count nothing.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(membersHeard, heartbeatsSent, heartbeatsTaken, heartbeatsDropped)
})

// SetMembersHeard sets the gauge of members heard now.
func SetMembersHeard(count int) { membersHeard.Set(float64(count)) }

// CountDropped counts a heartbeat that was dropped.
func CountDropped(reason DropReason) { heartbeatsDropped.WithLabelValues(string(reason)).Inc() }
