// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/google/go-cmp/cmp"
)

// eventServer answers requests about events, and remembers what was written, by the Service it is about.
type eventServer struct {
	kube   *fake.Clientset
	answer func(verb string) error

	mu      sync.Mutex
	written map[string][]string
	count   int
}

func newEventServer() *eventServer {
	s := &eventServer{kube: &fake.Clientset{}, written: map[string][]string{}, answer: func(string) error { return nil }}
	s.kube.AddReactor("create", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		event := action.(clienttesting.CreateAction).GetObject().(*v1.Event)
		return true, event, s.take("create", event.InvolvedObject.Name, event.Message)
	})
	s.kube.AddReactor("patch", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &v1.Event{}, s.take("patch", "", "")
	})
	return s
}

func (s *eventServer) take(verb, about, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answer(verb); err != nil {
		return err
	}
	s.written[about] = append(s.written[about], message)
	s.count++
	return nil
}

func (s *eventServer) want(t *testing.T, about string, messages ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(messages, s.written[about]); diff != "" {
		t.Errorf("written about %s (-want +got):\n%s", about, diff)
	}
}

// inEventQueue runs a test with a queue that writes to a server until the test ends.
func inEventQueue(t *testing.T, test func(*testing.T, *eventServer, *eventQueue)) {
	synctest.Test(t, func(t *testing.T) {
		server := newEventServer()
		queue := newEventQueue(server.kube, func() { t.Error("an event was dropped") })
		go queue.run(t.Context())
		test(t, server, queue)
	})
}

// TestBurstOfEventsIsNotDropped: 10,000 Services get their addresses while the API server writes nothing yet, and each is told
// by us and by the stock controller, in that order.
func TestBurstOfEventsIsNotDropped(t *testing.T) {
	const services = 10000
	synctest.Test(t, func(t *testing.T) {
		server := newEventServer()
		queue := newEventQueue(server.kube, func() { t.Error("an event was dropped") })
		recorder, changes := newRecorder(queue), newChanges()
		filter := &eventFilter{queue: queue, changes: changes}
		for i := range services {
			svc := service(fmt.Sprint("web-", i))
			recorder.Event(svc, v1.EventTypeNormal, reasonAllocated, "assigned")
			changes.succeeded(svc.UID, true)
			for _, reason := range []string{stockEnsuring, stockEnsured} {
				event := &v1.Event{Reason: reason, Message: reason, InvolvedObject: v1.ObjectReference{Name: svc.Name, UID: svc.UID}}
				if _, err := filter.CreateWithEventNamespace(event); err != nil {
					t.Fatal(err)
				}
			}
		}
		go queue.run(t.Context())
		synctest.Wait()
		if server.count != 2*services {
			t.Errorf("%d events written, want %d", server.count, 2*services)
		}
		server.want(t, "web-0", "assigned", stockEnsured)
		server.want(t, fmt.Sprint("web-", services-1), "assigned", stockEnsured)
	})
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	dropped := 0
	queue := newEventQueue(newEventServer().kube, func() { dropped++ })
	for range eventWriters*eventsPerWriter + 5 {
		queue.add(&v1.Event{}, nil) // all of one object, and so for one writer
	}
	if want := (eventWriters-1)*eventsPerWriter + 5; dropped != want {
		t.Errorf("%d dropped, want %d", dropped, want)
	}
}

func TestEventsWaitForTheAPIServer(t *testing.T) {
	inEventQueue(t, func(t *testing.T, server *eventServer, queue *eventQueue) {
		server.answer = func(string) error { return errors.New("connection refused") }
		recorder := newRecorder(queue)
		recorder.Event(service("web"), v1.EventTypeNormal, "A", "first")
		recorder.Event(service("web"), v1.EventTypeNormal, "B", "second")
		time.Sleep(10 * time.Minute)
		server.mu.Lock()
		server.answer = func(string) error { return nil }
		server.mu.Unlock()
		time.Sleep(eventRetryMost)
		synctest.Wait()
		server.want(t, "web", "first", "second")
	})
}

func TestRefusedEventHoldsUpNoOther(t *testing.T) {
	for name, refusal := range map[string]error{
		"forbidden":     apierrors.NewForbidden(v1.Resource("events"), "web", errors.New("no")),
		"there already": apierrors.NewAlreadyExists(v1.Resource("events"), "web"),
	} {
		t.Run(name, func(t *testing.T) {
			inEventQueue(t, func(t *testing.T, server *eventServer, queue *eventQueue) {
				refused := 0
				server.answer = func(string) error {
					if refused++; refused == 1 {
						return refusal
					}
					return nil
				}
				recorder := newRecorder(queue)
				recorder.Event(service("web"), v1.EventTypeNormal, "A", "first")
				recorder.Event(service("web"), v1.EventTypeNormal, "B", "second")
				synctest.Wait()
				server.want(t, "web", "second")
			})
		})
	}
}

// TestSeries: an event told again raises the count of the first, and is created when the API server has forgotten that.
func TestSeries(t *testing.T) {
	for name, tt := range map[string]struct {
		forgotten       bool
		created, raised int
	}{
		"known":     {false, 1, 1},
		"forgotten": {true, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inEventQueue(t, func(t *testing.T, server *eventServer, queue *eventQueue) {
				server.answer = func(verb string) error {
					if verb == "patch" && tt.forgotten {
						return apierrors.NewNotFound(v1.Resource("events"), "web")
					}
					return nil
				}
				recorder := newRecorder(queue)
				recorder.Event(service("web"), v1.EventTypeNormal, "A", "again")
				recorder.Event(service("web"), v1.EventTypeNormal, "A", "again")
				synctest.Wait()
				if created, raised := len(server.written["web"]), len(server.written[""]); created != tt.created || raised != tt.raised {
					t.Errorf("%d created and %d raised, want %d and %d", created, raised, tt.created, tt.raised)
				}
			})
		})
	}
}

// TestWhoHasMuchToTellWaits until half of the queue is free.
func TestWhoHasMuchToTellWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := newEventQueue(newEventServer().kube, func() { t.Error("an event was dropped") })
		for range eventsPerWriter/2 + 1 {
			queue.add(&v1.Event{}, nil)
		}
		roomy := make(chan struct{})
		go func() {
			queue.room(t.Context())
			close(roomy)
		}()
		time.Sleep(time.Minute)
		select {
		case <-roomy:
			t.Error("there is room, they say")
		default:
		}
		go queue.run(t.Context())
		<-roomy
	})
}

func TestNotAnnouncedIsTold(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("web")), func(r *rig) {
		svc := r.get("web")
		r.cloud.NotAnnounced(t.Context(), &v1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID}, "no node may")
		r.settle()
		r.wantTold("web", `IPAllocated: Assigned IP ["192.168.1.240"]`, "EnsuredLoadBalancer: Ensured load balancer", "NotAnnounced: no node may")
	})
}
