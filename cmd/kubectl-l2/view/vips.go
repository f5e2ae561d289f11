// SPDX-License-Identifier: Apache-2.0

package view

import (
	"net/netip"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Announcing is the plan as speakers make it, and who holds what by the records.
type Announcing struct {
	Plan map[netip.Addr]plan.VIP
	// Candidates of each VIP, best first, as speakers list them.
	Candidates map[netip.Addr][]string
	// Held is who holds each VIP.
	Held map[netip.Addr]string

	sessions map[string]snapshot.Session // by node
	states   map[told]inspect.State      // of VIPs, as their holders' speakers tell
}

// told is what a speaker tells about.
type told struct {
	node string
	vip  netip.Addr
}

// Announce works out the plan.
func Announce(s *snapshot.Snapshot) Announcing {
	a := Announcing{Plan: plan.Compute(s.State()), Held: map[netip.Addr]string{}, sessions: map[string]snapshot.Session{}, states: map[told]inspect.State{}}
	for node, speaker := range s.Speakers {
		for _, vip := range speaker.VIPs {
			a.states[told{node, vip.Address}] = vip.State
		}
	}
	for _, lease := range s.Leases {
		if vip, ok := names.ParseVIPLease(lease.Name); ok {
			if node := s.HolderOf(vip); node != "" {
				a.Held[vip] = node
			}
		}
	}
	live, reserve := map[string]bool{}, map[string]bool{}
	for _, session := range s.Sessions() {
		_, leaving := session.Lease.Annotations[names.AnnotationLeaving]
		_, backsOff := session.Lease.Annotations[names.AnnotationBackOff]
		a.sessions[session.Node] = session
		reserve[session.Node] = !leaving
		live[session.Node] = !leaving && !backsOff
	}
	a.Candidates = plan.Candidates(a.Plan, func(node string) bool { return live[node] }, a.Held)
	// Those that back off are the last resort.
	left := map[netip.Addr]plan.VIP{}
	for vip, planned := range a.Plan {
		if len(a.Candidates[vip]) == 0 {
			left[vip] = planned
		}
	}
	for vip, order := range plan.Candidates(left, func(node string) bool { return reserve[node] }, a.Held) {
		a.Candidates[vip] = order
	}
	return a
}

// VIP is one address and who announces it.
type VIP struct {
	Address  netip.Addr `json:"address"`
	Services []string   `json:"services"`
	Pool     string     `json:"pool,omitempty"`
	// Node that announces it by its Lease; empty when none does.
	Node       string   `json:"node,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
	MACs       []string `json:"macs,omitempty"`
	// Since is when the node took it, by that node's clock. Moves counts changes of node.
	Since *time.Time `json:"since,omitempty"`
	Moves int32      `json:"moves"`
	// State is what the node's speaker says it does for the VIP, when it could be asked.
	State inspect.State `json:"state,omitempty"`
	// Successor that was asked to take it.
	Successor  string   `json:"successor,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
	// Reason why no node announces it, and Message, what that means.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Conflict is another host that was found to use it.
	Conflict string `json:"conflict,omitempty"`
}

// Reasons of VIPs without a holder that are not the plan's.
const (
	ReasonConflict = "AddressConflict"
	// ReasonUnknown: what would say so could not be read.
	ReasonUnknown = "Unknown"
	// ReasonElection: nodes may announce it, and none has taken it yet.
	ReasonElection = "NotTakenYet"
	// ReasonGone: no Service that was asked for has it any more. It is told once, by `status -w`.
	ReasonGone = "Gone"
)

// vip says what is known of a VIP of the plan.
func (a Announcing) vip(s *snapshot.Snapshot, address netip.Addr) VIP {
	planned := a.Plan[address]
	vip := VIP{Address: address, Pool: planned.Pool, Node: a.Held[address], Candidates: a.Candidates[address]}
	for _, service := range planned.Services {
		vip.Services = append(vip.Services, service.String())
	}
	if conflict, found := s.Conflict(address); found {
		vip.Conflict = conflict
	}
	if lease := s.VIPLease(address); lease != nil {
		if lease.Spec.LeaseTransitions != nil {
			vip.Moves = *lease.Spec.LeaseTransitions
		}
		if vip.Node != "" {
			vip.Successor = lease.Annotations[names.AnnotationSuccessor]
			if lease.Spec.AcquireTime != nil {
				vip.Since = &lease.Spec.AcquireTime.Time
			}
		}
	}
	missing := s.Missing(snapshot.Leases, snapshot.Pools, snapshot.Advertisements, snapshot.Nodes, snapshot.EndpointSlices)
	switch {
	case vip.Node == "" && missing != "":
		vip.Reason, vip.Message = ReasonUnknown, "it cannot be told who announces it: could not read "+missing
	case vip.Node != "":
		a.describeHolder(&vip)
	case vip.Conflict != "":
		vip.Reason, vip.Message = ReasonConflict, "another host uses the address: "+vip.Conflict+"; free it there, or take it out of the pool"
	case planned.Reason != plan.Eligible:
		vip.Reason, vip.Message = string(planned.Reason), plan.Explain(planned, selectorProblems(s, planned)...)
	default:
		vip.Reason = ReasonElection
		vip.Message = "nodes may announce it (" + strings.Join(vip.Candidates, ", ") + "), and none has taken it yet"
		if len(vip.Candidates) == 0 {
			vip.Message = "the nodes that may announce it take no VIPs at present: see the speakers"
		}
	}
	return vip
}

func (a Announcing) describeHolder(vip *VIP) {
	vip.Interfaces = a.Plan[vip.Address].Verdict(vip.Node).Interfaces
	session := a.sessions[vip.Node]
	vip.MACs = session.MACs
	if vip.Interfaces == nil {
		for _, each := range session.Interfaces {
			vip.Interfaces = append(vip.Interfaces, each.Name)
		}
	}
	vip.State = a.states[told{vip.Node, vip.Address}]
}

// selectorProblems says which selectors cannot be read, when that is why a VIP is not announced.
func selectorProblems(s *snapshot.Snapshot, vip plan.VIP) (problems []string) {
	if vip.Reason != plan.InvalidSelector {
		return nil
	}
	for _, object := range s.Advertisements {
		if err := plan.CheckSelectors(object); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return problems
}
