// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net/netip"
	"time"
)

// A kind of schedule is what goes wrong in it, and what may come of that.
type kind struct {
	name string
	// nodes at least and at most; VIPs are 3 to 8.
	nodes [2]int
	// weight is how often the kind is drawn; 0 counts as 1.
	weight int
	// before changes the world before anybody starts.
	before func(*world)
	// run makes trouble, and ends it.
	run func(*world)
	// gap and overlap that may come of it, and within which time all must be well when the trouble has ended.
	gap, overlap, heals time.Duration
	// stays: no VIP may move.
	stays bool
}

const (
	// never bounds what the rules leave open: nobody answers while nobody can.
	never = 24 * time.Hour
	// overlapBound is how long two nodes may answer for one VIP, whatever happens (docs/how-it-works.md): until an announcement is
	// repeated, and a speaker without the API server yields to it.
	overlapBound = burstInterval + 400*time.Millisecond
	// healBound is within which time after the last fault each VIP has one node that answers.
	healBound = 15 * time.Second
)

// pick draws different nodes.
func (w *world) pick(count int) []*node {
	nodes := w.all()
	for i := len(nodes) - 1; i > 0; i-- {
		j := w.chance.intN(i + 1)
		nodes[i], nodes[j] = nodes[j], nodes[i]
	}
	return nodes[:min(count, len(nodes))]
}

// holder draws a node that answers for something.
func (w *world) holder() *node {
	for _, node := range w.pick(99) {
		w.mu.Lock()
		holds := len(node.answering) > 0 && !node.dead
		w.mu.Unlock()
		if holds {
			return node
		}
	}
	return w.pick(1)[0]
}

// a while is how long a fault lasts: mostly seconds, sometimes less than a silence.
func (w *world) aWhile() {
	if w.chance.happens(0.3) {
		w.pass(w.chance.between(50*time.Millisecond, 1200*time.Millisecond))
		return
	}
	w.pass(w.chance.between(time.Second, 20*time.Second))
}

// during changes the weather of some nodes for a while.
func (w *world) during(nodes []*node, change func(*weather)) {
	w.duringThat(nodes, change, w.aWhile)
}

func (w *world) duringThat(nodes []*node, change func(*weather), pass func()) {
	before := map[*node]weather{}
	for _, node := range nodes {
		node.change(func(now *weather) { before[node] = *now; change(now) })
	}
	pass()
	for _, node := range nodes {
		node.change(func(now *weather) { *now = before[node] })
	}
}

// kinds of schedules, by what goes wrong.
var kinds = []kind{
	{name: "nothing goes wrong", nodes: [2]int{1, 5}, stays: true, run: func(w *world) { w.pass(30 * time.Second) }},
	{name: "a node is drained", nodes: [2]int{2, 5}, weight: 3, overlap: 50 * time.Millisecond, run: func(w *world) {
		for _, node := range w.pick(1 + w.chance.intN(len(w.all())-1)) {
			w.exclude(node.name, true)
			w.aWhile()
		}
		for _, node := range w.all() {
			w.exclude(node.name, false)
		}
	}},
	{name: "speakers are replaced one after the other", nodes: [2]int{2, 5}, weight: 2, overlap: 50 * time.Millisecond, run: func(w *world) {
		for _, node := range w.all() {
			if err := node.leave(); err != nil {
				w.t.Errorf("%s: %v", node.name, err)
			}
			w.pass(w.chance.below(5 * time.Second))
			node.restart()
			w.pass(w.chance.between(3*time.Second, 8*time.Second)) // the rollout waits for it to be ready
		}
	}},
	{name: "drained while the watch stands", nodes: [2]int{2, 5}, overlap: overlapBound, run: func(w *world) {
		victim := w.holder()
		stands := []*node{victim}
		if w.chance.happens(0.5) {
			stands = w.pick(1)
		}
		w.duringThat(stands, func(now *weather) { now.watchStands = true }, func() {
			w.exclude(victim.name, true)
			w.pass(w.chance.between(time.Second, 10*time.Second))
		})
		w.pass(5 * time.Second)
		w.exclude(victim.name, false)
	}},
	{name: "drained while answers are slow or lost", nodes: [2]int{2, 5}, overlap: overlapBound, run: func(w *world) {
		victim := w.holder()
		w.duringThat(w.all(), func(now *weather) { now.slow, now.loseAnswer, now.late = 200*time.Millisecond, 0.05, 0.3 }, func() {
			w.exclude(victim.name, true)
			w.pass(w.chance.between(time.Second, 10*time.Second))
		})
		w.exclude(victim.name, false)
	}},
	{name: "a node dies", nodes: [2]int{3, 5}, weight: 4, gap: 900 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.crash()
		w.pass(w.chance.between(2*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "two nodes die at once", nodes: [2]int{4, 5}, gap: 1200 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victims := w.pick(2)
		for _, victim := range victims {
			victim.crash()
		}
		w.pass(w.chance.between(3*time.Second, 10*time.Second))
		for _, victim := range victims {
			victim.restart()
		}
	}},
	{name: "a speaker is killed, its node lives", nodes: [2]int{3, 5}, weight: 2, gap: 900 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.kill()
		w.pass(w.chance.between(2*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "two nodes only: one dies", nodes: [2]int{2, 2}, gap: 1200 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.crash()
		w.pass(w.chance.between(5*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "two nodes only: one speaker is killed, its node lives", nodes: [2]int{2, 2}, gap: 2600 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.kill()
		w.pass(w.chance.between(5*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "no gateway, two nodes: one dies", nodes: [2]int{2, 2}, before: func(w *world) { w.noGateway = true }, gap: 5500 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.crash()
		w.pass(w.chance.between(7*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "multicast is filtered: a node dies", nodes: [2]int{2, 5}, before: func(w *world) { w.filtered = true }, gap: 5500 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		victim := w.holder()
		victim.crash()
		w.pass(w.chance.between(7*time.Second, 10*time.Second))
		victim.restart()
	}},
	{name: "a cable is pulled", nodes: [2]int{3, 5}, weight: 2, gap: 900 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		victim := w.holder()
		victim.setCable(true)
		w.aWhile()
		victim.setCable(false)
	}},
	{name: "the switch drops a node's frames, the API server's too", nodes: [2]int{3, 5}, weight: 3, gap: 900 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		w.during([]*node{w.holder()}, func(now *weather) { now.cut, now.apiAway = true, true })
	}},
	// What is isolated for about a silence is fenced at the moment of its return, before it, or not at all. A client on its own side hears it all the while.
	{name: "a node is isolated for 0.6 to 2.4 s, then healed", nodes: [2]int{3, 5}, weight: 2, gap: 900 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		w.duringThat([]*node{w.holder()}, func(now *weather) { now.side, now.apiAway = 1, true }, func() {
			w.pass(w.chance.between(600*time.Millisecond, 2400*time.Millisecond))
		})
	}},
	{name: "a node's LAN is cut, its API server stays", nodes: [2]int{3, 5}, weight: 2, gap: 1500 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		w.during([]*node{w.holder()}, func(now *weather) { now.cut = true })
	}},
	{name: "multicast is filtered: a node's LAN is cut, its API server stays", nodes: [2]int{3, 5}, before: func(w *world) { w.filtered = true }, gap: 3 * time.Second, overlap: overlapBound, run: func(w *world) {
		w.during([]*node{w.holder()}, func(now *weather) { now.cut = true })
	}},
	{name: "the LAN is split, both sides reach the API server", nodes: [2]int{4, 5}, weight: 2, gap: 2 * time.Second, overlap: overlapBound, run: func(w *world) {
		w.during(w.pick(2), func(now *weather) { now.side = 1 })
	}},
	{name: "the LAN is split, the gateway's side reaches the API server", nodes: [2]int{4, 5}, weight: 2, gap: 2 * time.Second, overlap: overlapBound, run: func(w *world) {
		w.during(w.pick(2), func(now *weather) { now.side, now.apiAway = 1, true })
	}},
	{name: "the LAN is split, the other side reaches the API server", nodes: [2]int{4, 5}, gap: never, overlap: overlapBound, run: func(w *world) {
		away := w.pick(2)
		w.duringThat(w.all(), func(now *weather) { now.apiAway = true }, func() {
			w.during(away, func(now *weather) { now.side, now.apiAway = 1, false })
		})
	}},
	{name: "the LAN is split while the API server is away from all", nodes: [2]int{4, 5}, gap: never, overlap: overlapBound, run: func(w *world) {
		w.duringThat(w.all(), func(now *weather) { now.apiAway = true }, func() {
			w.aWhile()
			w.during(w.pick(2), func(now *weather) { now.side = 1 })
			w.aWhile()
		})
	}},
	// When all three probes after the return are lost, the next comes after 5 s.
	{name: "API and LAN of a node are cut, heartbeats stay filtered, a tenth of frames is lost", nodes: [2]int{3, 5}, weight: 2, gap: never, overlap: probeHeld + overlapBound, run: func(w *world) {
		victim := w.holder()
		w.duringThat(w.all(), func(now *weather) { now.loss = 0.1 }, func() {
			w.duringThat([]*node{victim}, func(now *weather) { now.muted, now.deaf, now.apiAway = true, true, true }, func() {
				w.during([]*node{victim}, func(now *weather) { now.cut = true })
				w.aWhile()
			})
			w.pass(5 * time.Second)
		})
	}},
	{name: "a node loses the API server", nodes: [2]int{2, 5}, weight: 3, gap: 100 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		w.during([]*node{w.holder()}, func(now *weather) { now.apiAway = true })
	}},
	{name: "nodes lose the API server one after the other", nodes: [2]int{3, 5}, weight: 2, gap: time.Second, overlap: overlapBound, run: func(w *world) {
		nodes := w.pick(99)
		for _, node := range nodes {
			node.setAPIAway(true)
			w.pass(w.chance.below(6 * time.Second))
		}
		w.aWhile()
		for _, node := range w.pick(99) {
			node.setAPIAway(false)
			w.pass(w.chance.below(4 * time.Second))
		}
	}},
	{name: "the API server is away from all, and back for all", nodes: [2]int{1, 5}, weight: 2, stays: true, run: func(w *world) {
		w.during(w.all(), func(now *weather) { now.apiAway = true })
	}},
	{name: "the API server stops, and starts", nodes: [2]int{1, 5}, weight: 2, stays: true, run: func(w *world) {
		w.duringThat(w.all(), func(now *weather) { now.apiAway, now.apiDown = true, true }, func() {
			w.api.breakWatches(nil)
			w.aWhile()
			w.api.compact()
		})
	}},
	{name: "answers are slow or lost, and late requests arrive", nodes: [2]int{2, 5}, weight: 3, gap: never, overlap: overlapBound, run: func(w *world) {
		some := w.pick(1 + w.chance.intN(3))
		slow := w.chance.below(1500 * time.Millisecond)
		lost := float64(w.chance.intN(40)) / 100
		w.duringThat(some, func(now *weather) { now.slow, now.loseRequest, now.loseAnswer, now.late = slow, lost, lost, 0.5 }, func() {
			w.aWhile()
			w.exclude(some[0].name, true)
			w.aWhile()
			w.exclude(some[0].name, false)
		})
	}},
	{name: "watches stand or break", nodes: [2]int{2, 5}, weight: 2, stays: true, run: func(w *world) {
		w.during(w.pick(1+w.chance.intN(5)), func(now *weather) { now.watchStands = true })
		w.api.freeze(true)
		w.aWhile()
		w.api.breakWatches(nil)
		w.aWhile()
		w.api.freeze(false)
		w.api.compact()
		w.api.breakWatches(nil)
	}},
	{name: "a node dies while watches stand", nodes: [2]int{3, 5}, gap: never, overlap: overlapBound, run: func(w *world) {
		victim := w.holder()
		w.duringThat(w.pick(1+w.chance.intN(4)), func(now *weather) { now.watchStands = true }, func() {
			w.pass(w.chance.below(3 * time.Second))
			victim.crash()
			w.aWhile()
		})
		victim.restart()
	}},
	{name: "a twentieth of a node's heartbeats is lost, late or doubled", nodes: [2]int{3, 5}, weight: 3, overlap: 50 * time.Millisecond, gap: 100 * time.Millisecond, run: func(w *world) {
		w.duringThat(w.pick(1), func(now *weather) { now.loss, now.copies, now.jitter = 0.05, 0.1, 30*time.Millisecond }, func() { w.pass(time.Minute) })
	}},
	{name: "a fifth of all frames is lost, late or doubled", nodes: [2]int{3, 5}, overlap: overlapBound, gap: 500 * time.Millisecond, run: func(w *world) {
		w.duringThat(w.all(), func(now *weather) { now.loss, now.copies, now.jitter = 0.2, 0.1, 50*time.Millisecond }, func() { w.pass(30 * time.Second) })
	}},
	{name: "heartbeats are filtered for all, from some time on", nodes: [2]int{2, 5}, stays: true, run: func(w *world) {
		w.during(w.all(), func(now *weather) { now.muted = true })
	}},
	{name: "heartbeats are filtered for one, from some time on", nodes: [2]int{3, 5}, gap: 100 * time.Millisecond, overlap: 50 * time.Millisecond, run: func(w *world) {
		w.during(w.pick(1), func(now *weather) { now.muted, now.deaf = w.chance.happens(0.7), w.chance.happens(0.7) })
	}},
	{name: "the gateway is silent", nodes: [2]int{1, 5}, weight: 1, stays: true, run: func(w *world) {
		w.setGatewayDown(true)
		w.aWhile()
		w.setGatewayDown(false)
	}},
	{name: "a decision loop is stuck", nodes: [2]int{3, 5}, weight: 2, gap: 1100 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		d := w.chance.between(50*time.Millisecond, 6*time.Second)
		w.holder().stick(d)
		w.pass(d)
	}},
	{name: "a process stands still", nodes: [2]int{3, 5}, weight: 3, gap: 900 * time.Millisecond, overlap: overlapBound, run: func(w *world) {
		d := w.chance.between(50*time.Millisecond, 8*time.Second)
		w.holder().stand(d)
		w.pass(d)
	}},
	{name: "all processes stand still, each for its own time", nodes: [2]int{3, 5}, gap: never, overlap: overlapBound, run: func(w *world) {
		for _, node := range w.all() {
			node.stand(w.chance.between(50*time.Millisecond, 8*time.Second))
		}
		w.pass(8 * time.Second)
	}},
	{name: "a node's cable flaps", nodes: [2]int{3, 5}, weight: 2, gap: never, overlap: overlapBound, run: func(w *world) {
		victim := w.holder()
		for range 3 + w.chance.intN(6) {
			victim.setCut(true)
			w.pass(w.chance.between(100*time.Millisecond, 3*time.Second))
			victim.setCut(false)
			w.pass(w.chance.between(100*time.Millisecond, 4*time.Second))
		}
	}},
	{name: "hands change Leases", nodes: [2]int{2, 5}, gap: 2 * time.Second, overlap: overlapBound, run: func(w *world) {
		for range 8 {
			w.meddle()
			w.pass(w.chance.below(2 * time.Second))
		}
	}},
	{name: "one to three faults of any kind at a time", nodes: [2]int{3, 5}, weight: 20, gap: never, overlap: overlapBound, run: func(w *world) {
		for range 4 {
			for range 1 + w.chance.intN(3) {
				w.fault()
				w.pass(w.chance.below(3 * time.Second))
			}
			w.aWhile()
			w.mend()
			w.pass(w.chance.below(8 * time.Second))
		}
	}},
}

func (w *world) setGatewayDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gatewayDown = down
}

// meddle does what people and other programs do to Leases.
func (w *world) meddle() {
	leases := w.api.names()
	name := leases[w.chance.intN(len(leases))]
	switch w.chance.intN(5) {
	case 0:
		w.api.delete(name)
	default:
		w.api.touch(name)
	}
}

// fault makes one more thing go wrong.
func (w *world) fault() {
	node := w.pick(1)[0]
	faults := []func(){
		func() { node.setCut(true) },
		func() { node.setCable(true) },
		func() { node.setLANCut(true) },
		func() { node.setAPIAway(true) },
		func() {
			for _, each := range w.all() {
				each.setAPIAway(true)
			}
		},
		func() { node.crash() },
		func() { node.kill() },
		func() { w.exclude(node.name, true) },
		func() { w.excludeFrom([]netip.Addr{w.vip(0)}, node.name, true) },
		func() { node.change(func(now *weather) { now.side = 1 }) },
		func() { node.change(func(now *weather) { now.muted = true }) },
		func() { node.change(func(now *weather) { now.deaf = true }) },
		func() {
			node.change(func(now *weather) { now.loss, now.copies, now.jitter = 0.2, 0.1, 50*time.Millisecond })
		},
		func() { node.change(func(now *weather) { now.watchStands = true }) },
		func() { node.change(func(now *weather) { now.slow, now.late = time.Second, 0.5 }) },
		func() { node.change(func(now *weather) { now.loseAnswer, now.loseRequest, now.late = 0.3, 0.3, 0.5 }) },
		func() { node.stand(w.chance.between(50*time.Millisecond, 8*time.Second)) },
		func() { node.stick(w.chance.between(50*time.Millisecond, 8*time.Second)) },
		func() { w.api.freeze(true) },
		func() { w.api.breakWatches(nil) },
		func() { w.setGatewayDown(true) },
		func() { w.meddle() },
	}
	faults[w.chance.intN(len(faults))]()
}

// mend ends all faults, in random order and with pauses.
func (w *world) mend() {
	w.api.freeze(false)
	w.setGatewayDown(false)
	for _, node := range w.pick(99) {
		w.mu.Lock()
		dead := node.dead
		w.mu.Unlock()
		node.change(func(now *weather) { *now = weather{} })
		if dead {
			node.restart()
		} else {
			node.setCable(false)
		}
		w.exclude(node.name, false)
		w.pass(w.chance.below(time.Second))
	}
}
