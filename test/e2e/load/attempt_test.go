// SPDX-License-Identifier: Apache-2.0

package load

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAttemptSurvivesTheWay(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, request := range map[string]Request{
		"a success": ok(10*ms, 12*ms),
		"a failure": lost(20*ms, 220*ms),
		"an established connection that broke, with a reason of several words": {Due: 1, Sent: 2, Ended: 3, Connected: true, Error: "closed early"},
	} {
		attempt, err := ParseAttempt(request.Attempt(start).Line())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(request, attempt.Request(start)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, wrong := range []string{"", "1 2 3 true", "1 2 x true ", "1 2 3 perhaps "} {
		if _, err := ParseAttempt(wrong); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}
