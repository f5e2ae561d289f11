// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"
)

// E4, E6: a speaker whose epoch has ended goes on answering until somebody holds the VIP, and one that handed its VIP over until it hears the new holder; neither
// announces the VIP again, for whatever reason, or clients would come back from whoever has it now.
func TestWhatIsNotItsOwnIsNotAnnouncedAgain(t *testing.T) {
	stranger := Sighting{VIP: stepVIP, MAC: "02:00:00:00:00:ff", Interface: "eth0"}
	for cause, happens := range map[string]func(s *steps, standing func()) Actions{
		"as one that nobody handed over is": func(s *steps, standing func()) Actions {
			s.freed()
			s.until(5*time.Second, "claim", claims)
			s.held("n1")
			s.step()
			standing()
			return s.pass(400 * time.Millisecond)
		},
		"after a return": func(s *steps, standing func()) Actions {
			s.held("n1")
			s.hears["n2"] = false
			s.pass(2 * time.Second)
			standing()
			s.hears["n2"] = true
			return s.pass(400 * time.Millisecond)
		},
		"against a stranger": func(s *steps, standing func()) Actions {
			s.held("n1")
			s.pass(2 * time.Second)
			standing()
			s.step()
			return s.step(stranger)
		},
		"after a doubt that a read has ended": func(s *steps, standing func()) Actions {
			s.held("n1")
			s.pass(2 * time.Second)
			s.step(Sighting{VIP: stepVIP, Node: "n3", MAC: "02:00:00:00:00:03", Interface: "eth0"})
			standing()
			s.core.ReadEnded(stepVIP, true, s.view.Now)
			return s.step()
		},
	} {
		for name, test := range map[string]struct {
			standing  func(*steps)
			announces bool
		}{
			"it holds the VIP": {func(*steps) {}, true},
			"its epoch has ended": {func(s *steps) {
				s.session("n1", func(own *Session) { own.Epoch = "" })
			}, false},
			"another took it when asked": {func(s *steps) {
				s.core.vips[stepVIP].asked = []string{"n2"}
				s.held("n2")
			}, false},
		} {
			t.Run(cause+"/"+name, func(t *testing.T) {
				s := newSteps(t, 3, nil)
				out := happens(s, func() { test.standing(s) })
				if announces := len(out.Reannounce) > 0; announces != test.announces || !s.core.Answering(stepVIP) {
					t.Errorf("announces again %v, want %v; answers: %v", out.Reannounce, test.announces, s.core.Answering(stepVIP))
				}
			})
		}
	}
}
