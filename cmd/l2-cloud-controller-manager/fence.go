// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// handOverPatience is how long each step of handing over may take.
const handOverPatience = 2 * time.Second

// fence stands between the controllers and the API server. Once it is closed nothing more is written: a status patch of
// the old leader that arrives after the new one has read all Services would hand out an address twice. It closes by itself
// at the first write that this process wants to make when its Lease may be another's, as after it stood still for a while,
// and never opens again: what it knows may be old by then.
type fence struct {
	leads  func() bool // whether the Lease is this process's for certain; set before the first write
	mu     sync.Mutex  // guards closed, and adding to writes
	closed bool
	writes sync.WaitGroup
}

var errFenced = errors.New("this process does not lead any more")

func (f *fence) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method == http.MethodGet || request.Method == http.MethodHead {
			return next.RoundTrip(request)
		}
		if !f.enter() {
			return nil, errFenced
		}
		defer f.writes.Done()
		return next.RoundTrip(request)
	})
}

func (f *fence) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed = f.closed || !f.leads(); f.closed {
		return false
	}
	f.writes.Add(1)
	return true
}

func (f *fence) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// wait returns when every write that had begun has ended.
func (f *fence) wait() { f.writes.Wait() }

// waitFor gives a step of handing over a bounded time, and tells whether it ended: the Lease must be released while this
// process may still run.
func waitFor(step func()) (ended bool) {
	done := make(chan struct{})
	go func() {
		step()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(handOverPatience):
		return false
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
