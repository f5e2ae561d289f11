// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Metrics count what a Speaker goes through. Their labels are reasons, each one of a fixed list, so that there are as many series at
// 10,000 VIPs as at one. A nil Metrics counts nothing.
type Metrics struct {
	failovers, handOvers             *metrics.HistogramVec
	renewals, fencesIssued, suffered *metrics.CounterVec
}

// How a VIP came to be without a holder: reasons of a failover.
const (
	// HolderSilent: its heartbeats fell silent. The failover is counted from the last one.
	HolderSilent = "HolderSilent"
	// HolderNotRenewed: its session was not renewed. Counted from when that last changed.
	HolderNotRenewed = "HolderNotRenewed"
	// HolderRestarted: its speaker began anew. Counted from its last heartbeat, if one was heard.
	HolderRestarted = "HolderRestarted"
	// HolderStopped: its session has ended otherwise. Counted from when that was seen.
	HolderStopped = "HolderStopped"
)

// Results of a renewal of the session.
const (
	renewalAcknowledged = "Acknowledged"
	renewalFailed       = "Failed"
)

// Who ended the own session.
const (
	endedBySpeaker = "Speaker"
	endedByHand    = "Other"
)

// NewMetrics makes the metrics and registers them, as in NewMetrics(legacyregistry.MustRegister).
func NewMetrics(register func(...metrics.Registerable)) *Metrics {
	histogram := func(name, help string, buckets ...float64) *metrics.HistogramVec {
		return metrics.NewHistogramVec(&metrics.HistogramOpts{
			Namespace: "cloud_provider_l2", Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.ALPHA,
		}, []string{"reason"})
	}
	counter := func(name, help, label string) *metrics.CounterVec {
		return metrics.NewCounterVec(&metrics.CounterOpts{Namespace: "cloud_provider_l2", Name: name, Help: help, StabilityLevel: metrics.ALPHA}, []string{label})
	}
	m := &Metrics{
		failovers: histogram("failover_duration_seconds",
			"For each VIP that this node took from a lost holder, the time from the last sign of life of that one until this node answered, by how it was lost.",
			0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 30),
		handOvers: histogram("handover_duration_seconds",
			"For each VIP that this node handed over, the time from asking the successor until this node stopped answering, by reason. No connection waits for it.",
			0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
		renewals: counter("session_renewals_total",
			"Writes of this node's session, by result.", "result"),
		fencesIssued: counter("fences_issued_total",
			"Sessions of other speakers that this one has ended, by reason.", "reason"),
		suffered: counter("fences_suffered_total",
			"Sessions of this node that somebody else has ended, by who: another speaker, or other.", "by"),
	}
	register(m.failovers, m.handOvers, m.renewals, m.fencesIssued, m.suffered)
	// Rates and alerts want a series to be there before the first count.
	for _, result := range []string{renewalAcknowledged, renewalFailed} {
		m.renewals.WithLabelValues(result).Add(0)
	}
	for _, reason := range []string{HolderSilent, HolderNotRenewed} {
		m.fencesIssued.WithLabelValues(reason).Add(0)
	}
	for _, by := range []string{endedBySpeaker, endedByHand} {
		m.suffered.WithLabelValues(by).Add(0)
	}
	return m
}

func (m *Metrics) handedOver(each HandOver) {
	if m != nil {
		m.handOvers.WithLabelValues(each.Reason).Observe(each.Took.Seconds())
	}
}

func (m *Metrics) failedOver(loss loss, now time.Time) {
	if m != nil {
		m.failovers.WithLabelValues(loss.reason).Observe(max(0, now.Sub(loss.at).Seconds()))
	}
}

// renewed counts a write of the session; it may be called from any goroutine.
func (m *Metrics) renewed(err error) {
	switch {
	case m == nil:
	case err != nil:
		m.renewals.WithLabelValues(renewalFailed).Inc()
	default:
		m.renewals.WithLabelValues(renewalAcknowledged).Inc()
	}
}

// fenced counts a session of another speaker that this one has ended; it may be called from any goroutine.
func (m *Metrics) fenced(fence Fence) {
	if m == nil {
		return
	}
	reason := HolderNotRenewed
	if fence.Silent {
		reason = HolderSilent
	}
	m.fencesIssued.WithLabelValues(reason).Inc()
}

func (m *Metrics) sufferedFence(by string) {
	switch {
	case m == nil:
	case by == "":
		m.suffered.WithLabelValues(endedByHand).Inc()
	default:
		m.suffered.WithLabelValues(endedBySpeaker).Inc()
	}
}

// loss is how a VIP came to be without a holder, and the last sign of life of that holder.
type loss struct {
	reason string
	at     time.Time
	// holder is the node that was lost.
	holder string
}

// beginLoss notes, when a VIP is claimed, how its holder was lost.
func (s *Speaker) beginLoss(claim Claim, now time.Time) {
	delete(s.losses, claim.VIP)
	if loss, ok := s.lossOf(claim, now); ok {
		loss.holder = claim.Base.Holder
		s.losses[claim.VIP] = loss
	}
}

// endLoss counts, and tells, the failover of a VIP that this speaker answers for from now on, if it is one.
func (s *Speaker) endLoss(vip netip.Addr, now time.Time) {
	if loss, ok := s.losses[vip]; ok {
		delete(s.losses, vip)
		s.config.Metrics.failedOver(loss, now)
		if loss.holder != s.config.Node {
			s.config.Observer.Moved(s.vip(vip), loss.holder, s.config.Node, loss.reason)
		}
	}
}

// lossOf says how the holder of a VIP that is claimed was lost; ok is false when the VIP had none, or hands it over.
func (s *Speaker) lossOf(claim Claim, now time.Time) (lost loss, ok bool) {
	base := claim.Base
	session := s.records.sessions[base.Holder]
	if base.Holder == "" || session.Epoch != "" && session.Epoch == base.Epoch {
		return loss{}, false
	}
	seen := now
	if vip := s.core.vips[claim.VIP]; vip != nil && !vip.voidSince.IsZero() {
		seen = vip.voidSince
	}
	heard, ever := s.judge.LastHeard(string(base.Epoch))
	fenced := session.Epoch == "" && session.Object != nil && session.Object.Annotations[names.AnnotationFencedBy] != ""
	switch {
	case session.Epoch != "" && ever:
		return loss{reason: HolderRestarted, at: heard}, true
	case session.Epoch != "":
		return loss{reason: HolderRestarted, at: seen}, true
	case !fenced:
		return loss{reason: HolderStopped, at: seen}, true
	case ever && seen.Sub(heard) >= s.core.timing.silence()-s.core.timing.Period:
		return loss{reason: HolderSilent, at: heard}, true
	case session.AliveAt.IsZero():
		return loss{reason: HolderNotRenewed, at: seen}, true
	}
	return loss{reason: HolderNotRenewed, at: session.AliveAt}, true
}
