// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// answering lets every node that is asked answer, but for some.
func (s *steps) answering(out Actions, silent ...string) {
	for _, node := range out.AskNodes {
		if !slices.Contains(silent, node) {
			s.view.NodeAnsweredAt[node] = s.view.Now
		}
	}
	if out.AskGateway && s.gateway {
		s.view.GatewayAnsweredAt = s.view.Now
	}
}

// E4 b: where heartbeats stop getting through, and all nodes live, nobody is fenced, and the questions for them become rare.
func TestE4QuestionsBecomeRare(t *testing.T) {
	for name, change := range map[string]func(*steps){
		"gateway answers": func(*steps) {},
		"no gateway":      func(s *steps) { s.gateway, s.view.GatewayAnsweredAt = false, time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSteps(t, 9, nil)
			change(s)
			s.pass(2 * time.Second)
			for node := range s.hears {
				s.hears[node] = false
			}
			questions := [2]int{}
			for second := range 120 {
				for range 10 {
					out := s.step()
					s.answering(out)
					if len(out.Fences) > 0 {
						t.Fatalf("fenced %+v", out.Fences)
					}
					questions[second/60] += len(out.AskNodes)
				}
			}
			if first, rest := questions[0], questions[1]; first < 8*15 || first > 8*45 || rest > 8*8 {
				t.Errorf("%d questions for 8 nodes in the first minute, %d in the second", first, rest)
			}
		})
	}
}

// However many are not heard, a speaker asks for a few at once.
func TestE4QuestionsAreBounded(t *testing.T) {
	s := newSteps(t, 9, nil)
	for n := 10; n < 200; n++ {
		node := fmt.Sprintf("n%d", n)
		session := s.view.Sessions["n2"]
		session.Node, session.Epoch = node, Epoch(node+"/a")
		s.view.Sessions[node], s.hears[node], s.renews[node] = session, true, true
	}
	s.pass(2 * time.Second)
	for node := range s.hears {
		s.hears[node] = false
	}
	asked := map[string]bool{}
	for range 400 {
		out := s.step()
		s.answering(out)
		if len(out.AskNodes) > askedAtOnce {
			t.Fatalf("%d nodes asked at once", len(out.AskNodes))
		}
		for _, node := range out.AskNodes {
			asked[node] = true
		}
	}
	if len(asked) != 198 {
		t.Errorf("%d of 198 nodes were asked in 40 s", len(asked))
	}
}

// E4 b: a node that dies while its heartbeats do not get through anyway is fenced as soon as its session shows it, or its address if that is
// being asked for; silence while nobody asks is none.
func TestE4SuspectThatDies(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 4 * time.Second, 20 * time.Second, 90 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			s := newSteps(t, 2, nil)
			s.pass(2 * time.Second)
			s.hears["n2"] = false
			for from := s.view.Now; s.view.Now.Sub(from) < after; {
				out := s.step()
				s.answering(out)
				if len(out.Fences) > 0 {
					t.Fatalf("fenced while it lives: %+v", out.Fences)
				}
			}
			s.renews["n2"] = false
			took := s.until(5*time.Second, "fence", func(out Actions) bool { s.answering(out, "n2"); return len(out.Fences) > 0 })
			if took > 2500*time.Millisecond {
				t.Errorf("fenced after %v", took)
			}
		})
	}
}
