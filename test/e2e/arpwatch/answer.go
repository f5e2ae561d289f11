// SPDX-License-Identifier: Apache-2.0

package arpwatch

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Kind of answer.
type Kind string

const (
	Reply        Kind = "reply"        // to our request
	Announcement Kind = "announcement" // unasked, of either form
)

// Answer is one packet in which a host claimed a target.
type Answer struct {
	At     time.Time
	Target netip.Addr
	// Host is who claims it, by MAC. Whoever knows the hosts may put a name in its place.
	Host string
	Kind Kind
}

// Line is how an answer travels from the probe, without its newline.
func (a Answer) Line() string {
	return fmt.Sprintf("%d %s %s %s", a.At.UnixNano(), a.Target, a.Host, a.Kind)
}

// ParseLine is the inverse of Line.
func ParseLine(line string) (Answer, error) {
	var nanos int64
	var target, host, kind string
	if _, err := fmt.Sscan(line, &nanos, &target, &host, &kind); err != nil {
		return Answer{}, fmt.Errorf("reading the answer %q: %w", line, err)
	}
	addr, err := netip.ParseAddr(target)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer %q: %w", line, err)
	}
	return Answer{At: time.Unix(0, nanos), Target: addr, Host: host, Kind: Kind(kind)}, nil
}

// Span is a time during which something went on without a break.
type Span struct{ From, To time.Time }

// Length of the span.
func (s Span) Length() time.Duration { return s.To.Sub(s.From) }

// Silence is the longest time between two replies of anybody for one target, in order of time.
func Silence(answers []Answer) Span {
	var longest Span
	var last time.Time
	for _, a := range answers {
		if a.Kind != Reply {
			continue
		}
		if span := (Span{last, a.At}); !last.IsZero() && span.Length() > longest.Length() {
			longest = span
		}
		last = a.At
	}
	return longest
}

// Both is the longest time during which two hosts answered for one target. A host answers from one reply to the next while these are
// no further apart than a pause: several times the interval of asking.
func Both(answers []Answer, pause time.Duration) Span {
	var spans []hostSpan
	latest := map[string]int{} // host to the span that goes on
	for _, a := range answers {
		if a.Kind != Reply {
			continue
		}
		if i, ok := latest[a.Host]; ok && a.At.Sub(spans[i].To) <= pause {
			spans[i].To = a.At
			continue
		}
		latest[a.Host] = len(spans)
		spans = append(spans, hostSpan{Span{a.At, a.At}, a.Host})
	}
	slices.SortFunc(spans, func(a, b hostSpan) int { return cmp.Compare(a.From.UnixNano(), b.From.UnixNano()) })
	var longest Span
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			if b.From.After(a.To) {
				break
			}
			to := a.To
			if b.To.Before(to) {
				to = b.To
			}
			if shared := (Span{b.From, to}); a.host != b.host && shared.Length() > longest.Length() {
				longest = shared
			}
		}
	}
	return longest
}

type hostSpan struct {
	Span
	host string
}
