// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// E1: all sessions together write 50 times a second at most, up to 500 speakers, and a rollout changes nothing.
func TestE1RenewalPeriods(t *testing.T) {
	for _, test := range []struct {
		speakers, before, want int
	}{
		{0, 1, 1}, {1, 1, 1}, {50, 1, 1}, {51, 1, 2}, {100, 2, 2}, {101, 2, 3}, {200, 1, 4}, {500, 1, 10}, {5000, 1, 10},
		{50, 2, 2}, {41, 2, 2}, {40, 2, 1}, {195, 5, 5}, {3, 10, 1},
	} {
		t.Run(fmt.Sprintf("%d speakers, %d before", test.speakers, test.before), func(t *testing.T) {
			timing := DefaultTiming()
			periods := timing.renewalPeriods(test.speakers, test.before)
			if periods != test.want {
				t.Errorf("%d periods, want %d", periods, test.want)
			}
			scaled := timing.renewedEvery(periods)
			if scaled.SessionDuration != time.Duration(test.want)*4*time.Second || scaled.RenewDeadline != time.Duration(test.want)*2500*time.Millisecond {
				t.Errorf("duration %v and deadline %v, want 4 s and 2.5 s × %d", scaled.SessionDuration, scaled.RenewDeadline, test.want)
			}
		})
	}
}

// E1: the lock writes only what is due or new; what failed is tried again at the elector's next look.
func TestE1RestsBetweenRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPIServer(newChance(1))
		leaving, leave := context.WithCancel(t.Context())
		lock := lockOf(leaving, api, "node-1/a", "02:00:00:00:00:01")
		periods, doubted, macs := 4, false, "02:00:00:00:00:01"
		lock.session.periods = func() int { return periods }
		lock.session.doubted = func() bool { return doubted }
		lock.session.describe = func() map[string]string { return map[string]string{names.AnnotationMACs: macs} }
		var shortened time.Duration
		lock.session.shortens = func(until time.Time) { shortened = time.Until(until) }
		if err := lock.Create(t.Context(), record("node-1/a")); err != nil {
			t.Fatal(err)
		}
		writes := func(looks int) int { // in so many looks of the elector, a second apart
			t.Helper()
			before, _ := api.counts()
			for range looks {
				time.Sleep(time.Second)
				if err := lock.Update(t.Context(), record("node-1/a")); err != nil {
					t.Fatal(err)
				}
			}
			after, _ := api.counts()
			return after - before
		}
		duration := func() int32 {
			return ptr.Deref(api.lease(names.SessionLease("node-1")).Spec.LeaseDurationSeconds, 0)
		}
		if duration() != 16 {
			t.Errorf("the record names %d s, want 16", duration())
		}
		if first := writes(4); first < 1 || first > 2 {
			t.Errorf("%d writes in the period after a change, want one or two", first)
		}
		writes(4)
		if again := writes(20); again != 5 {
			t.Errorf("%d writes in 20 s, want 5", again)
		}
		for lock.due.Sub(time.Now()) != 4*time.Second { // until the last look was a write
			writes(1)
		}
		if writes(1) != 0 {
			t.Error("wrote 1 s after a write")
		}
		macs = "02:00:00:00:00:02"
		if writes(1) != 1 || writes(1) != 0 {
			t.Error("what is new of the speaker is not written at once, and once")
		}
		doubted = true
		if writes(1) != 1 {
			t.Error("does not look after a record that others changed")
		}
		doubted = false
		if shortened != 0 {
			t.Errorf("told of a shorter session, %v", shortened)
		}
		periods = 1
		if writes(1) != 1 || duration() != 4 || shortened != 4*time.Second {
			t.Errorf("a shorter duration: the record names %d s, and %v was told", duration(), shortened)
		}
		periods = 3
		writes(1)
		api.touch(names.SessionLease("node-1"))
		time.Sleep(3 * time.Second)
		if err := lock.Update(t.Context(), record("node-1/a")); err == nil {
			t.Error("replaced what another wrote")
		}
		if err := lock.Update(t.Context(), record("node-1/a")); err == nil {
			t.Error("a write that failed counts as one")
		}
		if _, _, err := lock.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := lock.Update(t.Context(), record("node-1/a")); err != nil {
			t.Fatal(err)
		}
		leave()
		if err := lock.Update(t.Context(), record("")); err != nil || holder(api.lease(names.SessionLease("node-1"))) != "" {
			t.Errorf("not released: %v", err)
		}
		if err := lock.Update(t.Context(), record("node-1/a")); errors.Is(err, errFenced) {
			t.Error("released by itself, and calls it fenced")
		}
	})
}

// E6: by what a speaker goes when a shorter session was written and no answer came: the sooner of both ends.
func TestE6ShorterSessionWithoutAnswer(t *testing.T) {
	s := newSteps(t, 2, func(timing *Timing) { *timing = timing.renewedEvery(4) })
	s.core.withdraw = true
	s.held("n1")
	s.pass(5 * time.Second)
	s.renewing = false
	s.pass(3 * time.Second)
	s.view.ValidUntil = s.view.Now.Add(4 * time.Second)
	s.check(s.pass(3900 * time.Millisecond))
	if out := s.pass(200 * time.Millisecond); len(out.Changes) != 1 || out.Changes[0].Announce {
		t.Errorf("4 s after the write: %v, want that it withdraws", out.Changes)
	}
}

// withFakes adds sessions of speakers that are never heard and never renew.
func (w *world) withFakes(count int) {
	for i := range count {
		name := fmt.Sprintf("fake-%d", i)
		_, err := w.api.put(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: names.SessionLease(name), Labels: map[string]string{names.LabelLease: names.LeaseSession}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(name + "/a"), LeaseDurationSeconds: ptr.To[int32](3600)},
		}, true)
		if err != nil {
			w.t.Error(err)
		}
	}
}

// E1: in a cluster of 103 speakers each renews every 3 s, with a session of 12 s; as soon as the cluster is small again, every second.
func TestE1RenewalGrowsWithTheCluster(t *testing.T) {
	inWorldWith(t, 3, 3, func(w *world) { w.withFakes(100) }, func(w *world) {
		duration := func() int32 {
			return ptr.Deref(w.api.lease(names.SessionLease("node-1")).Spec.LeaseDurationSeconds, 0)
		}
		w.pass(20 * time.Second)
		before, _ := w.api.counts()
		w.pass(60 * time.Second)
		after, _ := w.api.counts()
		if writes := after - before; writes < 57 || writes > 63 || duration() != 12 {
			t.Errorf("three nodes wrote %d times in 60 s, and their sessions name %d s; want 60 and 12", writes, duration())
		}
		w.node("node-1").setAPIAway(true)
		w.pass(4 * time.Second)
		if !w.node("node-1").speaker.Fresh() {
			t.Error("the session is no longer fresh 4 s after the API server went away: its deadline is 7.5 s, and the period 3 s")
		}
		w.pass(4 * time.Second)
		if w.node("node-1").speaker.Fresh() {
			t.Error("the session is fresh 8 s after the API server went away")
		}
		w.node("node-1").setAPIAway(false)
		w.pass(10 * time.Second)
		w.settled()
		for i := range 100 {
			w.api.delete(names.SessionLease(fmt.Sprintf("fake-%d", i)))
		}
		w.pass(1500 * time.Millisecond)
		if duration() != 4 {
			t.Errorf("the session names %d s in a cluster of three", duration())
		}
		w.settled()
		if w.tally().fences > 0 {
			t.Errorf("%d sessions were fenced", w.tally().fences)
		}
	})
}

// E4 a: others judge a session by the duration that its record names, not by their own.
func TestE4aDurationOfTheRecord(t *testing.T) {
	inWorldWith(t, 3, 3, func(w *world) { w.filtered = true; w.withFakes(100) }, func(w *world) {
		w.pass(20 * time.Second)
		w.settled()
		w.node("node-1").kill()
		w.pass(8900 * time.Millisecond)
		if w.tally().fences > 0 {
			t.Fatal("fenced for its duration before that was over")
		}
		w.pass(4 * time.Second)
		if w.tally().fences != 1 {
			t.Errorf("%d sessions were fenced 12.9 s after a speaker died, want 1", w.tally().fences)
		}
	})
}

// E11: what is seen on the LAN turns the loop at once, but a burst of it only every 10 ms.
func TestE11BurstOfSightings(t *testing.T) {
	inWorld(t, 2, 1, func(w *world) {
		w.pass(20 * time.Second)
		speaker, turns := w.node("node-1").speaker, 0
		var count func()
		count = func() { turns++; speaker.hand(count) }
		speaker.hand(count)
		w.pass(150 * time.Millisecond)

		before := turns
		speaker.Sight(w.vip(0), "02:00:00:00:99:99", "eth0")
		synctest.Wait()
		if turns != before+1 {
			t.Errorf("%d turns for the first, want one", turns-before)
		}
		time.Sleep(sightedEvery)
		before = turns
		for range 1000 { // a failover of 333 VIPs, announced three times
			speaker.Sight(w.vip(0), "02:00:00:00:99:99", "eth0")
			time.Sleep(100 * time.Microsecond)
		}
		synctest.Wait()
		if most := 100*time.Millisecond/sightedEvery + 5; turns-before > int(most) { // beside the loop's own, and renewals
			t.Errorf("%d turns for 1000 announcements in 100 ms, want at most %d", turns-before, most)
		}
	})
}
