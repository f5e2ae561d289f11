// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func TestRunOpensOneConnectionPerRequest(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()

	requests, start, err := Run(t.Context(), Config{URL: server.URL, Rate: 200, Timeout: time.Second, Duration: 250 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	report := Summarize(server.URL, start, requests)
	if report.Requests == 0 || report.Failures != 0 {
		t.Errorf("%d requests, %d failures %v, want some and none", report.Requests, report.Failures, report.Errors)
	}
	if got := connections.Load(); got != int64(report.Requests) {
		t.Errorf("%d connections for %d requests", got, report.Requests)
	}
}

func TestRunKeepsItsScheduleWhileNothingAnswers(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)

	requests, start, err := Run(t.Context(), Config{URL: server.URL, Rate: 100, Timeout: 200 * time.Millisecond, Duration: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	report := Summarize(server.URL, start, requests)
	// A closed loop would have sent two. Half the schedule leaves room for a busy machine.
	if report.Requests < 15 || report.Failures != report.Requests {
		t.Errorf("%d requests, %d failures, want about 30 and all of them", report.Requests, report.Failures)
	}
	if report.Errors["timeout"] != report.Failures {
		t.Errorf("reasons %v, want only timeouts", report.Errors)
	}
	if !report.Gap.Open {
		t.Errorf("gap %+v, want it open: nothing ever succeeded", report.Gap)
	}
}

func TestReasonsAreFew(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	listener.Close()
	if got, connected := ask(newClient(time.Second), url); got != "connection refused" || connected {
		t.Errorf("reason %q, connected %v; want a refused connection", got, connected)
	}
}

// A connection that stood and was reset is told from one that could not be made.
func TestBrokenIsNotRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.(*net.TCPConn).SetLinger(0) // close resets
			connection.Read(make([]byte, 1))
			connection.Close()
		}
	}()
	if got, connected := ask(newClient(time.Second), "http://"+listener.Addr().String()); got != "connection reset" || !connected {
		t.Errorf("reason %q, connected %v; want a connection that was reset", got, connected)
	}
}

// Only what was open at the moment of the move is put down to it.
func TestAcrossMove(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	report := Report{Start: start, Broken: []Broken{
		{Sent: at(995), Ended: at(1003)},  // open when it moved
		{Sent: at(1020), Ended: at(1030)}, // sent by a client that had not heard of it yet
		{Sent: at(980), Ended: at(990)},   // before
		{Sent: at(1200), Ended: at(1210)}, // long after
	}}
	if got := report.AcrossMove(start.Add(time.Second)); got != 2 {
		t.Errorf("%d connections broke across the move, want 2", got)
	}
}
