// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

// Heard is what the LAN said when it was asked for one address, from one node or more.
type Heard struct {
	// Asked are the nodes from which it was asked for.
	Asked []string
	// Nodes are those whose speakers answered, each once, in order.
	Nodes []string
	// Strangers answered and are no speakers, each once on an interface. There is none when the hardware addresses of all speakers are not known.
	Strangers []inspect.Answer
	// Owners are the nodes asked from that have the address on an interface, not because their speakers announce it.
	Owners []string

	answered []string // all who answered, in words, in the order in which they came
}

// hear sorts what the LAN said by address.
func hear(s *snapshot.Snapshot) map[netip.Addr]Heard {
	speakers, allKnown := map[string]string{}, s.CouldRead(snapshot.Leases) // the node of each hardware address
	for _, session := range s.Sessions() {
		allKnown = allKnown && len(session.MACs) > 0
		for _, mac := range session.MACs {
			speakers[mac] = session.Node
		}
	}
	all := map[netip.Addr]Heard{}
	for _, probe := range s.Probes {
		heard := all[probe.Address]
		heard.Asked = append(heard.Asked, probe.Node)
		if probe.Own == inspect.OwnConfigured {
			heard.Owners = append(heard.Owners, probe.Node)
		}
		for _, answer := range probe.Answers {
			node, who := cmp.Or(speakers[answer.MAC], answer.Node), answer.MAC
			if answer.Node != "" {
				who += " (" + answer.Node + ")"
			}
			if !slices.Contains(heard.answered, who) {
				heard.answered = append(heard.answered, who)
			}
			switch {
			case node != "":
				heard.Nodes = append(heard.Nodes, node)
			case allKnown:
				heard.Strangers = append(heard.Strangers, inspect.Answer{MAC: answer.MAC, Interface: answer.Interface})
			}
		}
		all[probe.Address] = heard
	}
	for address, heard := range all {
		slices.Sort(heard.Nodes)
		heard.Nodes = slices.Compact(heard.Nodes)
		slices.SortFunc(heard.Strangers, func(a, b inspect.Answer) int {
			return cmp.Or(cmp.Compare(a.MAC, b.MAC), cmp.Compare(a.Interface, b.Interface))
		})
		heard.Strangers = slices.Compact(heard.Strangers)
		all[address] = heard
	}
	return all
}
