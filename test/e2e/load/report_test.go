// SPDX-License-Identifier: Apache-2.0

package load

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

func ok(sent, ended time.Duration) Request { return Request{Due: sent, Sent: sent, Ended: ended} }
func lost(sent, ended time.Duration) Request {
	return Request{Due: sent, Sent: sent, Ended: ended, Error: "timeout"}
}

func TestLongestGap(t *testing.T) {
	for name, tc := range map[string]struct {
		requests []Request
		want     Gap
	}{
		"nothing sent, no gap": {},
		"the longest pause between two successes counts, not the failures in it": {
			requests: []Request{ok(0, 2*ms), ok(10*ms, 12*ms), lost(20*ms, 220*ms), lost(30*ms, 230*ms), ok(300*ms, 302*ms), ok(310*ms, 340*ms)},
			want:     Gap{From: 12 * ms, Length: 290 * ms},
		},
		"successes count when they end, whatever order they were sent in": {
			requests: []Request{ok(0, 100*ms), ok(10*ms, 12*ms), ok(20*ms, 22*ms)},
			want:     Gap{From: 22 * ms, Length: 78 * ms},
		},
		"a failure between two successes is not a border": {
			requests: []Request{ok(0, 1*ms), lost(10*ms, 11*ms), ok(20*ms, 21*ms)},
			want:     Gap{From: 1 * ms, Length: 20 * ms},
		},
		"a late first success is a gap from the start": {
			requests: []Request{lost(0, 200*ms), ok(210*ms, 212*ms), ok(220*ms, 222*ms)},
			want:     Gap{Length: 212 * ms},
		},
		"what never comes back is an open gap": {
			requests: []Request{ok(0, 2*ms), lost(10*ms, 210*ms), lost(20*ms, 220*ms)},
			want:     Gap{From: 2 * ms, Length: 218 * ms, Open: true},
		},
		"nothing but failures is one open gap": {
			requests: []Request{lost(0, 200*ms), lost(10*ms, 210*ms)},
			want:     Gap{Length: 210 * ms, Open: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, LongestGap(tc.requests)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	late := ok(110*ms, 113*ms)
	late.Due = 104 * ms
	got := Summarize("http://192.0.2.1/", start, []Request{ok(0, 1*ms), ok(10*ms, 12*ms), lost(20*ms, 220*ms), late, lost(120*ms, 121*ms)})
	want := Report{
		URL: "http://192.0.2.1/", Start: start, Duration: 220 * ms,
		Requests: 5, Failures: 2, Errors: map[string]int{"timeout": 2},
		Gap: Gap{From: 113 * ms, Length: 107 * ms, Open: true},
		P50: 2 * ms, P99: 2 * ms, Max: 3 * ms, Late: 6 * ms,
		Timeline: []Bucket{{Succeeded: 2, Failed: 1}, {Succeeded: 1, Failed: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStripShowsThePartAroundTheGap(t *testing.T) {
	report := Report{Gap: Gap{From: 4 * bucket}}
	for range 4 {
		report.Timeline = append(report.Timeline, Bucket{Succeeded: 10})
	}
	report.Timeline = append(report.Timeline, Bucket{Succeeded: 3, Failed: 7}, Bucket{Failed: 10}, Bucket{}, Bucket{Succeeded: 10})
	if got, want := report.Strip(80), "..../x ."; got != want {
		t.Errorf("whole strip %q, want %q", got, want)
	}
	if got, want := report.Strip(3), "./x"; got != want {
		t.Errorf("cut strip %q, want %q", got, want)
	}
}
