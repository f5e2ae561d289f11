// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// E5, E7: a speaker whose watch has stood since before its successor's session began cannot judge that session. It hears the successor announce, and the
// API server's answer names the successor: that the VIP is not its own any more is sure, whatever has become of the other's session.
func TestE5LosesByAnAnswerThatNamesAnUnknownEpoch(t *testing.T) {
	for _, test := range []struct {
		name string
		// loses takes the VIPs from the speaker whose watch stands.
		loses func(w *world, victim *node)
	}{
		{"fenced while its LAN was cut, and fresh again when it returns", func(w *world, victim *node) {
			victim.setLANCut(true)
			w.pass(5 * time.Second)
			victim.setLANCut(false)
		}},
		{"fenced while it stood still", func(w *world, victim *node) {
			victim.stand(5 * time.Second)
			w.pass(5 * time.Second)
		}},
		{"fenced while API server and LAN were cut", func(w *world, victim *node) {
			victim.setCut(true)
			w.pass(5 * time.Second)
			victim.setCut(false)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, 3, 3, func(w *world) {
				w.pass(atRest)
				victim := w.holder()
				for _, other := range w.all() {
					if other == victim {
						continue
					}
					if err := other.leave(); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(time.Second) // that they have gone is the last that it sees
				w.duringThat([]*node{victim}, func(now *weather) { now.watchStands = true }, func() {
					for _, other := range w.all() {
						if other != victim {
							other.restart()
						}
					}
					w.pass(5 * time.Second)
					from := time.Now()
					test.loses(w, victim)
					w.pass(10 * time.Second)
					if _, overlap := w.gap(from); overlap > overlapBound {
						t.Errorf("two answered for %v, want at most %v", overlap, overlapBound)
					}
					if _, err := w.unsettled(); err != nil {
						t.Error(err)
					}
				})
				w.pass(10 * time.Second)
				w.settled()
			})
		})
	}
}

// E3: a watch that stands is begun anew: nobody else may notice that the request for it was swallowed on its way.
func TestE3WatchThatStandsIsBegunAnew(t *testing.T) {
	inWorld(t, 2, 4, func(w *world) {
		w.pass(atRest)
		victim, other := w.all()[0], w.all()[1]
		victim.change(func(now *weather) { now.loseRequest = 1 })
		w.api.breakWatches(victim)
		w.pass(700 * time.Millisecond)
		victim.change(func(now *weather) { now.loseRequest = 0 })
		w.pass(2 * watchPatience)
		w.exclude(other.name, true) // to take a VIP, the victim must see that it is asked to
		w.pass(5 * time.Second)
		for vip, node := range w.settled() {
			if node != victim.name {
				t.Errorf("%s is still held by %s, which is cordoned", vip, node)
			}
		}
	})
}

// E3: an API server that is late is not asked again and again.
func TestE3WatchOfALateServerIsSpared(t *testing.T) {
	inWorld(t, 1, 1, func(w *world) {
		w.pass(atRest)
		w.all()[0].change(func(now *weather) { now.watchStands = true })
		w.pass(time.Second)
		before := w.api.watches()
		w.pass(5 * time.Minute)
		if again := w.api.watches() - before; again > 8 {
			t.Errorf("the watch was begun anew %d times in 5 minutes, want at most 8", again)
		}
	})
}

// A watch that is given up ends, and the next is asked for: one whose answer never comes, and one that stands after its first event.
func TestWatchThatIsGivenUpIsAskedForAgain(t *testing.T) {
	asked := make(chan int)
	var watches atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case query.Has("sendInitialEvents"):
			http.Error(w, "not by this server", http.StatusBadRequest)
			return
		case !query.Has("watch"):
			fmt.Fprint(w, `{"kind":"LeaseList","apiVersion":"coordination.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[]}`)
			return
		}
		number := int(watches.Add(1))
		if number > 1 {
			fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"resourceVersion":"%d"}}}`, 10*number)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
		select {
		case asked <- number:
		case <-r.Context().Done():
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	leases, err := coordinationv1client.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSpeaker(klog.NewContext(t.Context(), logr.Discard()), Config{Node: "n1", Namespace: "metallb-system", Timing: DefaultTiming(), Leases: leases, Doubts: leases})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.watchLeases(ctx) }()
	defer func() { stop(); <-ended }()
	for want := range 3 {
		select {
		case number := <-asked:
			if number != want+1 {
				t.Errorf("watch number %d, want %d", number, want+1)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no watch was asked for in 30 s")
		}
		for want > 0 && s.records.watched != uint64(10*(want+1)) { // until its event has come
			<-s.wake
			s.mailMu.Lock()
			mail := s.mail
			s.mail = nil
			s.mailMu.Unlock()
			for _, do := range mail {
				do()
			}
		}
		s.following.giveUp()
	}
}
