// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
)

// E11: the key of heartbeats changes on one node after the other, some seconds apart: nobody becomes silent by it, and nothing moves.
func TestE11KeyChange(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		before := w.settled()
		for _, text := range []string{"another-key-another-key-another-k", "a-third-key-a-third-key-a-third-k"} {
			key, err := membership.NewKey([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, node := range w.all() {
				node.speaker.SetKey(key)
				w.pass(4 * time.Second)
			}
			w.pass(70 * time.Second)
		}
		for vip, holder := range w.settled() {
			if before[vip] != holder {
				t.Errorf("%s moved from %s to %s", vip, before[vip], holder)
			}
		}
		if w.law.fences > 0 {
			t.Errorf("%d sessions were fenced", w.law.fences)
		}
		stranger, err := membership.NewKey([]byte("a-fourth-key-a-fourth-key-a-four"))
		if err != nil {
			t.Fatal(err)
		}
		w.node("node-3").speaker.SetKey(stranger) // who alone has a key that stays is not heard for long
		w.pass(30 * time.Second)
		if hears, ok := w.node("node-1").speaker.judge.LastHeard(string(w.node("node-3").speaker.view.Epoch)); ok && time.Since(hears) < 10*time.Second {
			t.Error("a key that nobody else has is believed")
		}
	})
}

// E11: a heartbeat says how often its sender beats, and its silence is judged by that.
func TestE11PeriodOfTheSender(t *testing.T) {
	for name, test := range map[string]struct {
		announced, gone time.Duration
		fenced          bool
	}{
		"its own period":           {100 * time.Millisecond, time.Second, true},
		"a longer one, not yet":    {400 * time.Millisecond, 1500 * time.Millisecond, false},
		"a longer one, long since": {400 * time.Millisecond, 3 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 3, nil)
			s.view.Liveness = slowMember{s.members, "n2/a", test.announced}
			s.pass(5 * time.Second)
			s.hears["n2"] = false
			if fenced := len(s.pass(test.gone).Fences) > 0; fenced != test.fenced {
				t.Errorf("fenced after %v: %v", test.gone, fenced)
			}
		})
	}
}

// slowMember is a Liveness in which one epoch announced a period of its own.
type slowMember struct {
	steadyMembers
	epoch  string
	period time.Duration
}

func (m slowMember) Period(epoch string) time.Duration {
	if epoch == m.epoch {
		return m.period
	}
	return m.steadyMembers.Period(epoch)
}
