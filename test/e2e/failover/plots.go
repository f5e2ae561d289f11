// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
)

// named is one line of a plot.
type named struct {
	name   string
	values []time.Duration
}

// target is a value that the design asks for.
type target struct {
	name  string
	value time.Duration
}

// distribution plots, for each line, the share of its values that are no longer than so much.
func distribution(title, label string, lines []named, targets []target) string {
	longest := 100 * time.Millisecond
	for _, l := range lines {
		if len(l.values) > 0 {
			longest = max(longest, slices.Max(l.values))
		}
	}
	for _, t := range targets {
		longest = max(longest, t.value)
	}
	s := newSVG(title)
	x, y := xAxis(0, milliseconds(longest)*1.05), yAxis(0, 100)
	s.gridX(x, label)
	s.gridY(y, "share of all, %")
	for _, t := range targets {
		s.mark(x.at(milliseconds(t.value)), t.name)
	}
	var words, colours []string
	for i, l := range lines {
		points := [][2]float64{{0, 0}}
		for rank, value := range slices.Sorted(slices.Values(l.values)) {
			points = append(points, [2]float64{milliseconds(value), 100 * float64(rank+1) / float64(len(l.values))})
		}
		points = append(points, [2]float64{x.to, 100})
		colour := palette[i%len(palette)]
		s.steps(x, y, points, colour)
		words, colours = append(words, fmt.Sprintf("%s (%d)", l.name, len(l.values))), append(colours, colour)
	}
	s.legend(words, colours)
	return s.end()
}

// timeline plots one sample: each connection by when it was sent and how long it took, and below that who answered ARP.
func timeline(title string, s *sample) string {
	const from, to = -0.3, 1.6 // seconds around the fault
	drawing := newSVG(title)
	x := xAxis(from, to)
	hosts := hostsOf(s)
	const lane = 24
	lanes := float64(plotHeight - marginBottom - lane*(len(hosts)+1))
	y := axis{0, 200, lanes, marginTop}
	drawing.gridX(x, "seconds since the fault (connections: green served, orange failed)")
	drawing.gridY(y, "duration, ms")
	drawing.mark(x.at(0), "fault")
	if !s.Healed.IsZero() && s.Healed.Sub(s.Injected).Seconds() < to {
		drawing.mark(x.at(s.Healed.Sub(s.Injected).Seconds()), "mended")
	}
	for _, a := range s.Attempts {
		sent := a.Sent.Sub(s.Injected).Seconds()
		if sent < from || sent > to {
			continue
		}
		colour := servedColour
		if !a.Succeeded() {
			colour = failedColour
		}
		took := min(milliseconds(a.Ended.Sub(a.Sent)), y.to)
		drawing.line(x.at(sent), y.at(0), x.at(sent), min(y.at(took), y.at(0)-2), colour, ` stroke-width="1.6"`)
	}
	for i, host := range hosts {
		height := lanes + float64(lane*(i+1))
		drawing.text(marginLeft-8, height+4, "end", host)
		for _, a := range s.Answers {
			sent := a.At.Sub(s.Injected).Seconds()
			if a.Host != host || sent < from || sent > to {
				continue
			}
			size := 2.0
			if a.Kind == arpwatch.Announcement {
				size = 4.5
			}
			fmt.Fprintf(drawing, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`+"\n", x.at(sent), height, size, palette[i%len(palette)])
		}
	}
	return drawing.end()
}

// hostsOf are those that claimed the VIP, in the order in which they first did.
func hostsOf(s *sample) []string {
	var hosts []string
	for _, a := range s.Answers {
		if !slices.Contains(hosts, a.Host) {
			hosts = append(hosts, a.Host)
		}
	}
	return hosts
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
