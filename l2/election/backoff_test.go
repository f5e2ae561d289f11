// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// E10: a back-off doubles with each session in a row that came to a bad end, and a process is not blamed for its predecessor's only crash.
func TestE10BackoffDoubles(t *testing.T) {
	timing := DefaultTiming()
	for _, test := range []struct {
		flaps   int
		started bool
		want    time.Duration
	}{
		{0, true, 0}, {1, true, 0}, {2, true, 2 * time.Second}, {3, true, 4 * time.Second},
		{0, false, 0}, {1, false, 2 * time.Second}, {2, false, 4 * time.Second}, {6, false, 64 * time.Second}, {7, false, 2 * time.Minute},
		{maxFlaps, false, 2 * time.Minute},
	} {
		if got := timing.flapBackoff(test.flaps, test.started); got != test.want {
			t.Errorf("%d flaps, just started %v: %v, want %v", test.flaps, test.started, got, test.want)
		}
	}
	timing.FenceBackoff = 0
	if got := timing.flapBackoff(9, false); got != 0 {
		t.Errorf("turned off: %v", got)
	}
}

// endings are what may become of an epoch.
var endings = map[string]func(t *testing.T, api *apiServer){
	"crash": func(*testing.T, *apiServer) {},
	"fence": func(t *testing.T, api *apiServer) {
		endSession(t, api, func(lease *coordinationv1.Lease) { lease.Annotations[names.AnnotationFencedBy] = "node-2/x" })
	},
	"release": func(t *testing.T, api *apiServer) { endSession(t, api, func(*coordinationv1.Lease) {}) },
}

func endSession(t *testing.T, api *apiServer, change func(*coordinationv1.Lease)) {
	t.Helper()
	lease := api.lease(names.SessionLease("node-1"))
	lease.Spec.HolderIdentity = new(string)
	change(lease)
	if _, err := api.put(lease, false); err != nil {
		t.Fatal(err)
	}
}

// E10: how sessions before it ended stands on the Lease, and so survives the process; a calm makes up for all of it.
func TestE10BackoffSurvivesTheProcess(t *testing.T) {
	for _, test := range []struct {
		name string
		ends []string
		// restarts: each epoch is a new process's.
		restarts bool
		calm     time.Duration
		want     time.Duration
	}{
		{"one crash", []string{"crash"}, true, 0, 0},
		{"two crashes", []string{"crash", "crash"}, true, 0, 2 * time.Second},
		{"four crashes", []string{"crash", "crash", "crash", "crash"}, true, 0, 8 * time.Second},
		{"a crash, fenced before it is back", []string{"fence"}, true, 0, 0},
		{"fenced twice, the same process", []string{"fence", "fence"}, false, 0, 4 * time.Second},
		{"fenced, and restarted after that", []string{"fence", "fence", "crash"}, true, 0, 4 * time.Second},
		{"four orderly restarts", []string{"release", "release", "release", "release"}, true, 0, 0},
		{"an orderly restart forgets nothing", []string{"crash", "crash", "release", "crash"}, true, 0, 4 * time.Second},
		{"four crashes, and a calm", []string{"crash", "crash", "crash", "crash"}, true, 3 * time.Minute, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newAPIServer(newChance(1))
				var process *session
				epochs := 0
				begin := func() time.Duration {
					if process == nil || test.restarts {
						process = lockOf(t.Context(), api, "", "").Client.(stampingGetter).session
					}
					epochs++
					epoch := Epoch(fmt.Sprintf("node-1/%d", epochs))
					lock := process.newLock(t.Context(), epoch)
					lock.stop = func() {}
					write := lock.Update
					if _, _, err := lock.Get(t.Context()); err != nil {
						write = lock.Create
					}
					for range 2 { // it begins, and is renewed
						if err := write(t.Context(), record(epoch)); err != nil {
							t.Fatal(err)
						}
						if backoff := DefaultTiming().backoffOf(api.lease(names.SessionLease("node-1"))); backoff != process.backoff {
							t.Fatalf("the Lease says %v, want %v", backoff, process.backoff)
						}
						write = lock.Update
						if _, _, err := lock.Get(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					if test.calm > 0 {
						time.Sleep(test.calm)
						if err := lock.Update(t.Context(), record(epoch)); err != nil {
							t.Fatal(err)
						}
						if got := api.lease(names.SessionLease("node-1")).Annotations[names.AnnotationBackOff]; got != "" {
							t.Errorf("still backs off after a calm: %s", got)
						}
					}
					return process.backoff
				}
				begin()
				var got time.Duration
				for _, end := range test.ends {
					endings[end](t, api)
					got = begin()
				}
				if got != test.want {
					t.Errorf("backs off for %v, want %v", got, test.want)
				}
			})
		})
	}
}

// E10: what somebody wrote on the Lease by hand holds nobody off for longer than the longest back-off.
func TestE10BackoffIsBounded(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "2s": 2 * time.Second, "-1h": 0, "1000h": 2 * time.Minute, "soon": 0} {
		lease := sessionObject("node-1", "node-1/a", 1)
		lease.Annotations = map[string]string{names.AnnotationBackOff: text}
		if got := DefaultTiming().backoffOf(lease); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

// E10: a speaker that crashes again and again takes nothing for a while, and everybody else knows.
func TestE10FlappingNodeIsNoCandidate(t *testing.T) {
	inWorld(t, 3, 6, func(w *world) {
		w.pass(atRest)
		node := w.node("node-1")
		for range 4 {
			node.kill()
			w.pass(2 * time.Second)
			node = node.restart()
			w.pass(2 * time.Second)
		}
		lease := w.api.lease(names.SessionLease("node-1"))
		if got := lease.Annotations[names.AnnotationBackOff]; got != "8s" {
			t.Errorf("back-off %q on the session after four crashes, want 8s", got)
		}
		from := time.Now()
		for _, other := range []string{"node-2", "node-3"} { // all that is left of the cluster is the one that flaps
			if err := w.node(other).leave(); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(3 * time.Second)
		for vip, holder := range w.settled() {
			if holder != "node-1" {
				t.Errorf("%s is held by %s", vip, holder)
			}
		}
		if gap, _ := w.gap(from); gap > 0 {
			t.Errorf("gap %v: better a speaker that flaps than none", gap)
		}
	})
}
