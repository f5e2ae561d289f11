// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

func (s *Speaker) newSession() *session {
	return &session{
		client:    s.config.Sessions,
		namespace: s.config.Namespace,
		node:      s.config.Node,
		timing:    s.config.Timing,
		describe:  func() map[string]string { return *s.description.Load() },
		acknowledged: func(epoch Epoch, sent time.Time, object *coordinationv1.Lease) {
			s.post(func() {
				if epoch != s.view.Epoch {
					s.log.Info("Session begins", "node", s.config.Node, "epoch", epoch)
				}
				s.view.Epoch, s.view.Ack = epoch, sent
				s.records.Answered(object, time.Now())
			})
		},
		fenced: func(epoch Epoch, by string) {
			s.post(func() { s.sessionLost(epoch, by, time.Now()) })
		},
	}
}

// sessionLost takes in that the session was ended by somebody else. If that was a peer, the speaker waits before it takes
// VIPs again, longer each time (E10).
func (s *Speaker) sessionLost(epoch Epoch, by string, now time.Time) {
	timing := s.config.Timing
	if s.view.Epoch == epoch {
		s.view.Epoch, s.view.Ack = "", time.Time{}
	}
	if by == "" {
		s.log.Info("Session was ended, and not by a speaker: was its Lease deleted by hand?", "node", s.config.Node, "epoch", epoch)
		return
	}
	s.fencedAt = slices.DeleteFunc(s.fencedAt, func(at time.Time) bool { return now.Sub(at) > timing.FenceBackoffMax })
	backoff := min(timing.FenceBackoff<<min(len(s.fencedAt), 16), timing.FenceBackoffMax)
	s.fencedAt = append(s.fencedAt, now)
	s.core.HoldOff(now.Add(backoff))
	s.log.Info("Session was ended by another speaker; this one takes no VIP for a while", "node", s.config.Node, "epoch", epoch, "by", by, "backoff", backoff)
}
