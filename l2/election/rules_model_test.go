// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// modelCase is a scenario in which an obvious reading of the rules broke when they were modelled.
type modelCase struct {
	name         string
	nodes        int
	before       func(*world)
	run          func(*world)
	gap, overlap time.Duration
	// moves and fences that may come of it.
	moves, fences int
}

const (
	brief = 50 * time.Millisecond
	many  = 1000
)

func runModel(t *testing.T, cases []modelCase) {
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			inWorldWith(t, test.nodes, 5, func(w *world) {
				w.silent = true
				if test.before != nil {
					test.before(w)
				}
			}, func(w *world) {
				w.pass(atRest)
				w.settled()
				from, before := time.Now(), w.tally()
				test.run(w)
				w.pass(10 * time.Second)
				gap, overlap := w.gap(from)
				if gap > test.gap || overlap > test.overlap {
					t.Errorf("gap %v, overlap %v; want at most %v and %v", gap, overlap, test.gap, test.overlap)
				}
				came := w.tally().less(before)
				if came.moves > test.moves || came.fences > test.fences {
					t.Errorf("%d moves and %d sessions ended; want at most %d and %d", came.moves, came.fences, test.moves, test.fences)
				}
				w.settled()
			})
		})
	}
}

// The nine scenarios that broke the plain version of the rules, hints in place of heartbeats and no more.
func TestWhatBrokeThePlainVersion(t *testing.T) {
	cutFromAPIAndHeartbeats := func(now *weather) { now.apiAway, now.muted, now.deaf = true, true, true }
	runModel(t, []modelCase{
		{"1 yields too early to count (E7)", 3, nil, func(w *world) {
			w.duringThat([]*node{w.holder()}, cutFromAPIAndHeartbeats, func() { w.pass(20 * time.Second) })
		}, 100 * time.Millisecond, 500 * time.Millisecond, many, 1},
		{"2 withdraws, and then nobody may follow (E6)", 3, nil, func(w *world) {
			nodes := w.all()
			for _, node := range nodes {
				node.setAPIAway(true)
				w.pass(3900 * time.Millisecond)
			}
			w.pass(20 * time.Second)
			for _, node := range nodes {
				node.setAPIAway(false)
			}
		}, 0, 0, 0, 0},
		{"3 storm when the API server returns (E4 a)", 5, nil, func(w *world) {
			for _, node := range w.all() {
				node.setAPIAway(true)
			}
			w.pass(time.Minute)
			for _, node := range w.all() {
				node.setAPIAway(false)
				w.pass(5 * time.Second)
			}
		}, 0, 0, 0, 0},
		{"4 blocked heartbeats fence everybody (E4 b)", 4, nil, func(w *world) {
			w.duringThat(w.all(), func(now *weather) { now.muted = true }, func() { w.pass(time.Minute) })
		}, 0, 0, 0, 0},
		{"5 the LAN guard stops fail-over with two nodes (E4)", 2, func(w *world) { w.noGateway = true }, func(w *world) {
			victim := w.holder()
			victim.crash()
			w.pass(10 * time.Second)
		}, 5500 * time.Millisecond, brief, 5, 1},
		{"6 isolated, but renewing (E9)", 3, nil, func(w *world) {
			w.holder().setLANCut(true)
			w.pass(20 * time.Second)
		}, 1500 * time.Millisecond, brief, many, 1},
		{"7 the watch beats the successor's answer (E8)", 2, nil, func(w *world) {
			victim := w.holder()
			for _, node := range w.all() {
				if node != victim {
					node.change(func(now *weather) { now.slow = 600 * time.Millisecond })
				}
			}
			w.exclude(victim.name, true)
			w.pass(20 * time.Second)
		}, 0, brief, 5, 0},
		{"8 a stale view of sessions steals (E3)", 4, nil, func(w *world) {
			stale := w.pick(2)
			w.duringThat(stale, func(now *weather) { now.watchStands = true }, func() {
				for _, node := range w.all() {
					if node != stale[0] && node != stale[1] {
						node.kill()
						node = node.restart()
						w.pass(4 * time.Second)
					}
				}
			})
		}, 3 * time.Second, overlapBound, many, many}, // the records are checked in every world
		{"9 a deadline on each reply contradicts hold (E5, E6)", 1, nil, func(w *world) {
			w.all()[0].setAPIAway(true)
			w.pass(time.Minute)
			w.all()[0].setAPIAway(false)
		}, 0, 0, 0, 0},
	})
}

// The eight scenarios that broke heartbeats in place of the hints.
func TestWhatBrokePlainHeartbeats(t *testing.T) {
	heal := func(w *world, lost int) {
		victim := w.holder()
		w.duringThat([]*node{victim}, func(now *weather) { now.apiAway, now.muted, now.deaf = true, true, true }, func() {
			w.duringThat([]*node{victim}, func(now *weather) { now.cut = true }, func() { w.pass(12 * time.Second) })
			w.mu.Lock()
			w.loseAnswers = lost
			w.mu.Unlock()
			w.pass(10 * time.Second)
		})
	}
	runModel(t, []modelCase{
		{"1 a witness heard only at some moment (E4 b)", 3, func(w *world) { w.noGateway = true }, func(w *world) {
			observer := w.holder()
			epochs := map[string]string{}
			for _, node := range w.all() {
				epochs[node.name] = holder(w.api.lease(names.SessionLease(node.name)))
			}
			observer.setLANCut(true)
			w.pass(20 * time.Second)
			for _, node := range w.all() {
				if now := holder(w.api.lease(names.SessionLease(node.name))); node != observer && now != epochs[node.name] {
					w.t.Errorf("%s was fenced by %s, which hears nobody", node.name, observer.name)
				}
			}
		}, time.Second, brief, many, many},
		{"2 the gateway as the only witness (E4 b)", 2, nil, func(w *world) {
			w.duringThat(w.all(), func(now *weather) { now.muted, now.deaf = true, true }, func() { w.pass(time.Minute) })
		}, 0, 0, 0, 0},
		{"3 the LAN is split, the API server on both sides (E4 b)", 5, nil, func(w *world) {
			w.duringThat(w.all()[:2], func(now *weather) { now.side = 1 }, func() { w.pass(9 * time.Second) })
		}, 1100 * time.Millisecond, brief, many, many},
		{"4 multicast is filtered, and the LAN cut (E9)", 3, func(w *world) { w.filtered = true }, func(w *world) {
			w.holder().setLANCut(true)
			w.pass(20 * time.Second)
		}, 1500 * time.Millisecond, brief, many, 1},
		{"5 loss at a receiver (E11)", 5, nil, func(w *world) {
			w.duringThat(w.pick(1), func(now *weather) { now.loss = 0.3 }, func() { w.pass(2 * time.Minute) })
		}, 0, 0, 0, 0},
		{"6 heartbeats stay filtered when the LAN heals (E9)", 3, nil, func(w *world) { heal(w, 0) },
			1100 * time.Millisecond, 600 * time.Millisecond, many, many},
		{"7 both sides in hold probe each other, and both yield (E7)", 3, nil, func(w *world) {
			victim := w.holder()
			victim.setCut(true)
			w.pass(5 * time.Second) // its VIPs are others' now
			for _, node := range w.all() {
				node.change(func(now *weather) { now.apiAway = true })
			}
			w.pass(10 * time.Second)
			victim.change(func(now *weather) { now.cut = false })
			w.pass(10 * time.Second)
			for _, node := range w.all() {
				node.setAPIAway(false)
			}
		}, 1100 * time.Millisecond, 600 * time.Millisecond, many, many},
		{"8 an answer to a probe is lost on return (E9)", 3, nil, func(w *world) { heal(w, 1) },
			1100 * time.Millisecond, 700 * time.Millisecond, many, many},
	})
}
