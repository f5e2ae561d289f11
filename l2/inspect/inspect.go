// SPDX-License-Identifier: Apache-2.0

// Package inspect is what a speaker tells of itself, as JSON: the output of `l2-speaker status -o json` and `l2-speaker probe -o json`.
// Tools read it through `kubectl exec`. Fields are only ever added to a version; a reader ignores those that it does not know.
//
// Times are told as seconds before the report, by the speaker's own clock, and left out when there is nothing to tell: no reader has
// to compare clocks.
package inspect

import (
	"net/netip"
	"slices"
	"time"
)

// APIVersion of the reports, and their kinds.
const (
	APIVersion = "cloud-provider-l2/v1"
	KindStatus = "SpeakerStatus"
	KindProbe  = "Probe"
)

// Seconds is a span of time.
type Seconds float64

// Span is a duration in seconds, to the millisecond.
func Span(d time.Duration) Seconds { return Seconds(d.Round(time.Millisecond).Seconds()) }

// Ago is how long before now something was, and nil when it never was.
func Ago(at, now time.Time) *Seconds {
	if at.IsZero() {
		return nil
	}
	ago := Span(now.Sub(at))
	return &ago
}

// Status is what a running speaker says of itself.
type Status struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Version of the program.
	Version string `json:"version,omitempty"`
	Node    string `json:"node"`
	// Running is how long the process has run.
	Running Seconds `json:"runningSeconds"`
	Session Session `json:"session"`
	// Takes says whether the speaker may take VIPs now; WhyNot, why not: StartsUp, Stops, NoSession, SessionNotRenewed, Isolated, LinkDown
	// or BackOff, which ends in BackOff.
	Takes   bool    `json:"takes"`
	WhyNot  string  `json:"whyNot,omitempty"`
	BackOff Seconds `json:"backOffSeconds,omitempty"`
	// Isolated is set while neither the gateway nor any other speaker is heard.
	Isolated bool     `json:"isolated"`
	Gateway  *Gateway `json:"gateway,omitempty"`
	// Period of heartbeats; silence after SilencePeriods of it may be taken for death.
	Period         Seconds     `json:"periodSeconds"`
	SilencePeriods float64     `json:"silencePeriods"`
	Interfaces     []Interface `json:"interfaces"`
	// ExcludeInterfaces is the regular expression by which interfaces are left out.
	ExcludeInterfaces string `json:"excludeInterfaces"`
	// Speakers that have a session or are heard, in order of node, this one included.
	Speakers []Speaker `json:"speakers"`
	// VIPs that this speaker holds, answers for, claims or probes, in order of address. Who holds the others stands on their Leases.
	VIPs []VIP `json:"vips"`
	// Dropped counts what was dropped since the process began, by protocol (arp, ndp, heartbeat) and reason.
	Dropped map[string]map[string]uint64 `json:"dropped,omitempty"`
}

// Session is the speaker's own.
type Session struct {
	// Epoch is empty while there is no session.
	Epoch string `json:"epoch,omitempty"`
	// Renewed is how long ago the last renewal that the API server acknowledged was sent.
	Renewed *Seconds `json:"renewedSecondsAgo,omitempty"`
	// Fresh is set while renewals succeed: the API server is reached.
	Fresh bool `json:"fresh"`
	// Duration after which a session that is not renewed may be ended by others.
	Duration Seconds `json:"durationSeconds"`
}

// Gateway is the default gateway, which tells a dead neighbour from a dead cable.
type Gateway struct {
	Address netip.Addr `json:"address"`
	// Answers is set when it answered when last asked; Answered is how long ago it did.
	Answers  bool     `json:"answers"`
	Answered *Seconds `json:"answeredSecondsAgo,omitempty"`
}

// Interface is one that VIPs can be announced on.
type Interface struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Speaker is what is known of one speaker.
type Speaker struct {
	Node string `json:"node"`
	// Self is set for the one that reports.
	Self bool `json:"self,omitempty"`
	// Epoch by the records; empty when it has no session.
	Epoch string `json:"epoch,omitempty"`
	// MACs that it announces from.
	MACs []string `json:"macs,omitempty"`
	// Leaving and BacksOff are what it says on its session: that it stops, or takes no VIPs for a while.
	Leaving  bool `json:"leaving,omitempty"`
	BacksOff bool `json:"backsOff,omitempty"`
	// Heard is set while its heartbeats are not silent. HeardAgo is by this speaker's own ears, ReportedAgo also as others tell.
	Heard       bool     `json:"heard"`
	HeardAgo    *Seconds `json:"heardSecondsAgo,omitempty"`
	ReportedAgo *Seconds `json:"reportedSecondsAgo,omitempty"`
	// Period of its heartbeats, GatewayAnswers and Acknowledged, the age of its last acknowledged write, are as it said last.
	Period         Seconds  `json:"periodSeconds,omitempty"`
	GatewayAnswers bool     `json:"gatewayAnswers,omitempty"`
	Acknowledged   *Seconds `json:"acknowledgedSecondsAgo,omitempty"`
}

// State is what a speaker does for a VIP.
type State string

// States of a VIP.
const (
	// Announcing: answers for it.
	Announcing State = "Announcing"
	// HandingOver: answers for it until its successor, which was asked, or has taken it, is heard.
	HandingOver State = "HandingOver"
	// Yielded: does not answer for it, though it may be its own, because another speaker was heard to.
	Yielded State = "Yielded"
	// Silent: holds it by the records and does not answer for it.
	Silent State = "Silent"
	// Claiming: is about to take it.
	Claiming State = "Claiming"
	// Probing: finds out whether another host has it, before it is claimed for the first time.
	Probing State = "Probing"
	// InConflict: does not claim it because another host has it.
	InConflict State = "InConflict"
)

// VIP is what a speaker does for one.
type VIP struct {
	Address  netip.Addr `json:"address"`
	State    State      `json:"state"`
	Pool     string     `json:"pool,omitempty"`
	Services []string   `json:"services,omitempty"`
	// Interfaces on which it is announced; none stands for all.
	Interfaces []string `json:"interfaces,omitempty"`
	// Holder by the records, how long it has been that, and how often the VIP has changed holders.
	Holder string   `json:"holder,omitempty"`
	Held   *Seconds `json:"heldSecondsAgo,omitempty"`
	Moves  int32    `json:"moves"`
	// Successor that was asked to take it, and why it is handed over.
	Successor string `json:"successor,omitempty"`
	Reason    string `json:"reason,omitempty"`
	// Candidates are the nodes that may announce it, the first choice first.
	Candidates []string  `json:"candidates,omitempty"`
	Conflict   *Conflict `json:"conflict,omitempty"`
}

// Conflict is a host that has a VIP and is no speaker.
type Conflict struct {
	MAC       string `json:"mac"`
	Interface string `json:"interface"`
	Node      string `json:"node"`
}

// Probe is who answers for an address on the LAN, asked from one node.
type Probe struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Node       string     `json:"node,omitempty"`
	Address    netip.Addr `json:"address"`
	// Interfaces on which it was asked for.
	Interfaces []string `json:"interfaces"`
	// Own says why this node itself has the address, which does not hear its own answers: Announced by its speaker, or Configured on an interface.
	// Empty: it has not.
	Own string `json:"own,omitempty"`
	// Answers by hosts other than this node, in the order in which they came.
	Answers []Answer `json:"answers"`
	// Incomplete says what could not be found out; empty when nothing.
	Incomplete string `json:"incomplete,omitempty"`
}

// Values of Probe.Own.
const (
	OwnAnnounced  = "Announced"
	OwnConfigured = "Configured"
)

// Answer is a host that answers for an address.
type Answer struct {
	MAC       string `json:"mac"`
	Interface string `json:"interface"`
	// Node whose speaker has that MAC; empty for a stranger, and when the speaker here could not be asked.
	Node string `json:"node,omitempty"`
	// After is how long after the first question it was heard.
	After Seconds `json:"afterSeconds"`
}

// SpeakerWith names the node whose speaker announces from a hardware address; empty for a stranger's.
func (s Status) SpeakerWith(mac string) string {
	for _, speaker := range s.Speakers {
		if slices.Contains(speaker.MACs, mac) {
			return speaker.Node
		}
	}
	return ""
}

// AnswersFor says whether the speaker that reports answers for an address.
func (s Status) AnswersFor(address netip.Addr) bool {
	return slices.ContainsFunc(s.VIPs, func(vip VIP) bool {
		return vip.Address == address && (vip.State == Announcing || vip.State == HandingOver)
	})
}
