// SPDX-License-Identifier: Apache-2.0

// Package report tells a person at a terminal what is being done and how long each step took. Steps may run at the
// same time; each is one line, written when it ends.
package report

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Report is safe for use by several goroutines.
type Report struct {
	out      io.Writer
	terminal bool
	started  time.Time

	mu        sync.Mutex
	transient bool // the last line is to be overwritten
}

// New starts a report; elapsed times count from now.
func New(out *os.File) *Report {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &Report{out: out, terminal: terminal, started: time.Now()}
}

// Step runs one step and writes how it went.
func (r *Report) Step(title string, step func() error) error {
	started := time.Now()
	err := step()
	mark := "ok  "
	if err != nil {
		mark = "FAIL"
	}
	r.line(false, fmt.Sprintf("%6.1fs  %s  %s (%.1fs)", time.Since(r.started).Seconds(), mark, title, time.Since(started).Seconds()))
	return err
}

// Note writes a line.
func (r *Report) Note(format string, arguments ...any) {
	r.line(false, fmt.Sprintf("%6.1fs        ", time.Since(r.started).Seconds())+fmt.Sprintf(format, arguments...))
}

// Progress writes how far a step has come. On a terminal the next line overwrites it.
func (r *Report) Progress(format string, arguments ...any) {
	r.line(r.terminal, fmt.Sprintf("%6.1fs   ...  ", time.Since(r.started).Seconds())+fmt.Sprintf(format, arguments...))
}

// Terminal says whether lines can be overwritten, so that progress may be frequent.
func (r *Report) Terminal() bool { return r.terminal }

// Elapsed is the time since the report began.
func (r *Report) Elapsed() time.Duration { return time.Since(r.started) }

func (r *Report) line(transient bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transient {
		fmt.Fprint(r.out, "\r\x1b[K")
	}
	fmt.Fprint(r.out, text)
	if !transient {
		fmt.Fprintln(r.out)
	}
	r.transient = transient
}
