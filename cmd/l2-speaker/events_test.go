// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
)

// writtenEvents notes when each event was written.
type writtenEvents struct {
	record.EventSink
	at map[string]time.Duration
	// began is when the clock of at did.
	began time.Time
}

func (w *writtenEvents) Create(event *corev1.Event) (*corev1.Event, error) {
	w.at[event.Message] = time.Since(w.began)
	return event, nil
}

func (w *writtenEvents) Patch(event *corev1.Event, _ []byte) (*corev1.Event, error) {
	return w.Create(event)
}

// Events leave the API server to the Leases at first; one that comes later does not wait for longer because of them.
func TestEventsSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		written := &writtenEvents{at: map[string]time.Duration{}, began: time.Now()}
		broadcaster := record.NewBroadcaster(record.WithContext(ctx))
		broadcaster.StartRecordingToSink(settled{written, ctx})
		recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "test"})
		say := func(service, message string) {
			recorder.Event(&corev1.ObjectReference{Kind: "Service", Namespace: "default", Name: service}, corev1.EventTypeNormal, "nodeAssigned", message)
		}
		for i := range 5 {
			say(fmt.Sprint("web-", i), fmt.Sprint("early ", i))
		}
		time.Sleep(500 * time.Millisecond)
		say("web-0", "later")
		time.Sleep(eventsSettle)
		synctest.Wait()
		want := map[string]time.Duration{"later": eventsSettle + 500*time.Millisecond}
		for i := range 5 {
			want[fmt.Sprint("early ", i)] = eventsSettle
		}
		if fmt.Sprint(written.at) != fmt.Sprint(want) {
			t.Errorf("written at %v, want %v", written.at, want)
		}
		say("web-1", "at the end")
		cancel()
		broadcaster.Shutdown()
	})
}
