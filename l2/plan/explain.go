// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxExplanation is the length in bytes that no explanation exceeds: what the API takes for an event's text.
const maxExplanation = 1024

// Explain says in a sentence for users why no node may announce a VIP. Where each node has a reason of its own, nodes are named by
// reason: all of them in a small cluster, else how many and the first few. Details, if any, say more about the VIP's own reason.
// It returns an empty text for a VIP that some node may announce.
func Explain(vip VIP, details ...string) string {
	switch vip.Reason {
	case Eligible:
		return ""
	case NoEligibleNode:
	default:
		return bounded(fmt.Sprintf("no node may announce %s: %s: %s", vip.Addr, vip.Reason, strings.Join(append([]string{Message(vip.Reason)}, details...), "; ")))
	}
	byReason := map[Reason][]string{}
	for name, verdict := range vip.Nodes {
		byReason[verdict.Reason] = append(byReason[verdict.Reason], name)
	}
	reasons := make([]Reason, 0, len(byReason))
	for reason, names := range byReason {
		slices.Sort(names)
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(len(byReason[b]), len(byReason[a])), strings.Compare(string(a), string(b)))
	})
	start := fmt.Sprintf("no node may announce %s: ", vip.Addr)
	if len(reasons) == 0 {
		return start + "there is no node"
	}
	text := ""
	for _, named := range []int{10, 3, 1, 0} { // fewer names until it fits
		parts := make([]string, 0, len(reasons))
		for _, reason := range reasons {
			parts = append(parts, fmt.Sprintf("%s on %s (%s)", reason, someOf(byReason[reason], named), Message(reason)))
		}
		if text = start + strings.Join(parts, "; "); len(text) <= maxExplanation {
			return text
		}
	}
	return bounded(text)
}

// someOf names nodes, at most so many of them.
func someOf(names []string, most int) string {
	switch {
	case len(names) <= most:
		return strings.Join(names, ", ")
	case most == 0:
		return fmt.Sprintf("%d nodes", len(names))
	}
	return fmt.Sprintf("%d nodes: %s, …", len(names), strings.Join(names[:most], ", "))
}

// bounded cuts a text that is too long, between characters.
func bounded(text string) string {
	const cut = "…"
	if len(text) <= maxExplanation {
		return text
	}
	return strings.ToValidUTF8(text[:maxExplanation-len(cut)], "") + cut
}
