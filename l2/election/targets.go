// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"net/netip"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// retargetAfter is the least time between two computations of the targets for no other reason than that VIPs have moved, and
// retargetShare how many times as long as the last took: with thousands of VIPs on the move it must not keep a core busy. Whatever the
// reason, one that takes longer than retargetLong is followed by a pause.
const (
	retargetAfter = time.Second
	retargetShare = 20
	retargetLong  = 10 * time.Millisecond
)

// inputs is what targets are computed from: a snapshot, of which nothing is changed.
type inputs struct {
	node string
	plan map[netip.Addr]plan.VIP
	// live are the nodes whose speakers take VIPs; reserve are those and the ones that back off.
	live, reserve map[string]bool
	// held is who holds which VIP.
	held map[netip.Addr]string
	// before are the targets that this node had.
	before map[netip.Addr]Target

	version inputsVersion
}

// inputsVersion counts the changes of what the inputs are taken from.
type inputsVersion struct {
	plans, sessions, holders uint64
	leaving                  bool
}

// targeting is what the loop knows of the computation of the targets.
type targeting struct {
	// busy is set while one is under way, done once one has ended.
	busy, done bool
	// version of the inputs of the last, when it began and ended, and how long it took, without waiting for the loop.
	version        inputsVersion
	began, endedAt time.Time
	took           time.Duration
	// leaving is set when the targets are those of a speaker that stops.
	leaving bool
}

// retarget has the targets computed anew, beside the loop, when something they follow from has changed: for 10,000 VIPs on 200
// nodes that takes 40 ms, in which the loop must turn. Until then it goes on with the old ones.
func (s *Speaker) retarget(now time.Time) {
	version := inputsVersion{plans: s.plans, sessions: s.records.sessionChanges, holders: s.records.holderChanges, leaving: s.view.Leaving}
	if s.targeting.busy || !s.planned || !s.listed || s.targeting.done && version == s.targeting.version {
		return
	}
	if s.targeting.took > retargetLong && now.Sub(s.targeting.endedAt) < s.targeting.took {
		return // sessions that come and go one after the other must not keep a core busy either: at most half of one
	}
	rest := s.targeting.version
	rest.holders = version.holders
	if s.targeting.done && version == rest && now.Sub(s.targeting.began) < max(retargetAfter, retargetShare*s.targeting.took) {
		return
	}
	s.targeting.busy, s.targeting.version, s.targeting.began = true, version, now
	in := s.inputs(version)
	s.work.Go(func() {
		began := time.Now()
		targets := in.targets()
		took := time.Since(began)
		s.post(func() { s.retargeted(in, targets, took) })
	})
}

func (s *Speaker) inputs(version inputsVersion) inputs {
	in := inputs{
		node: s.config.Node, plan: s.plan, live: map[string]bool{}, reserve: map[string]bool{},
		held: make(map[netip.Addr]string, len(s.records.leases)), before: s.view.Targets, version: version,
	}
	for node, session := range s.records.sessions {
		in.reserve[node] = session.Epoch != "" && !session.Leaving
		in.live[node] = in.reserve[node] && !session.BacksOff
	}
	if version.leaving { // which its session tells only with its next renewal
		in.live[in.node], in.reserve[in.node] = false, false
	}
	for vip, lease := range s.records.leases {
		if session, ok := s.records.sessions[lease.Holder]; ok && session.Epoch == lease.Epoch {
			in.held[vip] = lease.Holder
		}
	}
	return in
}

// targets says of each VIP of the plan what it is to this node.
func (in inputs) targets() map[netip.Addr]Target {
	orders := plan.Candidates(in.plan, func(node string) bool { return in.live[node] }, in.held)
	reserve := in.reserveOrders(orders)
	targets := make(map[netip.Addr]Target, len(in.plan))
	for vip, planned := range in.plan {
		targets[vip] = in.target(vip, planned, orders[vip], reserve[vip])
	}
	return targets
}

// reserveOrders orders the nodes that back off, for those VIPs that no other may announce: better a speaker that flaps than none.
func (in inputs) reserveOrders(orders map[netip.Addr][]string) map[netip.Addr][]string {
	if maps.Equal(in.live, in.reserve) {
		return nil
	}
	left := map[netip.Addr]plan.VIP{}
	for vip, planned := range in.plan {
		if len(orders[vip]) == 0 {
			left[vip] = planned
		}
	}
	return plan.Candidates(left, func(node string) bool { return in.reserve[node] }, in.held)
}

func (in inputs) target(vip netip.Addr, planned plan.VIP, order, reserve []string) Target {
	verdict := planned.Verdict(in.node)
	target := Target{Candidates: order, Interfaces: verdict.Interfaces, Eligible: verdict.Eligible, Reason: string(verdict.Reason)}
	if len(order) == 0 {
		target.Candidates, target.LastResort = reserve, len(reserve) > 0
	}
	if !verdict.Eligible {
		target.Interfaces = in.before[vip].Interfaces // until it is handed over it stays where it was
		return target
	}
	if in.held[vip] == in.node && len(target.Candidates) > 0 && target.Candidates[0] != in.node {
		target.Better = whyBetter(planned.Verdict(target.Candidates[0]), verdict)
	}
	return target
}

// whyBetter says why another node should hold what a node holds that may announce it as well.
func whyBetter(other, own plan.Verdict) string {
	switch {
	case other.Score > own.Score:
		return PreferredNode
	case other.Score == own.Score && other.InSubnet && !own.InSubnet:
		return NotInSubnet
	}
	return Rebalance
}

// retargeted takes in targets that were computed.
func (s *Speaker) retargeted(in inputs, targets map[netip.Addr]Target, took time.Duration) {
	s.targeting.busy, s.targeting.done, s.targeting.took, s.targeting.leaving = false, true, took, in.version.leaving
	s.targeting.endedAt = time.Now()
	s.view.Targets, s.view.SameVIPs = targets, false
	s.watch()
	for _, vip := range s.core.AnsweringFor() {
		if planned, ok := in.plan[vip]; ok {
			s.config.Announcer.Announce(vip, targets[vip].Interfaces) // moves it when the interfaces have changed
			s.config.Observer.Announced(planned)                      // shows it on Services that are new on the VIP
		}
	}
}
