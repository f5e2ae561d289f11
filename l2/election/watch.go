// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// watchBackoff is how soon a broken watch is tried again: the records must be fresh soon after an outage.
var watchBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Jitter: 0.5, Steps: 10, Cap: 3 * time.Second}

// watchLeases keeps the records fresh from one list and watch of the session and VIP Leases until the context is done (E3).
func (s *Speaker) watchLeases(ctx context.Context) {
	only := func(options *metav1.ListOptions) { options.LabelSelector = names.LabelLease }
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			only(&options)
			return s.leases.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			only(&options)
			return s.leases.Watch(ctx, options)
		},
	}
	log := s.log.WithName("leases")
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(source, s.leases), &coordinationv1.Lease{}, leaseStore{s},
		cache.ReflectorOptions{Logger: &log, Name: "leases", Backoff: &watchBackoff})
	reflector.RunWithContext(ctx)
}

// leaseStore takes what the watch delivers into the records, in the order of delivery and a list at once: a list taken in
// piece by piece would show new VIP Leases beside old sessions, and epochs that have begun as if they had ended.
type leaseStore struct{ *Speaker }

// Add takes in a Lease that was created.
func (s leaseStore) Add(object any) error { return s.Update(object) }

// Update takes in a Lease that was changed.
func (s leaseStore) Update(object any) error {
	if lease, ok := object.(*coordinationv1.Lease); ok {
		s.post(func() { s.records.Watched(lease, time.Now()) })
	}
	return nil
}

// Delete takes in a Lease that was deleted.
func (s leaseStore) Delete(object any) error {
	if lease, ok := object.(*coordinationv1.Lease); ok {
		s.post(func() { s.records.Deleted(lease) })
	}
	return nil
}

// Replace takes in a complete list.
func (s leaseStore) Replace(objects []any, version string) error {
	leases := make([]*coordinationv1.Lease, 0, len(objects))
	for _, object := range objects {
		if lease, ok := object.(*coordinationv1.Lease); ok {
			leases = append(leases, lease)
		}
	}
	s.post(func() {
		s.records.Listed(leases, version, time.Now())
		s.listed, s.derived = true, 0
	})
	return nil
}

// Bookmark takes in that everything up to a version has been delivered.
func (s leaseStore) Bookmark(version string) error {
	s.post(func() { s.records.Progressed(version) })
	return nil
}

// Resync does nothing: the records are complete.
func (s leaseStore) Resync() error { return nil }
