// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// lockOf is the lock of one epoch of node-1's session, and what it reported.
func lockOf(ctx context.Context, api *apiServer, epoch Epoch, macs string) *sessionLock {
	s := &session{
		client: api.client(&node{}), namespace: "metallb-system", node: "node-1", timing: DefaultTiming(),
		describe:     func() map[string]string { return map[string]string{names.AnnotationMACs: macs} },
		acknowledged: func(Epoch, time.Time, *coordinationv1.Lease) {},
		fenced:       func(Epoch, string) {},
		periods:      func() int { return 1 }, doubted: func() bool { return false }, shortens: func(time.Time) {},
	}
	lock := s.newLock(ctx, epoch)
	lock.stop = func() {}
	return lock
}

func record(holder Epoch) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: string(holder), LeaseDurationSeconds: 4, RenewTime: metav1.Now(), AcquireTime: metav1.Now()}
}

// E1: the first write of an epoch ends its predecessor's on the node, and carries what others must know of the speaker.
func TestE1FirstWriteEndsThePredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPIServer(newChance(1))
		old := lockOf(t.Context(), api, "node-1/old", "02:00:00:00:00:01")
		if err := old.Create(t.Context(), record("node-1/old")); err != nil {
			t.Fatal(err)
		}
		fresh := lockOf(t.Context(), api, "node-1/new", "02:00:00:00:00:02")
		seen, _, err := fresh.Get(t.Context())
		if err != nil || seen.HolderIdentity != "" {
			t.Fatalf("a new epoch sees holder %q, %v; want a free record", seen.HolderIdentity, err)
		}
		if err := fresh.Update(t.Context(), record("node-1/new")); err != nil {
			t.Fatal(err)
		}
		lease := api.lease(names.SessionLease("node-1"))
		if holder(lease) != "node-1/new" || lease.Annotations[names.AnnotationMACs] != "02:00:00:00:00:02" || lease.Labels[names.LabelLease] != names.LeaseSession {
			t.Errorf("session Lease %v", lease)
		}
	})
}

// E1: once its epoch has ended, a speaker can neither renew nor release: client-go alone would do both.
func TestE1EndedEpochNeitherRenewsNorReleases(t *testing.T) {
	for _, test := range []struct {
		name  string
		ended func(*apiServer)
	}{
		{"fenced by a peer", func(api *apiServer) {
			lease := api.lease(names.SessionLease("node-1"))
			lease.Spec.HolderIdentity = new(string)
			if _, err := api.put(lease, false); err != nil {
				panic(err)
			}
		}},
		{"taken over by the next process", func(api *apiServer) {
			lease := api.lease(names.SessionLease("node-1"))
			next := "node-1/next"
			lease.Spec.HolderIdentity = &next
			if _, err := api.put(lease, false); err != nil {
				panic(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newAPIServer(newChance(1))
				leaving, leave := context.WithCancel(t.Context())
				lock := lockOf(leaving, api, "node-1/a", "")
				if err := lock.Create(t.Context(), record("node-1/a")); err != nil {
					t.Fatal(err)
				}
				leave()
				test.ended(api)
				want := holder(api.lease(names.SessionLease("node-1")))
				if err := lock.Update(t.Context(), record("node-1/a")); err == nil {
					t.Error("renewed an epoch that has ended")
				}
				if _, _, err := lock.Get(t.Context()); !errors.Is(err, errFenced) || !lock.fenced.Load() {
					t.Errorf("Get says %v, want %v", err, errFenced)
				}
				if err := lock.Update(t.Context(), record("")); !errors.Is(err, errFenced) {
					t.Errorf("release says %v, want %v", err, errFenced)
				}
				if got := holder(api.lease(names.SessionLease("node-1"))); got != want {
					t.Errorf("the record names %q, want %q as it was", got, want)
				}
			})
		})
	}
}

// E6: an elector that could not renew in time wants to release; the session is not released unless the speaker leaves.
func TestE6FailedRenewalsDoNotRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPIServer(newChance(1))
		lock := lockOf(t.Context(), api, "node-1/a", "")
		if err := lock.Create(t.Context(), record("node-1/a")); err != nil {
			t.Fatal(err)
		}
		if err := lock.Update(t.Context(), record("")); err == nil {
			t.Error("released by a speaker that does not leave")
		}
		if got := holder(api.lease(names.SessionLease("node-1"))); got != "node-1/a" {
			t.Errorf("the record names %q", got)
		}
	})
}

// E1: an answer that was lost is no loss: the record names the epoch, and it goes on.
func TestE1UnclearAnswerKeepsTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPIServer(newChance(1))
		lock := lockOf(t.Context(), api, "node-1/a", "")
		if err := lock.Create(t.Context(), record("node-1/a")); err != nil {
			t.Fatal(err)
		}
		again := lockOf(t.Context(), api, "node-1/a", "") // as if the answer had not come
		seen, _, err := again.Get(t.Context())
		if err != nil || seen.HolderIdentity != "node-1/a" || !again.held {
			t.Fatalf("sees %v, %v", seen, err)
		}
		if err := again.Update(t.Context(), record("node-1/a")); err != nil {
			t.Error(err)
		}
	})
}
