// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// derive brings up to date what follows from the plan and from who has a session.
func (s *Speaker) derive() {
	if s.derived.planned && s.derived.sessionChanges == s.records.sessionChanges {
		return
	}
	if s.derived.sessionChanges != s.records.sessionChanges {
		s.view.MACs = s.records.macs()
		s.watchNodes()
		if s.listed {
			s.judge.Sessions(s.records.epochs())
		}
		s.setPeriod(membership.ScalePeriod(s.config.Timing.Period, len(s.records.epochs())))
		s.config.Observer.Sessions(s.speakers())
	}
	s.derived.planned, s.derived.sessionChanges = true, s.records.sessionChanges

	held := map[netip.Addr]string{}
	for vip, lease := range s.records.leases {
		if session, ok := s.records.sessions[lease.Holder]; ok && session.Epoch == lease.Epoch {
			held[vip] = lease.Holder
		}
	}
	live := func(node string) bool {
		return s.records.sessions[node].Epoch != "" && !s.records.sessions[node].Leaving
	}
	candidates := plan.Candidates(s.plan, live, held)
	before := s.view.Targets
	s.view.Targets = make(map[netip.Addr]Target, len(s.plan))
	for vip, planned := range s.plan {
		verdict := planned.Verdict(s.config.Node)
		target := Target{Candidates: candidates[vip], Interfaces: verdict.Interfaces, Reason: string(verdict.Reason)}
		if !verdict.Eligible {
			target.Interfaces = before[vip].Interfaces // until it is handed over it stays where it was
		} else if !verdict.InSubnet && slices.ContainsFunc(candidates[vip], func(node string) bool { return planned.Verdict(node).InSubnet }) {
			target.Misplaced, target.Reason = true, "no address in the VIP's subnet"
		}
		s.view.Targets[vip] = target
		s.config.Announcer.Watch(vip)
		if s.core.Answering(vip) {
			s.config.Announcer.Announce(vip, target.Interfaces) // moves it when the interfaces have changed
			s.config.Observer.Announced(planned)                // shows it on Services that are new on the VIP
		}
	}
	for vip := range s.core.vips {
		if _, planned := s.plan[vip]; !planned && !s.core.Answering(vip) {
			s.config.Announcer.Unwatch(vip)
		}
	}
}

// setPeriod makes heartbeats, and with them the loop, slower in a large cluster (E11).
func (s *Speaker) setPeriod(period time.Duration) {
	if period == s.core.timing.Period {
		return
	}
	s.log.Info("memberlist: period of heartbeats changes with the number of speakers", "period", period)
	s.core.timing.Period = period
	s.judge.SetPeriod(period)
	s.ticker.Reset(period)
}

// watchNodes listens for answers of the other nodes' own addresses, on this LAN.
func (s *Speaker) watchNodes() {
	addresses := map[netip.Addr]string{}
	for node, session := range s.records.sessions {
		if node == s.config.Node || session.Epoch == "" {
			continue
		}
		for _, each := range parseInterfaces(session.Object.Annotations[names.AnnotationInterfaces]) {
			for _, prefix := range each.Addresses {
				if !prefix.Addr().IsLinkLocalUnicast() {
					addresses[prefix.Addr()] = node
				}
			}
		}
	}
	for address := range s.addresses {
		if _, still := addresses[address]; !still {
			s.config.Announcer.Unwatch(address)
		}
	}
	for address := range addresses {
		if _, already := s.addresses[address]; !already {
			s.config.Announcer.Watch(address)
		}
	}
	s.addresses = addresses
}

// speakers is where each speaker with a session can announce, as the plan wants it.
func (s *Speaker) speakers() map[string]plan.Speaker {
	speakers := map[string]plan.Speaker{}
	for node, session := range s.records.sessions {
		if session.Epoch != "" {
			speakers[node] = plan.Speaker{Interfaces: ParseInterfaces(session.Object.Annotations[names.AnnotationInterfaces])}
		}
	}
	return speakers
}
