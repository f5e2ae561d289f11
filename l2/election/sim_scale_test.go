// SPDX-License-Identifier: Apache-2.0

package election

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

var (
	scaleNodes = flag.Int("scale-nodes", 0, "run TestScale with this many nodes; make sim does with 200")
	scaleVIPs  = flag.Int("scale-vips", 10000, "VIPs of TestScale")
)

// E1, E3, E10: what a large cluster costs at rest and when a node dies: at rest one write per speaker and renewal, 50 a second at most, and no read, and
// after a death one fence, one claim for each VIP of the dead node, and nothing else moves.
func TestScale(t *testing.T) {
	if *scaleNodes == 0 {
		t.Skip("takes minutes and gigabytes: make sim runs it, with -scale-nodes 200")
	}
	inWorldWith(t, *scaleNodes, *scaleVIPs, func(w *world) {
		w.silent, w.coarse = true, true
		w.api.interval = 50 * time.Millisecond
	}, func(w *world) {
		began := time.Now()
		took, err := w.settlesEvery(500*time.Millisecond, 3*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%d nodes, %d VIPs: all answered %v after the start, %s\n", *scaleNodes, *scaleVIPs, took, w.cost(began, tally{}))
		w.pass(10 * time.Second) // hand-shakes and bursts end

		began, before := time.Now(), w.tally()
		w.pass(20 * time.Second)
		rest := w.tally().less(before)
		fmt.Printf("at rest for %v: %s\n", time.Since(began), w.cost(began, before))
		if most := min(*scaleNodes, renewalsPerSecond) * 21; rest.writes > most || rest.reads != 0 || rest.moves != 0 {
			t.Errorf("at rest %d writes, %d reads and %d moves in 20 s; want at most %d, none and none", rest.writes, rest.reads, rest.moves, most)
		}

		holders := w.settled()
		victim, held := holders[w.vip(0)], 0
		for _, node := range holders {
			if node == victim {
				held++
			}
		}
		began, before = time.Now(), w.tally()
		w.node(victim).crash()
		if _, err := w.settlesEvery(50*time.Millisecond, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		gap, overlap := w.gap(began)
		died := w.tally().less(before)
		fmt.Printf("a node with %d VIPs dies: the last one is answered again after %v, two answer for %v; %s\n", held, gap, overlap, w.cost(began, before))
		if gap > 1500*time.Millisecond || overlap > 0 {
			t.Errorf("gap %v and overlap %v, want at most 1.5 s and none", gap, overlap)
		}
		if died.moves != held || died.fences != 1 {
			t.Errorf("%d VIPs moved and %d sessions were ended, want %d and 1", died.moves, died.fences, held)
		}
		for vip, node := range w.settled() {
			if holders[vip] != victim && holders[vip] != node {
				t.Fatalf("%s moved from %s to %s, though %s died", names.VIPLease(vip), holders[vip], node, victim)
			}
		}
	})
}

// tally is what has been counted so far.
type tally struct{ writes, refused, reads, delivered, moves, fences int }

func (w *world) tally() tally {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	return tally{w.api.writes, w.api.refused, w.api.reads, w.api.delivered, w.law.moves, w.law.fences}
}

func (t tally) less(before tally) tally {
	return tally{
		t.writes - before.writes, t.refused - before.refused, t.reads - before.reads,
		t.delivered - before.delivered, t.moves - before.moves, t.fences - before.fences,
	}
}

// cost says what has been counted since.
func (w *world) cost(since time.Time, before tally) string {
	now := w.tally().less(before)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	seconds := time.Since(since).Seconds()
	return fmt.Sprintf("%d writes (%.1f/s, %d refused), %d reads, %d watch events (%.0f/s), %d moves, %d fences, %d MB in all",
		now.writes, float64(now.writes)/seconds, now.refused, now.reads, now.delivered, float64(now.delivered)/seconds, now.moves, now.fences, memory.HeapAlloc>>20)
}
