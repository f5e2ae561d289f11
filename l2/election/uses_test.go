// SPDX-License-Identifier: Apache-2.0

package election

import (
	"testing"
	"time"
)

// RFC 5227 section 2.4: a stranger that asks for other addresses in the name of a VIP has it. A speaker's kernel that does so announces nothing
// (E8): it is neither a successor nor a reason for a doubt (E7).
func TestUses(t *testing.T) {
	use := stranger()
	use.Use = true
	speakers := use
	speakers.Node, speakers.MAC = "n2", "02:00:00:00:00:02"
	t.Run("of a held VIP by a stranger", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.held("n1")
		s.pass(2 * time.Second)
		if out := s.step(use); len(out.Reannounce) != 1 {
			t.Errorf("defended %v, want once", out.Reannounce)
		}
		if out := s.pass(9 * time.Second); len(out.Conflicts) != 1 || out.Conflicts[0].MAC != strangerMAC {
			t.Errorf("told %+v, want the conflict once", out.Conflicts)
		}
	})
	t.Run("of a held VIP by a speaker", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.held("n1")
		s.pass(2 * time.Second)
		if out := s.pass(9*time.Second, speakers); len(out.Reads) > 0 || len(out.Reannounce) > 0 || len(out.Conflicts) > 0 || len(out.Changes) > 0 {
			t.Errorf("read %v, announced %v, told %v, changed %v", out.Reads, out.Reannounce, out.Conflicts, out.Changes)
		}
	})
	t.Run("of a held VIP by a host that is a speaker a moment later", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.held("n1")
		s.pass(2 * time.Second)
		s.step(use)
		s.view.MACs.Nodes[strangerMAC] = "n2"
		if out := s.pass(12 * time.Second); len(out.Reads) > 0 || len(out.Conflicts) > 0 {
			t.Errorf("read %v, told %v", out.Reads, out.Conflicts)
		}
	})
	t.Run("of a VIP that was never held", func(t *testing.T) {
		s := newSteps(t, 3, nil)
		s.until(8*time.Second, "conflict", func(out Actions) bool { return len(out.Marks) > 0 }, use)
	})
}
