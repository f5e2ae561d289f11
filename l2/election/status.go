// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Reasons why a speaker takes no VIPs at all, beside Isolated, LinkDown and BackOff.
const (
	// StartsUp: it has not listed everything yet, or not listened for long enough.
	StartsUp = "StartsUp"
	// NoSession: the API server has not acknowledged a session.
	NoSession = "NoSession"
	// SessionNotRenewed: the session could have been ended by others, because its renewals are not acknowledged.
	SessionNotRenewed = "SessionNotRenewed"
)

// Status is what this speaker knows and does at this moment. The decision loop is asked for it; when that does not turn within the
// context, that is the error.
func (s *Speaker) Status(ctx context.Context) (inspect.Status, error) {
	answer := make(chan inspect.Status, 1)
	s.post(func() { answer <- s.status(time.Now()) })
	select {
	case status := <-answer:
		return status, nil
	case <-ctx.Done():
		return inspect.Status{}, fmt.Errorf("asking the decision loop of node %s, which does not turn: %w", s.config.Node, ctx.Err())
	}
}

// status belongs to the loop. The picture is that of the last turn.
func (s *Speaker) status(now time.Time) inspect.Status {
	status := inspect.Status{
		APIVersion: inspect.APIVersion, Kind: inspect.KindStatus, Node: s.config.Node, Running: inspect.Span(now.Sub(s.born)),
		Session: inspect.Session{
			Epoch: string(s.view.Epoch), Renewed: inspect.Ago(s.view.Ack, now), Fresh: s.fresh.Load(),
			Duration: inspect.Span(s.core.timing.SessionDuration),
		},
		Isolated:       s.core.isolated,
		Period:         inspect.Span(s.core.timing.Period),
		SilencePeriods: s.core.timing.SilencePeriods,
		Interfaces:     []inspect.Interface{},
		Speakers:       s.speakerStatuses(now),
		VIPs:           []inspect.VIP{},
	}
	status.WhyNot, status.BackOff = s.core.whyTakesNone(&s.view, now)
	status.Takes = status.WhyNot == ""
	if s.gateway.IsValid() {
		status.Gateway = &inspect.Gateway{Address: s.gateway, Answered: inspect.Ago(s.view.GatewayAnsweredAt, now), Answers: s.gatewayAnswers(now)}
	}
	for _, each := range s.interfaces {
		status.Interfaces = append(status.Interfaces, inspect.Interface{Name: each.Name, MAC: each.MAC, Addresses: slices.Clone(each.Addresses)})
	}
	for _, vip := range s.core.inOrder() {
		if each, concerned := s.vipStatus(vip, now); concerned {
			status.VIPs = append(status.VIPs, each)
		}
	}
	return status
}

// gatewayAnswers is what heartbeats say of the gateway, which is asked every second.
func (s *Speaker) gatewayAnswers(now time.Time) bool {
	return !s.view.GatewayAnsweredAt.IsZero() && now.Sub(s.view.GatewayAnsweredAt) < time.Second+gatewaySilence
}

// whyTakesNone says why the speaker takes no VIPs, and for how much longer if that is known; empty when it takes them.
func (c *Core) whyTakesNone(v *View, now time.Time) (reason string, wait inspect.Seconds) {
	switch {
	case v.Leaving:
		return SpeakerStops, 0
	case c.isolated:
		return Isolated, 0
	case v.LinkDown:
		return LinkDown, 0
	case v.Epoch == "":
		return NoSession, 0
	case v.Ack.IsZero() || now.Sub(v.Ack) >= c.timing.SessionDuration:
		return SessionNotRenewed, 0
	case !v.Synced || c.takesSince.IsZero():
		return StartsUp, 0
	case now.Before(c.takesFrom):
		return BackOff, inspect.Span(c.takesFrom.Sub(now))
	}
	return "", 0
}

// speakerStatuses are those that have a session or are heard.
func (s *Speaker) speakerStatuses(now time.Time) []inspect.Speaker {
	heard := map[string]membership.Member{}
	for _, member := range s.judge.Members(now) {
		heard[member.Node] = member
	}
	statuses := make([]inspect.Speaker, 0, len(s.records.sessions))
	for node, session := range s.records.sessions {
		member, isHeard := heard[node]
		delete(heard, node)
		if session.Epoch == "" && !isHeard && node != s.config.Node {
			continue // it has stopped
		}
		status := inspect.Speaker{
			Node: node, Self: node == s.config.Node, Epoch: string(session.Epoch), Leaving: session.Leaving, BacksOff: session.BacksOff, Heard: isHeard,
		}
		if list := session.Object.Annotations[names.AnnotationMACs]; list != "" {
			status.MACs = strings.Split(list, ",")
		}
		if !isHeard { // what it said when it last was
			member, _ = s.judge.Last(string(session.Epoch))
		}
		s.describeMember(&status, member, now)
		statuses = append(statuses, status)
	}
	for node, member := range heard { // whose session is not known here yet, or any more
		status := inspect.Speaker{Node: node, Heard: true}
		s.describeMember(&status, member, now)
		statuses = append(statuses, status)
	}
	slices.SortFunc(statuses, func(a, b inspect.Speaker) int { return strings.Compare(a.Node, b.Node) })
	return statuses
}

// describeMember says what the last heartbeat of a speaker said.
func (s *Speaker) describeMember(status *inspect.Speaker, member membership.Member, now time.Time) {
	status.HeardAgo, status.ReportedAgo = inspect.Ago(member.HeardAt, now), inspect.Ago(member.LastHeard, now)
	status.Period, status.GatewayAnswers = inspect.Span(member.Period), member.GatewayAnswers
	if !member.AckedAt.IsZero() {
		status.Acknowledged = inspect.Ago(member.AckedAt, now)
	}
	if status.Self {
		status.GatewayAnswers, status.Acknowledged, status.Period = s.gatewayAnswers(now), inspect.Ago(s.view.Ack, now), inspect.Span(s.core.timing.Period)
	}
}

// vipStatus says what this speaker does for a VIP; concerned is false when that is nothing.
func (s *Speaker) vipStatus(vip *vip, now time.Time) (status inspect.VIP, concerned bool) {
	lease, standing := s.view.standing(s.config.Node, vip.address)
	target, planned := s.view.Targets[vip.address]
	status = inspect.VIP{
		Address: vip.address, State: vip.state(standing), Pool: s.plan[vip.address].Pool, Interfaces: target.Interfaces, Candidates: target.Candidates,
	}
	if status.State == "" && planned && standing == void { // nobody announces it: is that for a conflict?
		status.Conflict = conflictOf(lease)
		if status.Conflict != nil {
			status.State = inspect.InConflict
		}
	}
	if status.State == "" {
		return status, false
	}
	for _, service := range s.plan[vip.address].Services {
		status.Services = append(status.Services, service.String())
	}
	if standing != void {
		status.Holder = lease.Holder
	}
	if lease.Object != nil {
		spec := lease.Object.Spec
		if spec.LeaseTransitions != nil {
			status.Moves = *spec.LeaseTransitions
		}
		if standing == mine && spec.AcquireTime != nil { // another's clock is not this one's
			status.Held = inspect.Ago(spec.AcquireTime.Time, now)
		}
	}
	if status.State == inspect.HandingOver {
		status.Successor, status.Reason = lease.Successor, vip.why
	}
	return status, true
}

// state is what the speaker does for a VIP; empty when nothing.
func (v *vip) state(standing standing) inspect.State {
	switch {
	case v.answering && (v.named != "" || v.handedOver):
		return inspect.HandingOver
	case v.answering:
		return inspect.Announcing
	case v.yielded:
		return inspect.Yielded
	case v.claiming:
		return inspect.Claiming
	case standing == mine:
		return inspect.Silent
	case !v.first.since.IsZero():
		return inspect.Probing
	}
	return ""
}

// conflictOf is what a VIP's Lease tells of a conflict.
func conflictOf(lease Lease) *inspect.Conflict {
	if lease.Object == nil {
		return nil
	}
	text, contested := lease.Object.Annotations[names.AnnotationConflict]
	if !contested {
		return nil
	}
	conflict, err := names.ParseConflict(text)
	if err != nil {
		return &inspect.Conflict{} // somebody's hand was in it
	}
	return &inspect.Conflict{MAC: conflict.MAC, Interface: conflict.Interface, Node: conflict.Node}
}
