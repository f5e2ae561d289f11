// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
)

// mostEvents is how many events an explanation ends with.
const mostEvents = 10

// tell writes an explanation for people to read.
func (o *options) tell(e view.Explanation) {
	paint := paintFor(o.out)
	line := func(indent int, format string, args ...any) {
		fmt.Fprintf(o.out, strings.Repeat("  ", indent)+format+"\n", args...)
	}
	for _, service := range e.Services {
		line(0, "%s", paint.in(bold, "Service "+service.Service))
		if !service.Served {
			line(1, "is not served: %s", service.NotServed)
			continue
		}
		line(1, "asks for: %s", strings.Join(service.Asks, "; "))
		line(1, "has: %s", orNone(addresses(service.Addresses)))
		line(1, "ready endpoints: %d, on %s; externalTrafficPolicy %s", service.ReadyEndpoints, orNone(strings.Join(service.ReadyOn, ", ")), orNone(service.ExternalTrafficPolicy))
		if service.Refused != "" {
			line(1, "%s", paint.in(red, "refused: "+service.Refused))
		}
		if service.Unknown != "" {
			line(1, "%s", service.Unknown)
			continue
		}
		line(1, "pools, in the order in which they are tried:")
		for i, pool := range service.Pools {
			verdict := pool.Reason
			switch {
			case pool.Chosen:
				verdict = paint.in(green, "chosen: "+addresses(pool.Gives))
			case pool.Tried && len(pool.Gives) > 0:
				verdict = "could give " + addresses(pool.Gives)
			case pool.Tried:
				verdict = "refused: " + verdict
			default:
				verdict = "not tried: " + verdict
			}
			line(2, "%d. %s (%s of %s in use): %s", i+1, pool.Name, view.FormatCount(pool.InUse), view.FormatCount(pool.Total), verdict)
		}
		if len(service.Pools) == 0 {
			line(2, "there is none")
		}
	}
	for _, address := range e.Addresses {
		line(0, "%s", paint.in(bold, "Address "+address.Address.String()))
		switch {
		case address.Reason == view.ReasonUnknown:
			line(1, "%s", address.Message)
		case address.Node != "":
			line(1, "%s", paint.in(green, announcedBy(address.VIP)))
		default:
			line(1, "%s", paint.in(red, "not announced: "+address.Message))
		}
		if len(address.Asked) > 0 {
			line(1, "asked on the LAN from %s: %s answered", strings.Join(address.Asked, ", "), orNobody(address.Answered))
		}
		for _, ad := range address.Advertisements {
			switch {
			case ad.Covers && ad.Reason == "":
				line(1, "L2Advertisement %s covers it", ad.Name)
			case ad.Covers:
				line(1, "L2Advertisement %s covers it, but %s", ad.Name, ad.Reason)
			default:
				line(1, "L2Advertisement %s does not: %s", ad.Name, ad.Reason)
			}
		}
		for _, node := range address.Nodes {
			verdict := nodeVerdict(node)
			if string(node.Reason) == address.Reason && node.Reason != "" {
				verdict = address.Reason // what that means was said above
			}
			line(1, "node %s: %s", node.Node, verdict)
		}
	}
	if len(e.Events) > 0 {
		line(0, "%s", paint.in(bold, "Events"))
		for _, event := range e.Events[max(0, len(e.Events)-mostEvents):] {
			line(1, "%s ago: %s: %s", since(&event.Time), event.Reason, event.Message)
		}
	}
	line(0, "%s: %s", paint.in(bold, "Verdict"), e.Verdict)
	for _, mend := range e.Mend {
		line(0, "%s: %s", paint.in(bold, "To mend it"), mend)
	}
}

func announcedBy(vip view.VIP) string {
	text := "announced by " + vip.Node
	if vip.Since != nil {
		text += " for " + since(vip.Since)
	}
	return fmt.Sprintf("%s, on %s (%s); moves so far: %d", text, orNone(strings.Join(vip.Interfaces, ", ")), strings.Join(vip.MACs, ", "), vip.Moves)
}

func nodeVerdict(node view.NodeVerdict) string {
	if !node.Eligible {
		return fmt.Sprintf("%s: %s", node.Reason, node.Message)
	}
	words := []string{"may announce it"}
	switch {
	case node.Holder:
		words = []string{"announces it"}
	case node.Rank > 0:
		words = []string{fmt.Sprintf("may announce it, candidate %d", node.Rank)}
	}
	if !node.InSubnet {
		words = append(words, "it has no address in its subnet")
	}
	if node.Score > 0 {
		words = append(words, fmt.Sprintf("preferred by %d", node.Score))
	}
	return strings.Join(words, "; ")
}

func addresses(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, address := range list {
		texts[i] = address.String()
	}
	return strings.Join(texts, ", ")
}

func orNobody(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}
