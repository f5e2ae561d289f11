// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Failovers are counted by how the holder was lost, from its last sign of life; hand-overs by reason; and sessions by how they went.
func TestFailoversAndHandOversAreCounted(t *testing.T) {
	for _, test := range []struct {
		name string
		// change prepares the world, fault happens to the node that holds the one VIP, heal afterwards.
		nodes  int
		change func(*world)
		fault  func(*world, *node)
		// durations that are observed, by metric and reason: one each, between least and most.
		metric, reason string
		least, most    time.Duration
		// fences by reason, suffered by whom.
		fences, suffered string
	}{
		{
			name: "crash", nodes: 3, fault: func(_ *world, n *node) { n.crash() },
			metric: "failover", reason: HolderSilent, least: 500 * time.Millisecond, most: 900 * time.Millisecond, fences: HolderSilent,
		},
		{
			name: "crash where multicast is filtered", nodes: 3, change: func(w *world) { w.filtered = true }, fault: func(_ *world, n *node) { n.crash() },
			metric: "failover", reason: HolderNotRenewed, least: 3500 * time.Millisecond, most: 5500 * time.Millisecond, fences: HolderNotRenewed,
		},
		{
			name: "session deleted by hand", nodes: 3, fault: func(w *world, n *node) { w.api.delete(names.SessionLease(n.name)) },
			metric: "failover", reason: "", suffered: endedByHand,
		},
		{
			name: "drain", nodes: 3, fault: func(w *world, n *node) { w.exclude(n.name, true) },
			metric: "handover", reason: "Cordoned", most: time.Second,
		},
		{
			name: "stop", nodes: 3, fault: func(_ *world, n *node) { n.stop() },
			metric: "handover", reason: SpeakerStops, most: time.Second,
		},
		{
			name: "cut off and fenced, then back", nodes: 3, fault: func(w *world, n *node) {
				n.change(func(weather *weather) { weather.cut, weather.apiAway = true, true })
				w.pass(5 * time.Second)
				n.change(func(weather *weather) { weather.cut, weather.apiAway = false, false })
			},
			metric: "failover", reason: HolderSilent, least: 500 * time.Millisecond, most: 900 * time.Millisecond, fences: HolderSilent, suffered: endedBySpeaker,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			registry := metrics.NewKubeRegistry()
			prepare := func(w *world) {
				w.metrics = NewMetrics(registry.MustRegister)
				w.timing.RebalanceInterval = 0
				if test.change != nil {
					test.change(w)
				}
			}
			inWorldWith(t, test.nodes, 1, prepare, func(w *world) {
				w.pass(atRest)
				test.fault(w, w.node(w.settled()[w.vip(0)]))
				w.pass(10 * time.Second)
				firsts := 0
				w.mu.Lock()
				for _, node := range w.nodes {
					firsts += node.firsts
				}
				moved := slices.Clone(w.moved)
				w.mu.Unlock()
				if test.reason != "" && (len(moved) == 0 || !strings.HasSuffix(moved[0], ": "+test.reason)) {
					t.Errorf("users were told %q, want %q first", moved, test.reason)
				}
				if firsts != 1 {
					t.Errorf("announced as a VIP that had no holder before %d times, want once", firsts)
				}
				if test.reason != "" {
					name := "cloud_provider_l2_" + test.metric + "_duration_seconds"
					seen, err := testutil.GetHistogramVecFromGatherer(registry, name, map[string]string{"reason": test.reason})
					if err != nil {
						t.Fatal(err)
					}
					took := time.Duration(seen.Average() * float64(time.Second))
					if count := seen.GetAggregatedSampleCount(); count != 1 || took < test.least || took > test.most {
						t.Errorf("%s{reason=%q}: %d of %v on average, want one from %v to %v", name, test.reason, count, took, test.least, test.most)
					}
				}
				counted := func(name, label string, value string, want float64) {
					t.Helper()
					counts, err := testutil.GetCounterValuesFromGatherer(registry, name, nil, label)
					if err != nil {
						t.Fatal(err)
					}
					if counts[value] != want {
						t.Errorf("%s: %v, want %v of %s", name, counts, want, value)
					}
				}
				for _, reason := range []string{HolderSilent, HolderNotRenewed} {
					counted("cloud_provider_l2_fences_issued_total", "reason", reason, map[bool]float64{true: 1}[reason == test.fences])
				}
				for _, by := range []string{endedBySpeaker, endedByHand} {
					counted("cloud_provider_l2_fences_suffered_total", "by", by, map[bool]float64{true: 1}[by == test.suffered])
				}
			})
		})
	}
}

// Renewals are counted by what became of them; what the API server does not answer has failed.
func TestRenewalsAreCounted(t *testing.T) {
	registry := metrics.NewKubeRegistry()
	inWorldWith(t, 1, 1, func(w *world) { w.metrics = NewMetrics(registry.MustRegister) }, func(w *world) {
		counts := func() map[string]float64 {
			counts, err := testutil.GetCounterValuesFromGatherer(registry, "cloud_provider_l2_session_renewals_total", nil, "result")
			if err != nil {
				t.Fatal(err)
			}
			return counts
		}
		w.pass(time.Minute)
		healthy := counts()
		if acknowledged := healthy[renewalAcknowledged]; acknowledged < 50 || acknowledged > 62 || healthy[renewalFailed] != 0 {
			t.Errorf("in a minute %v, want about one acknowledged each second and none failed", healthy)
		}
		w.all()[0].change(func(weather *weather) { weather.apiDown = true })
		w.pass(time.Minute)
		if away := counts(); away[renewalFailed] == 0 || away[renewalAcknowledged] > healthy[renewalAcknowledged]+1 {
			t.Errorf("%v after a minute without the API server, %v before", away, healthy)
		}
	})
}
