// SPDX-License-Identifier: Apache-2.0

package load

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// bucket is the resolution of a Report's timeline.
const bucket = 100 * time.Millisecond

// ProgressLine is what the probe prints while it runs: the requests finished and failed so far.
const ProgressLine = "load: %d requests, %d failed\n"

// Report is what a run comes down to. It travels as JSON from the probe to the test.
type Report struct {
	URL      string        `json:"url"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"` // from the start to the last request's end

	Requests int            `json:"requests"`
	Failures int            `json:"failures"`
	Errors   map[string]int `json:"errors,omitempty"` // how often each reason was given

	// Broken are those of the failures whose connection stood already.
	Broken []Broken `json:"broken,omitempty"`

	Gap Gap `json:"gap"`

	// P50, P99 and Max are of successful requests, from SYN to the last byte.
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`

	// Late is how far behind its schedule the measuring machine fell at worst. A gap of that size proves nothing.
	Late time.Duration `json:"late"`

	// Timeline counts the requests by the tenth of a second they were due in.
	Timeline []Bucket `json:"timeline"`
}

// Broken is an established connection that broke, with the time since the start of the run in which it stood.
type Broken struct {
	Sent  time.Duration `json:"sent"`
	Ended time.Duration `json:"ended"`
}

// AcrossMove counts the connections that stood at the moment at which the VIP moved and broke then. A node knows only the
// connections that came in through it, so a move breaks those that are open, planned or not; new ones it must not cost.
func (r Report) AcrossMove(at time.Time) int {
	const margin = 50 * time.Millisecond // from the record to the last client's neighbour table
	moved := at.Sub(r.Start)
	count := 0
	for _, each := range r.Broken {
		if each.Sent <= moved+margin && each.Ended >= moved {
			count++
		}
	}
	return count
}

// Gap is the longest time between two successes, counted from when they ended.
type Gap struct {
	From   time.Duration `json:"from"` // since the start of the run
	Length time.Duration `json:"length"`
	// Open: nothing succeeded any more until the run ended; the real gap is longer.
	Open bool `json:"open,omitempty"`
}

// Bucket counts the requests due in one tenth of a second.
type Bucket struct {
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
}

// Summarize judges a run. It changes nothing it is given.
func Summarize(url string, start time.Time, requests []Request) Report {
	report := Report{URL: url, Start: start, Requests: len(requests), Errors: map[string]int{}}
	var took []time.Duration
	for _, r := range requests {
		report.Duration = max(report.Duration, r.Ended)
		report.Late = max(report.Late, r.Sent-r.Due)
		at := int(r.Due / bucket)
		for len(report.Timeline) <= at {
			report.Timeline = append(report.Timeline, Bucket{})
		}
		if r.Succeeded() {
			report.Timeline[at].Succeeded++
			took = append(took, r.Ended-r.Sent)
		} else {
			report.Timeline[at].Failed++
			report.Failures++
			report.Errors[r.Error]++
			if r.Connected {
				report.Broken = append(report.Broken, Broken{Sent: r.Sent, Ended: r.Ended})
			}
		}
	}
	slices.Sort(took)
	report.P50, report.P99, report.Max = quantile(took, 0.50), quantile(took, 0.99), quantile(took, 1)
	report.Gap = LongestGap(requests)
	return report
}

// LongestGap finds the longest time without a success. The run's start and, when the last requests failed, its end count as
// borders: a service that never came back has a gap, and it is marked open.
func LongestGap(requests []Request) Gap {
	byEnd := slices.SortedFunc(slices.Values(requests), func(a, b Request) int { return cmp.Compare(a.Ended, b.Ended) })
	var longest Gap
	var last time.Duration // when the latest success ended
	for i, r := range byEnd {
		open := !r.Succeeded() && i == len(byEnd)-1
		if !r.Succeeded() && !open {
			continue
		}
		if length := r.Ended - last; length > longest.Length {
			longest = Gap{From: last, Length: length, Open: open}
		}
		last = r.Ended
	}
	return longest
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// Strip draws the timeline, one character for each tenth of a second: '.' all answered, 'x' none, '/' some. Stretches longer
// than width are cut to the part around the gap.
func (r Report) Strip(width int) string {
	var b strings.Builder
	for _, t := range r.Timeline {
		switch {
		case t.Failed == 0 && t.Succeeded == 0:
			b.WriteByte(' ')
		case t.Failed == 0:
			b.WriteByte('.')
		case t.Succeeded == 0:
			b.WriteByte('x')
		default:
			b.WriteByte('/')
		}
	}
	strip := b.String()
	if len(strip) <= width {
		return strip
	}
	from := int(r.Gap.From/bucket) - width/3
	from = min(max(from, 0), len(strip)-width)
	return strip[from : from+width]
}
