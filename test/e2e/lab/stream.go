// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sort"
	"sync"
	"time"
)

// Stream is a probe that goes on for as long as it is needed and says what it sees as it sees it. Whoever measures several things one
// after the other starts it once. Its methods may be called from several goroutines.
type Stream[T any] struct {
	what  string
	cmd   *exec.Cmd
	stdin io.Closer
	said  complaints
	at    func(T) time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every new value
	values  []T           // in order of time
	bad     error         // the first line that could not be read
	ended   chan struct{} // closed when the probe says no more
}

// startStream starts a probe on a host. parse reads one line of what it says; at is the time of a value.
func startStream[T any](ctx context.Context, c *Cluster, what, host string, args []string, parse func(string) (T, error), at func(T) time.Time) (*Stream[T], error) {
	s := &Stream[T]{what: what, at: at, changed: make(chan struct{}), ended: make(chan struct{})}
	s.cmd = c.onHost(ctx, host, append([]string{c.probe()}, args...)...)
	s.cmd.Stderr = &s.said
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	output, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", what, err)
	}
	go s.follow(output, parse)
	return s, nil
}

func (s *Stream[T]) follow(output io.Reader, parse func(string) (T, error)) {
	defer close(s.ended)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		value, err := parse(lines.Text())
		s.mu.Lock()
		if err == nil {
			s.insert(value)
		} else if s.bad == nil {
			s.bad = err
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// insert keeps the order of time, which what comes from several goroutines of a probe can miss by a moment.
func (s *Stream[T]) insert(value T) {
	i := len(s.values)
	for i > 0 && s.at(s.values[i-1]).After(s.at(value)) {
		i--
	}
	s.values = slices.Insert(s.values, i, value)
}

// Since returns what was seen at a time and after it.
func (s *Stream[T]) Since(from time.Time) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.since(from))
}

func (s *Stream[T]) since(from time.Time) []T {
	i := sort.Search(len(s.values), func(i int) bool { return !s.at(s.values[i]).Before(from) })
	return s.values[i:]
}

// Forget drops what was seen before a time.
func (s *Stream[T]) Forget(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = slices.Clone(s.since(before))
}

// Await returns when judge is content with what was seen since a time, and else says what it last found missing. judge must not keep the
// slice.
func (s *Stream[T]) Await(ctx context.Context, from time.Time, judge func([]T) error) error {
	for {
		s.mu.Lock()
		missing, changed, bad := judge(s.since(from)), s.changed, s.bad
		s.mu.Unlock()
		if bad != nil {
			return fmt.Errorf("%s: %w", s.what, bad)
		}
		if missing == nil {
			return nil
		}
		select {
		case <-changed:
		case <-s.ended:
			return fmt.Errorf("%s ended by itself: %s", s.what, s.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (%w)", s.what, missing, context.Cause(ctx))
		}
	}
}

// Stop ends the probe. What it saw can be read afterwards.
func (s *Stream[T]) Stop() error {
	_ = s.stdin.Close()
	<-s.ended
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", s.what, err, s.said.String())
	}
	return nil
}

// complaints are what a command writes to standard error, to be read at any time.
type complaints struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *complaints) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(text)
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
