// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestTune(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for name, tc := range map[string]struct {
		environment map[string]string
		percent     int
		limit       int64
	}{
		"nine tenths of the container's memory":   {map[string]string{"MEMORY_LIMIT": "536870910"}, 40, 483183819},
		"no limit without one of the container":   {nil, 40, math.MaxInt64},
		"no limit by what is no number of bytes":  {map[string]string{"MEMORY_LIMIT": "512Mi"}, 40, math.MaxInt64},
		"GOMEMLIMIT in the environment overrules": {map[string]string{"MEMORY_LIMIT": "536870910", "GOMEMLIMIT": "1GiB"}, 40, math.MaxInt64},
		"GOGC in the environment overrules":       {map[string]string{"GOGC": "80"}, 100, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"GOGC", "GOMEMLIMIT", "MEMORY_LIMIT"} {
				t.Setenv(key, tc.environment[key])
			}
			debug.SetGCPercent(100)
			debug.SetMemoryLimit(math.MaxInt64)
			Tune(40)
			if got := debug.SetGCPercent(100); got != tc.percent {
				t.Errorf("the heap grows by %d %%, want %d", got, tc.percent)
			}
			if got := debug.SetMemoryLimit(-1); got != tc.limit {
				t.Errorf("the limit is %d bytes, want %d", got, tc.limit)
			}
		})
	}
}
