// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// derive brings up to date what follows from who has a session. What follows from the plan is computed beside the loop: see retarget.
func (s *Speaker) derive() {
	if s.derived == s.records.sessionChanges {
		return
	}
	s.derived = s.records.sessionChanges
	s.view.MACs = s.records.macs()
	if s.config.Members != nil {
		s.config.Members(slices.Collect(maps.Keys(s.view.MACs.Nodes)))
	}
	s.watchNodes()
	if s.listed {
		s.judge.Sessions(s.records.epochs())
	}
	s.setPeriod(membership.ScalePeriod(s.config.Timing.Period, len(s.records.epochs())))
	s.setRenewal(len(s.records.epochs()))
	s.config.Observer.Sessions(s.speakers())
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
	s.beat(time.Now()) // the others must know of a longer period before the first longer pause
}

// watchNodes listens for answers of the other nodes' own addresses, on this LAN.
func (s *Speaker) watchNodes() {
	addresses, asked := map[netip.Addr]string{}, map[string][]netip.Addr{}
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
			asked[node] = append(asked[node], firstOfFamilies(each.Addresses)...)
		}
	}
	maps.DeleteFunc(s.view.NodeAnsweredAt, func(node string, _ time.Time) bool { return len(asked[node]) == 0 })
	s.addresses, s.asked = addresses, asked
	s.watch()
}

// firstOfFamilies are the first address of each family that is no link-local one: a node that is there answers for each of its addresses.
func firstOfFamilies(prefixes []netip.Prefix) []netip.Addr {
	var first []netip.Addr
	for _, prefix := range prefixes {
		address := prefix.Addr()
		if !address.IsLinkLocalUnicast() && !slices.ContainsFunc(first, func(other netip.Addr) bool { return other.Is4() == address.Is4() }) {
			first = append(first, address)
		}
	}
	return first
}

// watch listens for what speaks for the VIPs, the gateway and the other nodes, and for nothing that is none of them any more. One address may be
// several of these.
func (s *Speaker) watch() {
	watched := make(map[netip.Addr]struct{}, len(s.view.Targets)+len(s.addresses)+1)
	if s.gateway.IsValid() {
		watched[s.gateway] = struct{}{}
	}
	for address := range s.addresses {
		watched[address] = struct{}{}
	}
	for address := range s.view.Targets {
		watched[address] = struct{}{}
	}
	for address, vip := range s.core.vips {
		if vip.answering || vip.yielded || vip.claiming {
			watched[address] = struct{}{}
		}
	}
	for address := range s.watched {
		if _, still := watched[address]; !still {
			s.config.Announcer.Unwatch(address)
		}
	}
	for address := range watched {
		if _, already := s.watched[address]; !already {
			s.config.Announcer.Watch(address)
		}
	}
	s.watched = watched
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
