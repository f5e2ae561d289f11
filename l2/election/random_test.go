// SPDX-License-Identifier: Apache-2.0

package election

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	firstSeed = flag.Int64("seed", 1, "first seed of the random fault schedules")
	schedules = flag.Int("schedules", 80, "how many random fault schedules to run")
	only      = flag.String("kind", "", "run only schedules of kinds whose name contains this")
	table     = flag.Bool("table", false, "print progress and the worst figures of the random fault schedules")
)

// outcome is what one schedule came to.
type outcome struct {
	seed                       int64
	kind                       *kind
	gap, overlap, heals        time.Duration
	moves, fences, falseFences int
	writes, refused            int
	virtual                    time.Duration
	failed                     bool
}

// Random faults of every kind, one schedule for each seed, with the real decision core, election and client-go's electors. In no
// schedule do the records name two holders, or do two nodes answer for one VIP for longer than the bound in docs/how-it-works.md, or
// does nobody answer for longer than the kind of fault explains; and when the fault is over each VIP soon has one node that answers,
// which its Lease names. The seed decides what goes wrong and when, but not in which order goroutines run at the same moment: where
// one fails, run it some more times.
func TestRandomFaults(t *testing.T) {
	drawn := draw(*firstSeed, *schedules, *only)
	started := time.Now()
	outcomes := make([]outcome, len(drawn))
	var next, done atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(drawn); i = next.Add(1) - 1 {
				outcomes[i] = runSchedule(t, drawn[i])
				if n := done.Add(1); *table && n%100 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d schedules, %v\n", n, len(drawn), time.Since(started).Round(time.Second))
				}
			}
		})
	}
	workers.Wait()
	if *table {
		fmt.Print(report(outcomes, time.Since(started)))
	}
}

// schedule is one run.
type schedule struct {
	seed int64
	kind *kind
}

// draw chooses the kinds of schedules by their seeds.
func draw(first int64, count int, only string) []schedule {
	var wheel []*kind
	for i := range kinds {
		for range max(1, kinds[i].weight) {
			if strings.Contains(kinds[i].name, only) {
				wheel = append(wheel, &kinds[i])
			}
		}
	}
	drawn := make([]schedule, count)
	for i := range drawn {
		seed := first + int64(i)
		drawn[i] = schedule{seed: seed, kind: wheel[newChance(seed).intN(len(wheel))]}
	}
	return drawn
}

func runSchedule(t *testing.T, s schedule) outcome {
	result := outcome{seed: s.seed, kind: s.kind}
	again := fmt.Sprintf("go test ./l2/election -run TestRandomFaults -schedules 1 -seed %d -kind %q -count 20", s.seed, *only)
	passed := t.Run(fmt.Sprintf("seed=%d/%s", s.seed, s.kind.name), func(t *testing.T) {
		chance := newChance(s.seed)
		nodes := s.kind.nodes[0] + chance.intN(s.kind.nodes[1]-s.kind.nodes[0]+1)
		inWorldWith(t, nodes, 3+chance.intN(6), func(w *world) {
			w.chance, w.api.chance = chance, chance
			w.silent = *schedules > 1
			if s.kind.before != nil {
				s.kind.before(w)
			}
		}, func(w *world) {
			begun := time.Now()
			if took, err := w.settles(10 * time.Second); err != nil {
				t.Fatalf("not at rest after %v: %v (%s)", took, err, again)
			}
			w.pass(chance.between(2*time.Second, 5*time.Second))
			from, before := time.Now(), w.settled()
			s.kind.run(w)
			w.mu.Lock()
			result.moves = w.law.moves
			w.mu.Unlock()
			limit := cmp.Or(s.kind.heals, healBound)
			took, err := w.settles(limit)
			result.heals = took
			if err != nil {
				t.Errorf("not at rest %v after the last fault: %v (%s)", took, err, again)
			}
			w.pass(8 * time.Second)
			if _, err := w.settles(time.Second); err != nil { // a VIP may just be on its way to a better place
				t.Errorf("at rest after %v, and not later: %v (%s)", took, err, again)
			} else if after, _ := w.unsettled(); s.kind.stays {
				for vip, node := range before {
					if after[vip] != node {
						t.Errorf("%s moved from %s to %s (%s)", vip, node, after[vip], again)
					}
				}
			}
			result.gap, result.overlap = w.gap(from)
			if result.gap > s.kind.gap {
				t.Errorf("nobody answered for one VIP for %v, want at most %v (%s)", result.gap, s.kind.gap, again)
			}
			if result.overlap > s.kind.overlap {
				t.Errorf("two nodes answered for one VIP for %v, want at most %v (%s)", result.overlap, s.kind.overlap, again)
			}
			w.mu.Lock()
			result.moves = w.law.moves
			result.fences, result.falseFences = w.law.fences, w.law.falseFences
			w.mu.Unlock()
			w.api.mu.Lock()
			result.writes, result.refused = w.api.writes, w.api.refused
			w.api.mu.Unlock()
			result.virtual = time.Since(begun)
		})
	})
	result.failed = !passed
	return result
}

// report is a table of the worst figures.
func report(outcomes []outcome, took time.Duration) string {
	var text strings.Builder
	row := func(name string, of []outcome) {
		if len(of) == 0 {
			return
		}
		var gaps, heals []time.Duration
		var overlap time.Duration
		var moves, fences, falseFences, failed int
		var virtual time.Duration
		for _, each := range of {
			gaps, heals = append(gaps, each.gap), append(heals, each.heals)
			overlap = max(overlap, each.overlap)
			moves, fences, falseFences = moves+each.moves, fences+each.fences, falseFences+each.falseFences
			virtual += each.virtual
			if each.failed {
				failed++
			}
		}
		slices.Sort(gaps)
		slices.Sort(heals)
		median := func(list []time.Duration) string { return seconds(list[len(list)/2]) }
		fmt.Fprintf(&text, "| %s | %d | %s | %s / %s | %s / %s | %.2f | %.2f | %d | %d |\n", name, len(of), seconds(overlap),
			median(gaps), seconds(gaps[len(gaps)-1]), median(heals), seconds(heals[len(heals)-1]),
			float64(moves)/float64(len(of)), float64(fences)/float64(len(of)), falseFences, failed)
	}
	fmt.Fprintln(&text, "| schedules in which | runs | two answer, longest | gap, median / longest | well again after, median / longest | moves a run | fences a run | false fences | failed |")
	fmt.Fprintln(&text, "|---|---|---|---|---|---|---|---|---|")
	for i := range kinds {
		var of []outcome
		for _, each := range outcomes {
			if each.kind == &kinds[i] {
				of = append(of, each)
			}
		}
		row(kinds[i].name, of)
	}
	row("all", outcomes)
	var virtual time.Duration
	for _, each := range outcomes {
		virtual += each.virtual
	}
	fmt.Fprintf(&text, "\n%d schedules, %.0f hours of virtual time, in %v; seeds %d to %d\n", len(outcomes), virtual.Hours(), took.Round(time.Second), outcomes[0].seed, outcomes[len(outcomes)-1].seed)
	return text.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
