// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

// eventsSettle is how old an event is before it is written: when the VIPs of a node that died move, their Leases have the API server to
// themselves for that long.
const eventsSettle = 2 * time.Second

// settled writes events once they are old enough. The recorder calls it from one goroutine, so that of many events which come together
// only the first waits here; the others are old by then. Those that wait when ctx ends are written at once.
type settled struct {
	record.EventSink
	ctx context.Context
}

func (s settled) Create(event *corev1.Event) (*corev1.Event, error) {
	s.await(event)
	return s.EventSink.Create(event)
}

func (s settled) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	s.await(event)
	return s.EventSink.Patch(event, data)
}

func (s settled) await(event *corev1.Event) {
	timer := time.NewTimer(time.Until(event.LastTimestamp.Add(eventsSettle)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}
