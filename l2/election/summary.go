// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"time"
)

// summaryEvery is how often the member list and the VIPs are logged without a change.
const summaryEvery = 5 * time.Minute

func (s *Speaker) countMembers(now time.Time) {
	members := len(s.judge.Members(now))
	if s.view.Epoch != "" {
		members++
	}
	if members != s.members {
		s.members, s.summarise = members, true
		s.config.Observer.MembersHeard(members)
	}
}

// summary logs the member list and what is announced: after changes, and now and then without one, because `kubectl logs
// -l` shows no more than the last lines of a pod.
func (s *Speaker) summary(now time.Time) {
	since := now.Sub(s.summaryAt)
	if since < time.Second || !s.summarise && since < summaryEvery {
		return
	}
	s.summaryAt, s.summarise = now, false
	var heard []string
	for _, member := range s.judge.Members(now) {
		heard = append(heard, member.Node)
	}
	slices.Sort(heard)
	vips := s.core.AnsweringFor()
	s.log.Info(fmt.Sprintf("memberlist members=%d announce vips=%v", s.members, vips[:min(20, len(vips))]),
		"node", s.config.Node, "hears", heard, "announced", len(vips))
}
