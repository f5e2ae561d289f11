// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"
)

// replica is one controller that stands for election.
type replica struct {
	lock     *watchedLock
	leads    chan time.Time // when it was elected
	elect    context.CancelFunc
	watch    context.CancelFunc
	electing chan struct{}
}

func startReplica(t *testing.T, kube kubernetes.Interface, identity string, releases bool) *replica {
	t.Helper()
	quiet := klog.NewContext(t.Context(), logr.Discard())
	watching, stopWatching := context.WithCancel(quiet)
	electing, stopElecting := context.WithCancel(quiet)
	lock := newWatchedLock(watching, kube, "metallb-system", identity)
	r := &replica{lock: lock, leads: make(chan time.Time, 1), elect: stopElecting, watch: stopWatching, electing: make(chan struct{})}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lock,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: lookPeriod, ReleaseOnCancel: releases,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { r.leads <- time.Now() },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { defer close(r.electing); elector.Run(electing) }()
	return r
}

// end stops the replica; one that does not release leaves its Lease as a process that was killed does.
func (r *replica) end() {
	r.elect()
	<-r.electing
	r.watch()
	synctest.Wait()
}

// requests made since the last call, by verb.
func requests(kube *fake.Clientset) map[string]int {
	counts := map[string]int{}
	for _, action := range kube.Actions() {
		counts[action.GetVerb()]++
	}
	kube.ClearActions()
	return counts
}

func TestStandbyReadsFromTheWatchAndLeaderWritesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset()
		leader := startReplica(t, kube, "first", true)
		<-leader.leads
		standby := startReplica(t, kube, "second", true)
		time.Sleep(time.Second)
		requests(kube)
		time.Sleep(20 * time.Second)
		counts := requests(kube)
		if counts["update"] < 15 || counts["update"] > 21 || len(counts) != 1 {
			t.Errorf("requests in 20 s: %v, want an update about once a second and nothing else", counts)
		}
		if len(standby.leads) > 0 {
			t.Error("the standby was elected beside a leader that renews")
		}
		leader.end()
		standby.end()
	})
}

func TestLeaderThatEndsIsReplaced(t *testing.T) {
	for name, tt := range map[string]struct {
		releases bool
		within   time.Duration
		after    time.Duration
	}{
		"killed: when its Lease has run out, and not before": {releases: false, after: leaseDuration - renewPeriod - 3*lookPeriod, within: leaseDuration + 6*lookPeriod},
		"stopped: at once": {releases: true, within: 3 * lookPeriod},
	} {
		t.Run(name, func(t *testing.T) {
			for offset := range 20 { // ends anywhere between two renewals
				synctest.Test(t, func(t *testing.T) {
					kube := fake.NewClientset()
					leader := startReplica(t, kube, "first", tt.releases)
					<-leader.leads
					standby := startReplica(t, kube, "second", true)
					time.Sleep(5*time.Second + time.Duration(offset)*renewPeriod/20)
					leader.end()
					ended := time.Now()
					took := (<-standby.leads).Sub(ended)
					if took < tt.after || took > tt.within {
						t.Errorf("replaced after %s, want between %s and %s", took, tt.after, tt.within)
					}
					standby.end()
				})
			}
		})
	}
}

func TestLeaderWithoutAPIServerStopsBeforeItsLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset()
		var refuses atomic.Bool
		var accepted atomic.Pointer[time.Time]
		kube.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			if refuses.Load() {
				return true, nil, errors.New("refused")
			}
			now := time.Now()
			accepted.Store(&now)
			return false, nil, nil
		})
		leader := startReplica(t, kube, "first", false)
		<-leader.leads
		time.Sleep(5 * time.Second)
		if !leader.lock.valid() {
			t.Error("a leader that renews is not sure of its Lease")
		}
		refuses.Store(true)
		<-leader.electing
		if after := time.Since(*accepted.Load()); after >= leaseDuration {
			t.Errorf("the leader went on for %s after its last renewal, its Lease runs out after %s", after, leaseDuration)
		}
		if leader.lock.valid() != (time.Since(*accepted.Load()) < leaseDuration) {
			t.Error("the Lease counts as valid by something else than the last renewal that was accepted")
		}
		time.Sleep(leaseDuration)
		if leader.lock.valid() {
			t.Error("the Lease counts as valid for longer than its duration")
		}
		leader.end()
	})
}
