// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

// writtenEvents notes when each event was written. Writing one takes writingTakes.
type writtenEvents struct {
	record.EventSink
	began time.Time

	mu sync.Mutex
	at map[string]time.Duration
}

const writingTakes = 10 * time.Millisecond

func (w *writtenEvents) Create(event *corev1.Event) (*corev1.Event, error) {
	time.Sleep(writingTakes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[event.Message] = time.Since(w.began)
	return event, nil
}

func (w *writtenEvents) expect(t *testing.T, want map[string]time.Duration) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !maps.Equal(w.at, want) {
		t.Errorf("written at %v, want %v", w.at, want)
	}
}

// withEvents tests in virtual time; stop begins the speaker's stop.
func withEvents(t *testing.T, test func(written *writtenEvents, e *events, say func(service, message string), stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		written := &writtenEvents{at: map[string]time.Duration{}, began: time.Now()}
		stopping := make(chan struct{})
		e := newEvents(t.Context(), stopping, written, corev1.EventSource{Component: "test"})
		test(written, e, func(service, message string) {
			e.Event(&corev1.ObjectReference{Kind: "Service", Namespace: "default", Name: service}, corev1.EventTypeNormal, "nodeAssigned", message)
		}, func() { close(stopping) })
		time.Sleep(time.Minute) // what is under way ends
	})
}

// oneAndThenMany tells one event, and ten more while that is being written. It returns when each is to be written, if the ten are begun at a time.
func oneAndThenMany(say func(service, message string), begun time.Duration) map[string]time.Duration {
	say("web-0", "alone")
	synctest.Wait() // it is being written
	want := map[string]time.Duration{"alone": writingTakes}
	for i := range 10 {
		say(fmt.Sprint("web-", i), fmt.Sprint("moved ", i))
		want[fmt.Sprint("moved ", i)] = begun + time.Duration(i+1)*writingTakes
	}
	return want
}

// An event is written at once; many that come together leave the API server to the Leases at first, and one that comes later does not wait for longer
// because of them.
func TestEventsSettle(t *testing.T) {
	withEvents(t, func(written *writtenEvents, e *events, say func(service, message string), _ func()) {
		want := oneAndThenMany(say, eventsSettle)
		time.Sleep(2 * eventsSettle)
		say("web-0", "later")
		want["later"] = 2*eventsSettle + writingTakes
		time.Sleep(eventsSettle)
		written.expect(t, want)
		e.end()
	})
}

// What a speaker tells before and while it stops is written before it ends, and does not keep it.
func TestEventsOfASpeakerThatStopsAreWritten(t *testing.T) {
	withEvents(t, func(written *writtenEvents, e *events, say func(service, message string), stop func()) {
		want := oneAndThenMany(say, 100*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		stop()
		e.end()
		written.expect(t, want)
	})
}

// An API server that does not answer keeps a speaker that stops for a moment only.
func TestEventsDoNotKeepASpeaker(t *testing.T) {
	withEvents(t, func(_ *writtenEvents, e *events, say func(service, message string), stop func()) {
		stop()
		for i := range 500 {
			say(fmt.Sprint("web-", i), "moved")
		}
		began := time.Now()
		e.end()
		if took := time.Since(began); took != eventsEnd {
			t.Errorf("kept for %v, want %v", took, eventsEnd)
		}
	})
}
