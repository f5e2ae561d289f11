// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
)

const (
	// eventsSettle is how old an event is before it is written when eventsMany wait: when the VIPs of a node that died move, their Leases have the API
	// server to themselves for that long.
	eventsSettle = 2 * time.Second
	eventsMany   = 5
	// eventsEnd is how long a speaker that stops waits at most for what it has told of its last moves to be written.
	eventsEnd = time.Second
)

// events are told to users through a recorder, and written at once, but for many that come together.
type events struct {
	record.EventRecorder
	broadcaster record.EventBroadcaster
	sink        record.EventSink
	stopping    <-chan struct{}

	said, written atomic.Int64
	progress      chan struct{} // has something in it after something was written
}

// newEvents writes to the sink until ctx is done; stopping is closed when the speaker begins to stop.
func newEvents(ctx context.Context, stopping <-chan struct{}, sink record.EventSink, source corev1.EventSource) *events {
	e := &events{
		broadcaster: record.NewBroadcaster(record.WithContext(ctx)),
		sink:        sink,
		stopping:    stopping,
		progress:    make(chan struct{}, 1),
	}
	e.EventRecorder = e.broadcaster.NewRecorder(scheme.Scheme, source)
	e.broadcaster.StartRecordingToSink(e)
	return e
}

// Event is the recorder's, which does not block.
func (e *events) Event(object runtime.Object, kind, reason, message string) {
	e.said.Add(1)
	e.EventRecorder.Event(object, kind, reason, message)
}

// end returns when all is written, or after eventsEnd. What the recorder leaves out, as it does when there is too much of one kind, is waited
// for in vain.
func (e *events) end() {
	late := time.NewTimer(eventsEnd)
	defer late.Stop()
	defer e.broadcaster.Shutdown()
	for e.written.Load() < e.said.Load() {
		select {
		case <-e.progress:
		case <-late.C:
			return
		}
	}
}

// Create implements record.EventSink. The broadcaster calls it, and Patch, from one goroutine: when one has waited, those behind it are as old.
func (e *events) Create(event *corev1.Event) (*corev1.Event, error) {
	e.settle(event)
	defer e.wrote()
	return e.sink.Create(event)
}

// Patch implements record.EventSink: the event was told before, and is told again.
func (e *events) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	e.settle(event)
	defer e.wrote()
	return e.sink.Patch(event, data)
}

// Update implements record.EventSink; recorders do not use it.
func (e *events) Update(event *corev1.Event) (*corev1.Event, error) { return e.sink.Update(event) }

func (e *events) settle(event *corev1.Event) {
	if e.said.Load()-e.written.Load() < eventsMany {
		return
	}
	settled := time.NewTimer(time.Until(event.FirstTimestamp.Add(eventsSettle)))
	defer settled.Stop()
	select {
	case <-settled.C:
	case <-e.stopping:
	}
}

func (e *events) wrote() {
	e.written.Add(1)
	select {
	case e.progress <- struct{}{}:
	default:
	}
}
