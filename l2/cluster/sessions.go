// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// sessionLapse is for how many of its durations a session may stand unchanged until its speaker counts as gone. Speakers end each
// other's sessions much sooner; this is for when none is left to do so.
const sessionLapse = 3

// sessions is what the session Leases say to one who is no speaker: who has a session, and where each can announce. Whether
// a session lives is judged by the own clock, since the record last changed.
type sessions struct {
	byNode map[string]session
}

type session struct {
	renewed    metav1.MicroTime
	changed    time.Time
	duration   time.Duration
	interfaces string
	speaker    plan.Speaker
}

// observe takes in a session Lease; one that names no holder has ended.
func (s *sessions) observe(lease *coordinationv1.Lease, now time.Time) {
	node, ok := names.ParseSessionLease(lease.Name)
	if !ok {
		return
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.LeaseDurationSeconds == nil || spec.RenewTime == nil {
		delete(s.byNode, node)
		return
	}
	known, ok := s.byNode[node]
	if !ok || !known.renewed.Equal(spec.RenewTime) {
		known.renewed, known.changed = *spec.RenewTime, now
	}
	known.duration = min(time.Duration(*spec.LeaseDurationSeconds)*time.Second, election.MaxSessionDuration)
	if interfaces := lease.Annotations[names.AnnotationInterfaces]; !ok || interfaces != known.interfaces {
		known.interfaces, known.speaker = interfaces, plan.Speaker{Interfaces: election.ParseInterfaces(interfaces)}
	}
	if s.byNode == nil {
		s.byNode = map[string]session{}
	}
	s.byNode[node] = known
}

// forget takes in that a session Lease is gone.
func (s *sessions) forget(lease *coordinationv1.Lease) {
	if node, ok := names.ParseSessionLease(lease.Name); ok {
		delete(s.byNode, node)
	}
}

// speakers are those whose sessions live.
func (s *sessions) speakers(now time.Time) map[string]plan.Speaker {
	living := maps.Clone(s.byNode)
	maps.DeleteFunc(living, func(_ string, each session) bool { return now.Sub(each.changed) >= sessionLapse*each.duration })
	speakers := make(map[string]plan.Speaker, len(living))
	for node, each := range living {
		speakers[node] = each.speaker
	}
	return speakers
}
