// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// gaps is a measured fault whose runs had these gaps, and this many failures in all.
func gaps(name string, failed int, values ...time.Duration) measured {
	i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
	m := measured{fault: faults[i]}
	for _, v := range values {
		m.samples = append(m.samples, cut())
		m.figures = append(m.figures, figures{Gap: v, Requests: 1000})
	}
	m.figures[0].Failed = failed
	return m
}

func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		variant string
		m       measured
		want    string
	}{
		"a cut within both bounds":                {"default", gaps("cut", 50, 500*ms, 600*ms, 800*ms), "met"},
		"a cut whose median is too long":          {"default", gaps("cut", 50, 601*ms), "**missed**"},
		"a cut whose 95th percentile is too long": {"default", gaps("cut", 50, 500*ms, 500*ms, 801*ms), "**missed**"},
		"a fast cut": {"fast", gaps("cut", 50, 350*ms, 350*ms, 900*ms), "met"},
		"a fast cut that is only as good as others": {"fast", gaps("cut", 50, 500*ms), "**missed**"},
		"a drain that lost one":                     {"default", gaps("drain", 1, 10*ms, 10*ms), "**missed**"},
		"a drain that lost none of enough":          {"default", gaps("drain", 0, 10*ms, 10*ms), "met"},
		"a drain that lost none of too few":         {"default", gaps("drain", 0, 10*ms), "too few"},
		"an isolation has no target of its own":     {"default", gaps("isolate", 50, 900*ms), ""},
	} {
		if _, got := verdict(tc.variant, tc.m); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	vips := []*vipSample{{VIPs: 1000, Held: 2, Back: map[string]float64{"10.100.0.1": 500, "10.100.0.2": 700}}}
	plots := plotsOf("default", []measured{gaps("cut", 5, 500*ms, 600*ms), gaps("drain", 0, 10*ms)}, vips)
	for _, name := range []string{"gaps-default.svg", "timeline-default.svg", "vips-default.svg"} {
		decoder := xml.NewDecoder(strings.NewReader(plots[name]))
		elements := 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, ok := token.(xml.StartElement); ok {
				elements++
			}
		}
		if elements < 20 {
			t.Errorf("%s has %d elements, and cannot be a plot", name, elements)
		}
		if strings.Contains(plots[name], "NaN") || strings.Contains(plots[name], "Inf") {
			t.Errorf("%s has coordinates that are no numbers", name)
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, tc := range []struct {
		from, to float64
		want     []float64
	}{
		{0, 100, []float64{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100}},
		{0, 840, []float64{0, 100, 200, 300, 400, 500, 600, 700, 800}},
		{-0.3, 1.6, []float64{-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6}},
	} {
		got := ticks(tc.from, tc.to)
		for i := range got {
			got[i] = round9(got[i])
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v to %v: %v, want %v", tc.from, tc.to, got, tc.want)
		}
	}
}

// The report is computed from the files alone, says what was asked for and shows what was kept of both variants.
func TestReportOfWhatIsThere(t *testing.T) {
	out := t.TempDir()
	slow := &vipSample{Variant: "default", VIPs: 1000, Node: "node-2", Held: 2, Back: map[string]float64{"10.100.0.1": 700}, CutWrites: map[string]int{"speaker": 60}}
	fast := cut()
	fast.Variant = "fast"
	vips := &vipSample{
		Variant: "default", VIPs: 1000, Node: "node-3", Held: 1, Back: map[string]float64{"10.100.0.1": 700},
		CutWrites: map[string]int{"speaker": 20, "controller": 1}, RestWrites: map[string]float64{"speaker": 3}, RSS: map[string]float64{"node-1": 40, "node-2": 40, "node-3": 70},
		Creation: &creation{Took: 9, Writes: map[string]float64{"speaker": 2.1, "controller": 5.5}},
	}
	for _, err := range []error{cut().keep(out), fast.keep(out), vips.keep(out), slow.keep(out)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o := options{task: "report", out: out, command: "failover report", commit: "abc"}
	if err := report(t.Context(), out, o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"failover report", "abc", noFlapBackoff, "--failover=default", "--failover=fast",
		"| cable cut | 1 | 606 ms | 606 ms | 606 ms | 606 ms | 1 of 6 | 1 | 590 ms / 590 ms | 0 ms | 1 | 5 ms | p50 ≤ 600 ms, p95 ≤ 800 ms | **missed** |",
		"p50 ≤ 350 ms", "| node-3 | 1 of 1 | 700 ms | 700 ms | met | controller 1, speaker 20 | 30 | speaker 3.00 |",
		"| node-2 | 1 of 2 | 700 ms | 700 ms | **missed** | speaker 60 | 2 | none |",
		"1.00 writes at most; target 1: met", "73.4 MB at most; target 60: **missed**", "speakers 4 (met), controller 5 (**missed**)",
		"![timeline-default](timeline-default.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

func TestOptionsThatCannotBeMeant(t *testing.T) {
	for _, args := range [][]string{
		{}, {"faults", "--failover", "slow"}, {"faults", "--runs", "0"}, {"faults", "--faults", "flood"}, {"vips", "--vips", "5000"}, {"soak", "--soak", "0s"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
