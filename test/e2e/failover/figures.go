// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

const (
	// lead is how much is kept of the time before a fault.
	lead = 500 * time.Millisecond
	// asked is how often the VIP is asked for.
	asked = 20 * time.Millisecond
	// pause between two replies of a host after which it is taken to have stopped answering.
	pause = 150 * time.Millisecond
)

// figures are what one sample comes down to. All but the last three are of the time from the fault to the beginning of its mending.
type figures struct {
	Gap      time.Duration // longest time between two connections that succeeded
	Open     bool          // nothing succeeded any more: the real gap is longer
	Requests int
	Failed   int           // new connections that failed
	Broken   int           // established ones that broke
	Silence  time.Duration // longest time between two ARP replies of anybody
	Moved    time.Duration // until another node replied; 0: none did

	ReturnFailed int           // new connections that failed while the fault was mended
	Both         time.Duration // longest time for which two nodes replied, mending included
	Late         time.Duration // how far the client fell behind its schedule, at worst: a gap of that size proves nothing
}

// judge computes the figures of a sample.
func judge(s *sample) figures {
	var f figures
	var during []load.Request
	var begin time.Time // of what was kept: a gap cannot have begun before
	for i, a := range s.Attempts {
		if i == 0 || a.Sent.Before(begin) {
			begin = a.Sent
		}
	}
	for _, a := range s.Attempts {
		f.Late = max(f.Late, a.Sent.Sub(a.Due))
		mending := a.Sent.After(s.Healed)
		switch {
		case mending && !a.Succeeded():
			f.ReturnFailed++
		case mending:
		case a.Succeeded():
			f.Requests++
		case a.Connected:
			f.Requests++
			f.Broken++
		default:
			f.Requests++
			f.Failed++
		}
		if !mending {
			during = append(during, a.Request(begin))
		}
	}
	gap := load.LongestGap(during)
	f.Gap, f.Open = gap.Length, gap.Open

	f.Both = arpwatch.Both(s.Answers, pause).Length()
	var answers []arpwatch.Answer
	for _, a := range s.Answers {
		if a.At.After(s.Healed) {
			break
		}
		answers = append(answers, a)
		if f.Moved == 0 && a.At.After(s.Injected) && a.Kind == arpwatch.Reply && a.Host != s.Node {
			f.Moved = a.At.Sub(s.Injected)
		}
	}
	f.Silence = arpwatch.Silence(answers).Length()
	return f
}

// spread is what many durations come down to.
type spread struct{ Min, Median, P95, Max time.Duration }

// spreadOf takes nearest ranks: each value is one that was measured.
func spreadOf(values []time.Duration) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := func(percent int) time.Duration { return sorted[max((percent*len(sorted)+99)/100, 1)-1] }
	return spread{Min: sorted[0], Median: rank(50), P95: rank(95), Max: sorted[len(sorted)-1]}
}
