// SPDX-License-Identifier: Apache-2.0

package election

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

func (s *Speaker) newSession() *session {
	return &session{
		client:    s.config.Sessions,
		namespace: s.config.Namespace,
		node:      s.config.Node,
		timing:    s.config.Timing,
		metrics:   s.config.Metrics,
		describe:  func() map[string]string { return *s.description.Load() },
		periods:   func() int { return int(s.periods.Load()) },
		doubted:   s.doubted.Load,
		shortens:  func(until time.Time) { s.post(func() { s.sessionShortens(until) }) },
		acknowledged: func(epoch Epoch, sent time.Time, object *coordinationv1.Lease) {
			s.post(func() {
				if epoch != s.view.Epoch {
					s.sessionBegins(epoch, object, time.Now())
				}
				s.sessionRenewed(epoch, sent, object)
				s.records.Answered(object, time.Now())
			})
		},
		fenced: func(epoch Epoch, by string) {
			s.post(func() { s.sessionLost(epoch, by) })
		},
	}
}

// sessionBegins takes in that an epoch has begun. If its predecessors came to a bad end, the speaker waits before it takes VIPs again, longer
// each time (E10).
func (s *Speaker) sessionBegins(epoch Epoch, object *coordinationv1.Lease, now time.Time) {
	backoff := s.config.Timing.backoffOf(object)
	if backoff == 0 {
		s.log.Info("Session begins", "node", s.config.Node, "epoch", epoch)
		return
	}
	s.core.HoldOff(now.Add(backoff))
	s.log.Info("Session begins, and takes no VIP for a while: those before it on this node were ended by others, or by crashes", "node", s.config.Node, "epoch", epoch, "backoff", backoff)
}

// sessionLost takes in that the session was ended by somebody else.
func (s *Speaker) sessionLost(epoch Epoch, by string) {
	if s.view.Epoch == epoch {
		s.view.Epoch, s.view.Ack, s.view.ValidUntil = "", time.Time{}, time.Time{}
	}
	s.config.Metrics.sufferedFence(by)
	if by == "" {
		s.log.Info("Session was ended, and not by a speaker: was its Lease deleted by hand?", "node", s.config.Node, "epoch", epoch)
		return
	}
	s.log.Info("Session was ended by another speaker", "node", s.config.Node, "epoch", epoch, "by", by)
}
