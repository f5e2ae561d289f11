// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// thisMachine describes the computer for a report: cores, memory, kernel, system.
func thisMachine() string {
	parts := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if model := field("/proc/cpuinfo", "model name", ":"); model != "" {
		parts[0] += " (" + model + ")"
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30)))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		parts = append(parts, "kernel "+unix.ByteSliceToString(name.Release[:]))
	}
	if system := field("/etc/os-release", "PRETTY_NAME", "="); system != "" {
		parts = append(parts, strings.Trim(system, `"`))
	}
	return strings.Join(append(parts, runtime.GOARCH), ", ")
}

// field is the value of the first line of that key.
func field(file, key, separator string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
