// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says what to ask, how often, and for how long.
type Config struct {
	URL string
	// Rate is the number of new connections a second.
	Rate int
	// Timeout is the whole life of one request, from the SYN to the last byte.
	Timeout time.Duration
	// Duration ends the run; zero runs until the context is done.
	Duration time.Duration
	// Progress, when set, is called from one goroutine after each finished request.
	Progress func(requests, failures int)
	// Each, when set, is called from that same goroutine with each request as it ends, and with the start of the run.
	Each func(start time.Time, r Request)
}

// Request is one attempt. Times are measured from the start of the run.
type Request struct {
	Due   time.Duration // when the schedule wanted it sent
	Sent  time.Duration // when it was
	Ended time.Duration // when it succeeded or failed
	Error string        // empty for a success
	// Connected: the connection stood when the request failed; it is an established one that broke, and no new one that failed.
	Connected bool
}

// Succeeded says whether the whole page arrived in time.
func (r Request) Succeeded() bool { return r.Error == "" }

// Run sends requests until the duration has passed or ctx is done, waits for those in flight, and returns them all in
// order of schedule.
func Run(ctx context.Context, cfg Config) ([]Request, time.Time, error) {
	if cfg.Rate <= 0 || cfg.Timeout <= 0 {
		return nil, time.Time{}, fmt.Errorf("rate %d and timeout %v must be positive", cfg.Rate, cfg.Timeout)
	}
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	client := newClient(cfg.Timeout)
	start := time.Now()
	finished := make(chan Request, cfg.Rate)
	var flying sync.WaitGroup

	go func() {
		defer close(finished)
		interval := time.Second / time.Duration(cfg.Rate)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for due := time.Duration(0); ; due += interval {
			timer.Reset(time.Until(start.Add(due)))
			select {
			case <-ctx.Done():
				flying.Wait()
				return
			case <-timer.C:
			}
			flying.Go(func() {
				r := Request{Due: due, Sent: time.Since(start)}
				// Not ctx: a request in flight when the run ends is still judged by its own timeout.
				r.Error, r.Connected = ask(client, cfg.URL)
				r.Ended = time.Since(start)
				finished <- r
			})
		}
	}()

	return collect(finished, start, cfg), start, nil
}

func collect(finished <-chan Request, start time.Time, cfg Config) []Request {
	var all []Request
	failures := 0
	for r := range finished {
		all = append(all, r)
		if !r.Succeeded() {
			failures++
		}
		if cfg.Progress != nil {
			cfg.Progress(len(all), failures)
		}
		if cfg.Each != nil {
			cfg.Each(start, r)
		}
	}
	return all
}

func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true, // a new connection per request
			DialContext:       (&net.Dialer{Timeout: timeout}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask fetches the page and returns a short reason when it could not: few distinct texts, so that they can be counted; and
// whether a connection was made.
func ask(client *http.Client, url string) (failed string, connected bool) {
	var made atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { made.Store(true) }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, url, nil)
	if err != nil {
		return err.Error(), false
	}
	resp, err := client.Do(request)
	if err != nil {
		return reason(err), made.Load()
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return reason(err), true
	}
	if resp.StatusCode != http.StatusOK {
		return "status " + resp.Status, true
	}
	return "", true
}

func reason(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed early"
	default:
		return err.Error()
	}
}
