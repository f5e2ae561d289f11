// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// How long a VIP must be refused before anybody is told. A Service and its L2Advertisement are seldom created in the same moment, nodes and
// speakers start one after the other, and pods take a while to be pulled.
const (
	settledAfter   = 5 * time.Second
	endpointsAfter = 30 * time.Second
)

// Refusals finds the VIPs that no node may announce, and for each change of why tells so once. It is pure: time is an argument.
// It belongs to one goroutine, and the zero value has seen no plan.
type Refusals struct {
	// Node narrows it, when set, to the VIPs that this node does not announce because it has none of the interfaces that are
	// named, whether or not others do.
	Node string

	vips map[netip.Addr]refusal
}

// refusal is why nobody announces a VIP.
type refusal struct {
	vip plan.VIP
	// why in short; it changes when there is something new to tell.
	why   string
	since time.Time
	// told is what users were told last.
	told string
}

// Plan takes in a new plan.
func (r *Refusals) Plan(vips map[netip.Addr]plan.VIP, now time.Time) {
	before := r.vips
	r.vips = map[netip.Addr]refusal{}
	short := map[string]string{} // VIPs of a kind have equal verdicts, and the same map of them
	for addr, vip := range vips {
		if !r.refused(vip) {
			continue
		}
		key := fmt.Sprintf("%s %p", vip.Reason, vip.Nodes)
		why, known := short[key]
		if !known && r.Node == "" {
			why = inShort(vip)
			short[key] = why
		}
		// The Services are part of it: a new one on the VIP is to be told too.
		why += fmt.Sprint(" ", vip.Services)
		each := before[addr]
		if each.why != why {
			each.why, each.since = why, now
		}
		each.vip = vip
		r.vips[addr] = each
	}
}

func (r *Refusals) refused(vip plan.VIP) bool {
	if r.Node != "" {
		return vip.Verdict(r.Node).Reason == plan.NoSuchInterface
	}
	return vip.Reason != plan.Eligible
}

// inShort is which reasons there are, without which nodes have them: nodes come and go, and users need not be told again.
func inShort(vip plan.VIP) string {
	if vip.Reason != plan.NoEligibleNode {
		return string(vip.Reason)
	}
	reasons := map[string]bool{}
	for _, verdict := range vip.Nodes {
		reasons[string(verdict.Reason)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(reasons)), ",")
}

func (r refusal) due() time.Time {
	if r.vip.Reason == plan.NoReadyEndpoints {
		return r.since.Add(endpointsAfter)
	}
	return r.since.Add(settledAfter)
}

// Due lists, by address, the VIPs that users are to be told of now.
func (r *Refusals) Due(now time.Time) (due []plan.VIP) {
	for addr, each := range r.vips {
		if each.told == each.why || now.Before(each.due()) {
			continue
		}
		each.told = each.why
		r.vips[addr] = each
		due = append(due, each.vip)
	}
	slices.SortFunc(due, func(a, b plan.VIP) int { return a.Addr.Compare(b.Addr) })
	return due
}
