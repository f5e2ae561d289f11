// SPDX-License-Identifier: Apache-2.0

// Package machine makes a computer out of namespaces: besides the network namespace that package wire gives it, a
// host has its own processes, mounts and name. Its first process, which is this program under another verb, starts
// what the host runs, reaps it, and remembers how it ended. When that process is killed, the kernel ends every
// other process of the host and drops its mounts, whatever state they are in: that is what makes `down` certain.
//
// Three sides use it: `up` calls Boot, and then Start through a Machine; the first process calls Run; `down` calls
// KillAll, which trusts no record but the kernel's.
package machine

import "time"

// Process is something that a machine runs.
type Process struct {
	Name        string // unique on its machine
	Path        string
	Arguments   []string
	Environment []string // added to the machine's own
}

// Status of a process that was started on a machine.
type Status struct {
	Name    string
	PID     int // as the machine itself counts, from 1
	Running bool
	Started time.Time
	Ended   time.Time // zero while it runs
	End     string    // how it ended, as in "exit status 1"
	Stopped bool      // it ended because Stop was called
}

const (
	socketName = "machine.sock"
	logFolder  = "log"
)
