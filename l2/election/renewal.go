// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
)

const (
	// renewalsPerSecond is what all sessions of a cluster together may write (E1).
	renewalsPerSecond = 50
	// maxRenewalPeriods bounds by how much renewals become rarer. With the default timing that is a write in 10 s, as many as the kubelet makes
	// for its node, and a session of 40 s, after which Kubernetes itself calls a node NotReady.
	maxRenewalPeriods = 10
)

// renewalPeriods is how many retry periods pass from one renewal of a session to the next in a cluster of so many speakers, and by what
// factor its duration and deadline grow. Before is what it was: some speakers fewer change nothing, so that a rollout changes nothing.
func (t Timing) renewalPeriods(speakers, before int) int {
	each := max(1, int(renewalsPerSecond*t.RetryPeriod/time.Second))
	need := func(speakers int) int { return min(max(1, (speakers+each-1)/each), maxRenewalPeriods) }
	if need(speakers) < before {
		return min(before, need(speakers+each/5))
	}
	return need(speakers)
}

// renewedEvery is the timing with the duration and deadline of a session that is renewed only every so many periods.
func (t Timing) renewedEvery(periods int) Timing {
	t.SessionDuration *= time.Duration(periods)
	t.RenewDeadline *= time.Duration(periods)
	return t
}

// periodsOf is by what factor the duration that a session of this timing names has grown.
func (t Timing) periodsOf(session *coordinationv1.Lease) int {
	duration := time.Duration(ptr.Deref(session.Spec.LeaseDurationSeconds, 0)) * time.Second
	return min(max(1, int(duration/t.SessionDuration)), maxRenewalPeriods)
}

// rests says that the record needs no write yet: it names the duration that is wanted and says of the speaker what is true, and the last write
// that was acknowledged is younger than the period. The elector looks every retry period. What goes wrong it tries again as often: only
// acknowledged writes become rarer.
func (l *sessionLock) rests(now time.Time) bool {
	periods := l.session.periods()
	return l.held && periods > 1 && periods == l.periods && now.Before(l.due.Add(-l.session.timing.RetryPeriod/2)) &&
		!l.session.doubted() && maps.Equal(l.told, l.session.describe())
}

// stampDuration names on a write of the session the duration that is wanted, and returns its periods. A record that names a shorter one than the
// last may end sooner than that, even if no answer comes: the speaker is told beforehand.
func (l *sessionLock) stampDuration(lease *coordinationv1.Lease, now time.Time) int {
	periods := l.session.periods()
	duration := l.session.timing.renewedEvery(periods).SessionDuration
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(duration / time.Second))
	if periods < l.periods {
		l.session.shortens(now.Add(duration))
	}
	return periods
}

// wroteAt takes in that a write which named so many periods was acknowledged. When that is a change, it came at the same time on all
// nodes: the next renewal is at a random place in the period, so that they are spread over it.
func (l *sessionLock) wroteAt(sent time.Time, periods int, told map[string]string) {
	wait := periods
	if periods != l.periods {
		wait = 1 + rand.IntN(periods)
	}
	l.periods, l.told, l.due = periods, told, sent.Add(time.Duration(wait)*l.session.timing.RetryPeriod)
}

// setRenewal makes renewals of the session rarer in a large cluster (E1). The speaker goes by the longer duration from when the API server
// has acknowledged a record that names it: see sessionRenewed.
func (s *Speaker) setRenewal(speakers int) {
	before := int(s.periods.Load())
	periods := s.config.Timing.renewalPeriods(speakers, before)
	if periods == before {
		return
	}
	s.periods.Store(int32(periods))
	timing := s.config.Timing.renewedEvery(periods)
	s.log.Info("Session: the time between renewals changes with the number of speakers", "speakers", speakers,
		"period", time.Duration(periods)*timing.RetryPeriod, "deadline", timing.RenewDeadline, "duration", timing.SessionDuration)
}

// sessionShortens takes in that a record which others may take for expired at that time is about to be written.
func (s *Speaker) sessionShortens(until time.Time) {
	if s.view.ValidUntil.IsZero() || until.Before(s.view.ValidUntil) {
		s.view.ValidUntil = until
	}
}

// sessionRenewed takes in an acknowledged write of the session.
func (s *Speaker) sessionRenewed(epoch Epoch, sent time.Time, object *coordinationv1.Lease) {
	if holder(object) != "" {
		timing := s.config.Timing.renewedEvery(s.config.Timing.periodsOf(object))
		s.core.timing.SessionDuration, s.core.timing.RenewDeadline = timing.SessionDuration, timing.RenewDeadline
	}
	s.view.Epoch, s.view.Ack, s.view.ValidUntil = epoch, sent, time.Time{}
}
