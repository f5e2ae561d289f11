// SPDX-License-Identifier: Apache-2.0

package election

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	firstSeed = flag.Int64("seed", 1, "first seed of the random fault schedules")
	schedules = flag.Int("schedules", 40, "how many random fault schedules to run")
)

// Random faults, one to three at a time: cables cut, the API server away for one or all, speakers that crash, stop and start.
// In no schedule do two nodes answer for longer than the bound in docs/how-it-works.md, and when all is mended each VIP has
// one node that answers, which its Lease names.
func TestRandomFaults(t *testing.T) {
	for i := range *schedules {
		seed := *firstSeed + int64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			inWorld(t, 3+random.IntN(3), 6, func(w *world) {
				w.pass(atRest)
				w.settled()
				from := time.Now()
				for range 6 {
					for range 1 + random.IntN(3) {
						w.fault(random)
						w.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
					}
					w.pass(time.Duration(random.IntN(15000)) * time.Millisecond)
					w.mend(random)
					w.pass(time.Duration(random.IntN(10000)) * time.Millisecond)
				}
				w.mend(random)
				w.pass(2 * time.Minute)
				w.settled()
				if _, overlap := w.gap(from); overlap > time.Second {
					t.Errorf("two nodes answered for one VIP for %v, want at most 1 s (go test -run 'TestRandomFaults' -seed %d -schedules 1)", overlap, seed)
				}
			})
		})
	}
}

func (w *world) fault(random *rand.Rand) {
	nodes := w.all()
	node := nodes[random.IntN(len(nodes))]
	switch random.IntN(7) {
	case 0:
		node.setCut(true)
	case 1:
		node.setCable(true)
	case 2:
		node.setAPIAway(true)
	case 3:
		for _, each := range nodes {
			each.setAPIAway(true)
		}
	case 4:
		node.crash()
	case 5:
		node.setLANCut(true)
	case 6:
		w.exclude(node.name, true)
	}
}

// mend takes all faults back, in random order and with pauses.
func (w *world) mend(random *rand.Rand) {
	nodes := w.all()
	random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	for _, node := range nodes {
		node.mu.Lock()
		dead := node.dead
		node.mu.Unlock()
		if dead {
			node.restart()
		} else {
			node.setCable(false)
		}
		w.exclude(node.name, false)
		w.pass(time.Duration(random.IntN(1000)) * time.Millisecond)
	}
}
