// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

const ms = time.Millisecond

var injected = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(after time.Duration) time.Time { return injected.Add(after) }

// attempt fails with a reason; none: it succeeds.
func attempt(sent, ended time.Duration, reason string) load.Attempt {
	return load.Attempt{Due: at(sent), Sent: at(sent), Ended: at(ended), Error: reason}
}

func reply(after time.Duration, host string) arpwatch.Answer {
	return arpwatch.Answer{At: at(after), Host: host, Kind: arpwatch.Reply}
}

// cut is a cable cut: served until 0, again from 600 ms, mended at 1 s.
func cut() *sample {
	broken := attempt(10*ms, 12*ms, "connection reset")
	broken.Connected = true
	late := attempt(605*ms, 606*ms, "")
	late.Due = at(600 * ms)
	return &sample{
		marks: marks{Fault: "cut", Variant: "default", Commit: "c", Node: "node-1", Next: "node-2", Injected: injected, Done: at(20 * ms),
			Recovered: at(900 * ms), Healed: at(1000 * ms), Ready: at(2000 * ms)},
		Attempts: []load.Attempt{
			attempt(-500*ms, -499*ms, ""), attempt(-1*ms, 0, ""), broken, attempt(20*ms, 220*ms, "timeout"), late,
			attempt(990*ms, 991*ms, ""), attempt(1500*ms, 1501*ms, "timeout"),
		},
		Answers: []arpwatch.Answer{reply(-10*ms, "node-1"), reply(580*ms, "node-2"), reply(600*ms, "node-2"), reply(1100*ms, "node-2"), reply(1110*ms, "node-1"), reply(1120*ms, "node-2")},
	}
}

func TestJudge(t *testing.T) {
	want := figures{
		Gap: 606 * ms, Requests: 6, Failed: 1, Broken: 1, Silence: 590 * ms, Moved: 580 * ms,
		ReturnFailed: 1, Both: 0, Late: 5 * ms,
	}
	if diff := cmp.Diff(want, judge(cut())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What is kept of a soak begins with its first connection, and not a while before it.
func TestJudgeInventsNoGapBeforeTheFirstConnection(t *testing.T) {
	s := cut()
	s.Attempts = []load.Attempt{attempt(0, 1*ms, ""), attempt(10*ms, 11*ms, "")}
	if got := judge(s); got.Gap != 10*ms {
		t.Errorf("gap %v, want 10 ms", got.Gap)
	}
}

func TestJudgeSaysThatNothingCameBack(t *testing.T) {
	s := cut()
	s.Attempts = []load.Attempt{attempt(-10*ms, 0, ""), attempt(10*ms, 210*ms, "timeout"), attempt(800*ms, 1000*ms, "timeout")}
	s.Answers = s.Answers[:1]
	if got := judge(s); !got.Open || got.Gap != 1000*ms || got.Moved != 0 {
		t.Errorf("%+v, want an open gap of 1 s and no move", got)
	}
}

func TestSampleSurvivesItsFile(t *testing.T) {
	want := cut()
	var file bytes.Buffer
	if err := want.write(&file); err != nil {
		t.Fatal(err)
	}
	got, err := readSample(&file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestKeptSamplesAreNumberedAndResumed(t *testing.T) {
	out := t.TempDir()
	for range 2 {
		if err := cut().keep(out); err != nil {
			t.Fatal(err)
		}
	}
	for fault, want := range map[string]int{"cut": 2, "drain": 0} {
		if all, err := kept(out, "default", fault); err != nil || len(all) != want {
			t.Errorf("%d of %s are kept, %v; want %d", len(all), fault, err, want)
		}
	}
}

func TestSpread(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i)*ms)
	}
	for name, tc := range map[string]struct {
		values []time.Duration
		want   spread
	}{
		"nothing":         {},
		"one":             {[]time.Duration{7 * ms}, spread{7 * ms, 7 * ms, 7 * ms, 7 * ms}},
		"three, unsorted": {[]time.Duration{3 * ms, 1 * ms, 2 * ms}, spread{1 * ms, 2 * ms, 3 * ms, 3 * ms}},
		"a hundred":       {hundred, spread{1 * ms, 50 * ms, 95 * ms, 100 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, spreadOf(tc.values)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
