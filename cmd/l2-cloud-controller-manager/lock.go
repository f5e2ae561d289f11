// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// watchedLock is a LeaseLock that lets the elector look often and asks the API server rarely. A standby reads the Lease
// from a watch, so that it sees a renewal when it is written and not a poll later; and a leader writes once in
// renewPeriod, however often the elector renews. So a leader that dies is replaced when its Lease runs out, to which
// polls at renewPeriod would add up to four seconds.
//
// What decides is unchanged: a Lease that has run out is read from the API server, and only that version is replaced.
type watchedLock struct {
	resourcelock.LeaseLock

	mu        sync.Mutex
	seen      *coordinationv1.Lease // by the watch
	seenAt    time.Time             // when the watch last had news
	writtenAt time.Time             // when this process last had its renewal accepted
}

// newWatchedLock watches the Lease until ctx is done.
func newWatchedLock(ctx context.Context, kube kubernetes.Interface, namespace, identity string) *watchedLock {
	lock := &watchedLock{LeaseLock: resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: names.ControllerLease},
		Client:     kube.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}}
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, names.ControllerLease).String()
		}))
	// An error means that the informer has stopped: it has not been started.
	_, _ = factory.Coordination().V1().Leases().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { lock.see(obj) },
		UpdateFunc: func(_, obj any) { lock.see(obj) },
		DeleteFunc: func(any) { lock.see(nil) },
	})
	factory.StartWithContext(ctx)
	return lock
}

func (l *watchedLock) see(obj any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, _ = obj.(*coordinationv1.Lease)
	l.seenAt = time.Now()
}

// Get is the record as the watch last showed it while that is somebody else's and cannot have run out, and the API
// server's otherwise.
func (l *watchedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if record := l.standing(); record != nil {
		raw, err := json.Marshal(record)
		return record, raw, err
	}
	return l.LeaseLock.Get(ctx)
}

// standing is the record of another leader whose Lease has not run out, nil if there is none.
func (l *watchedLock) standing() *resourcelock.LeaderElectionRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil || time.Since(l.seenAt) >= leaseDuration {
		return nil
	}
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&l.seen.Spec)
	if record.HolderIdentity == "" || record.HolderIdentity == l.Identity() {
		return nil
	}
	return record
}

// Create writes the first record there is.
func (l *watchedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.LeaseLock.Create)
}

// Update writes the record, unless it only renews what was renewed less than renewPeriod ago.
func (l *watchedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	early := record.HolderIdentity == l.Identity() && time.Since(l.writtenAt) < renewPeriod
	l.mu.Unlock()
	if early {
		return nil
	}
	return l.write(ctx, record, l.LeaseLock.Update)
}

func (l *watchedLock) write(ctx context.Context, record resourcelock.LeaderElectionRecord, send func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	sent := time.Now()
	err := send(ctx, record)
	if err == nil && record.HolderIdentity == l.Identity() {
		l.mu.Lock()
		l.writtenAt = sent
		l.mu.Unlock()
	}
	return err
}

// valid tells whether the last renewal that was accepted still keeps everybody else from taking the Lease.
func (l *watchedLock) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.writtenAt) < leaseDuration
}
