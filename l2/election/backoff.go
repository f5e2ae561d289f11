// SPDX-License-Identifier: Apache-2.0

package election

import (
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// maxFlaps bounds what is read from a Lease that anybody may have written.
const maxFlaps = 1000

// flapBackoff is how long a speaker takes no VIPs, by how many of its node's sessions in a row came to a bad end. Each doubles it. A process
// that has just started is not blamed for one: nodes restart, and processes crash once.
func (t Timing) flapBackoff(flaps int, started bool) time.Duration {
	if started {
		flaps--
	}
	if flaps <= 0 {
		return 0
	}
	return min(t.FenceBackoff<<min(flaps-1, 16), t.FenceBackoffMax)
}

// succeed takes in how the session before this one ended, once for each epoch: by its own release, which is as it should be; or it was fenced, or
// is there still because its process died. The count stands on the Lease, so that it survives the process, and no clock is needed to read it.
func (s *session) succeed(lock *sessionLock, before *coordinationv1.Lease) {
	if lock.counted || Epoch(holder(before)) == lock.epoch {
		return
	}
	lock.counted = true
	count, err := strconv.Atoi(before.Annotations[names.AnnotationFlaps])
	if err != nil || count < 0 {
		count = 0
	}
	s.flaps = min(max(s.flaps, count), maxFlaps)
	if holder(before) != "" || before.Annotations[names.AnnotationFencedBy] != "" {
		s.flaps++
		s.backoff = s.timing.flapBackoff(s.flaps, !s.begun)
	}
}

// stampBackoff writes on the session how often its predecessors came to a bad end, and whether this one backs off. A calm as long as the
// longest back-off makes up for everything.
func (s *session) stampBackoff(lock *sessionLock, annotations map[string]string, now time.Time) {
	begun := !lock.begunAt.IsZero()
	if begun && now.Sub(lock.begunAt) >= s.timing.FenceBackoffMax {
		s.flaps = 0
	}
	delete(annotations, names.AnnotationFlaps)
	if s.flaps > 0 {
		annotations[names.AnnotationFlaps] = strconv.Itoa(s.flaps)
	}
	delete(annotations, names.AnnotationBackOff)
	if s.backoff > 0 && (!begun || now.Sub(lock.begunAt) < s.backoff) {
		annotations[names.AnnotationBackOff] = s.backoff.String()
	}
}

// backoffOf reads how long the speaker of a session that has just begun backs off.
func (t Timing) backoffOf(session *coordinationv1.Lease) time.Duration {
	backoff, err := time.ParseDuration(session.Annotations[names.AnnotationBackOff])
	if err != nil {
		return 0
	}
	return min(max(backoff, 0), t.FenceBackoffMax)
}
