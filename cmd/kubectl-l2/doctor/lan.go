// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// lanChecks look at what the LAN answers. Speakers ask it.
var lanChecks = []Check{
	{
		Name:  "address-conflicts",
		Why:   "when two hosts answer for a VIP, clients reach now one and now the other",
		Needs: []string{snapshot.Leases},
		Run:   addressConflicts,
	},
	{
		Name:  "answers",
		Why:   "an address that is announced and that nobody answers for on the LAN cannot be reached: a switch, a firewall or the hypervisor keeps the answers away",
		Needs: []string{snapshot.Leases, snapshot.Speakers},
		Run:   answers,
	},
}

// Questions are what the LAN is to be asked, so that the checks know: who answers for each VIP, asked from a node that does not hold it. At
// most so many VIPs are asked for, those first about which there is a doubt.
func Questions(s *snapshot.Snapshot, most int) (questions []snapshot.Question) {
	nodes := askable(s)
	doubtful, rest := []netip.Addr{}, []netip.Addr{}
	for _, lease := range s.Leases {
		if vip, ok := names.ParseVIPLease(lease.Name); ok {
			if _, conflict := s.Conflict(vip); conflict {
				doubtful = append(doubtful, vip)
			} else {
				rest = append(rest, vip)
			}
		}
	}
	for _, list := range [][]netip.Addr{doubtful, rest} {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	for i, vip := range slices.Concat(doubtful, rest) {
		if i == most {
			break
		}
		questions = append(questions, question(s, vip, nodes, i)...)
	}
	return questions
}

// QuestionsFor is the same for one address.
func QuestionsFor(s *snapshot.Snapshot, address netip.Addr) []snapshot.Question {
	return question(s, address, askable(s), 0)
}

// askable are the nodes whose speakers can be asked.
func askable(s *snapshot.Snapshot) (nodes []string) {
	pods := s.SpeakerPods()
	for _, session := range s.Sessions() {
		if pods[session.Node] != nil {
			nodes = append(nodes, session.Node)
		}
	}
	return nodes
}

// question finds a node to ask from, beginning with the nth: one that holds the address does not hear its own answers.
func question(s *snapshot.Snapshot, vip netip.Addr, nodes []string, nth int) []snapshot.Question {
	holder := s.HolderOf(vip)
	for n := range nodes {
		if node := nodes[(nth+n)%len(nodes)]; node != holder {
			return []snapshot.Question{{Address: vip, Node: node}}
		}
	}
	return nil
}

func addressConflicts(f *facts) (string, []Finding) {
	var findings []Finding
	told := map[netip.Addr]bool{}
	find := func(vip netip.Addr, saw string) {
		told[vip] = true
		findings = append(findings, Finding{
			Severity: Error, Object: "VIP " + vip.String(), Saw: saw,
			Mend: fmt.Sprintf("give that host another address, or take %s out of its pool", vip),
		})
	}
	for _, vip := range slices.SortedFunc(maps.Keys(f.explainer.Heard), netip.Addr.Compare) {
		heard := f.explainer.Heard[vip]
		from := "asked from " + strings.Join(heard.Asked, ", ")
		switch {
		case len(heard.Strangers) > 0:
			var strangers []string
			for _, answer := range heard.Strangers {
				strangers = append(strangers, fmt.Sprintf("%s on %s", answer.MAC, answer.Interface))
			}
			find(vip, fmt.Sprintf("a host that is no speaker answers for it: %s, %s", strings.Join(strangers, ", "), from))
		case len(heard.Owners) > 0:
			have := "node " + heard.Owners[0] + " itself has"
			if len(heard.Owners) > 1 {
				have = "nodes " + strings.Join(heard.Owners, ", ") + " themselves have"
			}
			find(vip, have+" it on an interface")
		case len(heard.Nodes) > 1:
			told[vip] = true
			findings = append(findings, Finding{
				Severity: Warning, Object: "VIP " + vip.String(),
				Saw:  fmt.Sprintf("%s of ours answer for it: %s, %s", count(len(heard.Nodes), "node"), strings.Join(heard.Nodes, ", "), from),
				Mend: view.MendSeveralNodes,
			})
		}
	}
	for _, lease := range f.Leases {
		vip, ok := names.ParseVIPLease(lease.Name)
		if who, conflict := f.Conflict(vip); ok && conflict && !told[vip] {
			find(vip, "before it was first announced, another host answered for it: "+who)
		}
	}
	return ifNone(findings, "no other host is known to answer for a VIP", count(len(findings), "VIP")+" that more hosts answer for than should"), findings
}

func answers(f *facts) (string, []Finding) {
	var findings []Finding
	asked := 0
	for _, probe := range f.Probes {
		holder := f.announcing.Held[probe.Address]
		if holder == "" || holder == probe.Node {
			continue
		}
		asked++
		if len(probe.Answers) == 0 {
			findings = append(findings, Finding{
				Severity: Error, Object: "VIP " + probe.Address.String(),
				Saw:  fmt.Sprintf("%s announces it, and no answer is heard on %s of %s", holder, strings.Join(probe.Interfaces, ", "), probe.Node),
				Mend: fmt.Sprintf("see that both nodes are on one LAN, and that nothing filters ARP there (ARP inspection, port security, anti-spoofing of the hypervisor); then kubectl logs -n %s of the speaker on %s", f.Namespace, holder),
			})
		}
	}
	return count(asked, "announced address") + " asked for from another node", findings
}
