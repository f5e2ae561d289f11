// SPDX-License-Identifier: Apache-2.0

// Package collector sets Go's garbage collector for a program that runs in a container. It is called once, first thing in main.
package collector

import (
	"os"
	"runtime/debug"
	"strconv"
)

// memoryLimit is the environment variable in which the pod's manifest gives the memory limit of the container, in bytes.
const memoryLimit = "MEMORY_LIMIT"

// Tune sets how much the heap may grow between two collections, in percent, and limits the memory of the Go runtime to nine tenths of
// what the container may have: near it the collector works more, before the kernel ends the program. The tenth is for what
// the kernel charges and the runtime does not see, such as buffers of sockets. GOGC and GOMEMLIMIT in the environment
// overrule each its part. A container without a limit is told the memory of its node.
func Tune(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if limit := within(os.Getenv(memoryLimit)); limit > 0 {
			debug.SetMemoryLimit(limit)
		}
	}
}

// within is nine tenths of a number of bytes, and 0 for what is none.
func within(bytes string) int64 {
	limit, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil || limit <= 0 {
		return 0
	}
	return limit / 10 * 9
}
