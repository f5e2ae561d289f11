// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"slices"
	"testing"
	"time"
)

// What comes late by a moment is put where it belongs, and what was seen before a time is left out and can be forgotten.
func TestStreamKeepsTheOrderOfTime(t *testing.T) {
	base := time.Now()
	s := &Stream[int]{at: func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }}
	for _, ms := range []int{10, 30, 20, 40, 5} {
		s.insert(ms)
	}
	if got, want := s.Since(base.Add(20*time.Millisecond)), []int{20, 30, 40}; !slices.Equal(got, want) {
		t.Errorf("since 20 ms: %v, want %v", got, want)
	}
	s.Forget(base.Add(10 * time.Millisecond))
	if got, want := s.Since(base), []int{10, 20, 30, 40}; !slices.Equal(got, want) {
		t.Errorf("after forgetting what was before 10 ms: %v, want %v", got, want)
	}
}
