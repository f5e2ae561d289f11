// SPDX-License-Identifier: Apache-2.0

package election

import (
	"slices"
	"testing"
	"time"
)

// Each speaker says whose announcements are to be heard among those of strangers: those of every speaker that has a session.
func TestMembersAreTold(t *testing.T) {
	inWorld(t, 3, 1, func(w *world) {
		w.pass(5 * time.Second)
		var want []string
		for _, n := range w.all() {
			want = append(want, n.mac())
		}
		for _, n := range w.all() {
			w.mu.Lock()
			got := n.members
			w.mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("%s told %v, want %v", n.name, got, want)
			}
		}
	})
}
