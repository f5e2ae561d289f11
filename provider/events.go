// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// Reasons of our own events. They are MetalLB's where the meaning is the same.
const (
	reasonAllocated = "IPAllocated"
	reasonFailed    = "AllocationFailed"
	reasonCleared   = "ClearAssignment"
	reasonOverlap   = "Overlap"
	reasonInvalid   = "Invalid"
	reasonOverdue   = "WithdrawalOverdue"
	reasonForeign   = "ForeignNamespace"

	// ReasonNotAnnounced is that of the event NotAnnounced writes.
	ReasonNotAnnounced = "NotAnnounced"

	eventComponent = "metallb-controller"
)

// Events of a burst wait here, 24,000 of them: two for each of 10,000 Services, and some. Few are
// written at a time, and while many wait each writer rests for longer the longer the API server took,
// so that those who patch Services find it at their service.
const (
	eventWriters    = 2
	eventsPerWriter = 12000
	eventsMany      = 50 // that wait for one writer
	eventRest       = 8  // times as long as writing one took
	eventRestMost   = 500 * time.Millisecond
	eventRetry      = 100 * time.Millisecond
	eventRetryMost  = 5 * time.Second
	eventsCompared  = 1024 // the last so many, with the next
)

// eventQueue is where all events go, ours and the stock controller's, on their way to the API server. It takes them at
// once, and keeps those of one object in order. client-go's own broadcaster loses what is beyond its 1,000.
type eventQueue struct {
	kube    kubernetes.Interface
	waiting [eventWriters]chan queuedEvent
	seed    maphash.Seed
	dropped func()
}

// queuedEvent is created, or with a patch raises the count of one that was.
type queuedEvent struct {
	event *v1.Event
	patch []byte
}

func newEventQueue(kube kubernetes.Interface, dropped func()) *eventQueue {
	q := &eventQueue{kube: kube, seed: maphash.MakeSeed(), dropped: dropped}
	for i := range q.waiting {
		q.waiting[i] = make(chan queuedEvent, eventsPerWriter)
	}
	return q
}

// Create implements record.EventSink.
func (q *eventQueue) Create(event *v1.Event) (*v1.Event, error) { return q.add(event, nil) }

// Update implements record.EventSink; recorders do not use it.
func (q *eventQueue) Update(event *v1.Event) (*v1.Event, error) { return q.add(event, nil) }

// Patch implements record.EventSink.
func (q *eventQueue) Patch(event *v1.Event, patch []byte) (*v1.Event, error) {
	return q.add(event, patch)
}

func (q *eventQueue) add(event *v1.Event, patch []byte) (*v1.Event, error) {
	writer := maphash.String(q.seed, string(event.InvolvedObject.UID)) % eventWriters
	select {
	case q.waiting[writer] <- queuedEvent{event, patch}:
	default:
		q.dropped()
	}
	return event, nil
}

// room waits until half of the queue is free, for who has very much to tell.
func (q *eventQueue) room(ctx context.Context) {
	for _, waiting := range q.waiting {
		for len(waiting) > eventsPerWriter/2 && pause(ctx, eventRetry) {
		}
	}
}

// run writes until ctx is done. What waits then is lost.
func (q *eventQueue) run(ctx context.Context) {
	var writers sync.WaitGroup
	for _, waiting := range q.waiting {
		writers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case queued := <-waiting:
					began := time.Now()
					q.deliver(ctx, queued)
					if len(waiting) >= eventsMany && !pause(ctx, min(eventRest*time.Since(began), eventRestMost)) {
						return
					}
				}
			}
		})
	}
	writers.Wait()
}

// deliver tries until the API server has answered.
func (q *eventQueue) deliver(ctx context.Context, queued queuedEvent) {
	for retry := eventRetry; ; retry = min(2*retry, eventRetryMost) {
		err := q.write(ctx, queued)
		var refused apierrors.APIStatus
		var impossible *rest.RequestConstructionError
		switch {
		case err == nil, apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause):
			return
		case errors.As(err, &refused), errors.As(err, &impossible):
			klog.FromContext(ctx).Info("Event refused", "object", klog.KRef(queued.event.InvolvedObject.Namespace, queued.event.InvolvedObject.Name),
				"event", queued.event.Reason, "reason", err.Error())
			return
		}
		if !pause(ctx, retry) {
			return
		}
	}
}

func (q *eventQueue) write(ctx context.Context, queued queuedEvent) error {
	events := q.kube.CoreV1().Events(queued.event.Namespace)
	if queued.patch != nil {
		_, err := events.PatchWithEventNamespaceWithContext(ctx, queued.event, queued.patch)
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	// The API server has forgotten the event, or the first of its series was never written.
	event := *queued.event
	event.ResourceVersion = ""
	_, err := events.CreateWithEventNamespaceWithContext(ctx, &event)
	return err
}

// recorder writes our events to the queue, as client-go's recorder does to its broadcaster: equal ones become one with
// a count, and who has too much to tell of one object is silenced. It is safe for concurrent use.
type recorder struct {
	queue *eventQueue
	kinds *runtime.Scheme

	mu         sync.Mutex // keeps the order of calls
	correlator *record.EventCorrelator
}

var _ record.EventRecorder = (*recorder)(nil)

func newRecorder(queue *eventQueue) *recorder {
	kinds := runtime.NewScheme()
	utilruntime.Must(v1.AddToScheme(kinds))
	utilruntime.Must(coordinationv1.AddToScheme(kinds))
	utilruntime.Must(v1beta1.AddToScheme(kinds))
	return &recorder{queue: queue, kinds: kinds, correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{LRUCacheSize: eventsCompared})}
}

// Event implements record.EventRecorder.
func (r *recorder) Event(object runtime.Object, kind, reason, message string) {
	r.AnnotatedEventf(object, nil, kind, reason, "%s", message)
}

// Eventf implements record.EventRecorder.
func (r *recorder) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	r.AnnotatedEventf(object, nil, kind, reason, format, args...)
}

// AnnotatedEventf implements record.EventRecorder.
func (r *recorder) AnnotatedEventf(object runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	about, err := reference.GetReference(r.kinds, object)
	if err != nil {
		klog.Background().Error(err, "Cannot say what an event is about", "event", reason)
		return
	}
	now := metav1.Now()
	event := &v1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano()), Annotations: annotations,
		},
		InvolvedObject: *about, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...),
		Source: v1.EventSource{Component: eventComponent}, ReportingController: eventComponent,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	correlated, err := r.correlator.EventCorrelate(event)
	if err != nil {
		klog.Background().Error(err, "Cannot compare an event with former ones", "event", reason)
		return
	}
	if correlated.Skip {
		return
	}
	patch := correlated.Patch
	if correlated.Event.Count <= 1 {
		patch = nil
	}
	written, _ := r.queue.add(correlated.Event, patch)
	r.correlator.UpdateState(written)
}
