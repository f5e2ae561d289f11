// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// Rate is how many new connections a second the lab's load opens.
const Rate = 100

// Load is a running measurement on the client host.
type Load struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	report bytes.Buffer

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when a count changes
	requests int
	failures int
	said     []string      // whatever else the probe printed
	ended    chan struct{} // closed when the probe prints no more
}

// beginnings is how often a load may begin again because its first second was not clean.
const beginnings = 3

// StartLoad asks for the page a hundred times a second until stopped, and returns when the first second of that went by without a
// failure: what is measured after it begins from a service that works. A first second that is not clean is tried again, since
// whatever made the machine stall need not be the service. The raw measurement is kept under out/e2e/load.
func (c *Cluster) StartLoad(ctx context.Context, name, url string) (*Load, error) {
	csv, err := c.Out("e2e", "load", name+".csv")
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		l, err := c.startLoad(ctx, csv, url)
		if err != nil {
			return nil, err
		}
		if err := l.Await(ctx, Rate); err != nil {
			_, _ = l.Stop()
			return nil, err
		}
		if l.Failures() == 0 {
			return l, nil
		}
		report, err := l.Stop()
		if err != nil {
			return nil, err
		}
		if try == beginnings {
			return nil, fmt.Errorf("%s failed in its first second, %d times over, before anything was done to it: %v, the client itself up to %v late", url, try, report.Errors, report.Late)
		}
	}
}

func (c *Cluster) startLoad(ctx context.Context, csv, url string) (*Load, error) {
	l := &Load{changed: make(chan struct{}), ended: make(chan struct{})}
	l.cmd = c.onHost(ctx, Client, c.probe(), "load", "--url", url, "--rate", fmt.Sprint(Rate), "--timeout", "200ms", "--csv", csv, "--stdin")
	l.cmd.Stdout = &l.report
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	l.stdin = stdin
	progress, err := l.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the load: %w", err)
	}
	go l.follow(progress)
	return l, nil
}

func (l *Load) follow(progress io.Reader) {
	defer close(l.ended)
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		var requests, failures int
		_, err := fmt.Sscanf(lines.Text()+"\n", load.ProgressLine, &requests, &failures)
		l.mu.Lock()
		if err == nil {
			l.requests, l.failures = requests, failures
		} else {
			l.said = append(l.said, lines.Text())
		}
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

// Await returns when so many more requests have ended.
func (l *Load) Await(ctx context.Context, requests int) error {
	l.mu.Lock()
	want := l.requests + requests
	l.mu.Unlock()
	return l.until(ctx, func() bool { return l.requests >= want })
}

// AwaitSuccesses returns when so many more requests have succeeded.
func (l *Load) AwaitSuccesses(ctx context.Context, successes int) error {
	l.mu.Lock()
	want := l.requests - l.failures + successes
	l.mu.Unlock()
	return l.until(ctx, func() bool { return l.requests-l.failures >= want })
}

// AwaitTotal returns when so many requests have ended since the load began.
func (l *Load) AwaitTotal(ctx context.Context, requests int) error {
	return l.until(ctx, func() bool { return l.requests >= requests })
}

// Failures is how many requests have failed so far.
func (l *Load) Failures() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures
}

func (l *Load) until(ctx context.Context, done func() bool) error {
	for {
		l.mu.Lock()
		finished, changed, requests, failures := done(), l.changed, l.requests, l.failures
		l.mu.Unlock()
		if finished {
			return nil
		}
		select {
		case <-changed:
		case <-l.ended:
			return fmt.Errorf("the load ended by itself: %s", strings.Join(l.said, "\n"))
		case <-ctx.Done():
			return fmt.Errorf("waiting for the load (%d requests, %d failed): %w", requests, failures, context.Cause(ctx))
		}
	}
}

// Stop ends the measurement and returns what it found.
func (l *Load) Stop() (load.Report, error) {
	var report load.Report
	_ = l.stdin.Close()
	<-l.ended
	if err := l.cmd.Wait(); err != nil {
		return report, fmt.Errorf("the load failed: %w: %s", err, strings.Join(l.said, "\n"))
	}
	if err := json.Unmarshal(l.report.Bytes(), &report); err != nil {
		return report, errors.Join(errors.New("reading the load's report"), err)
	}
	return report, nil
}
