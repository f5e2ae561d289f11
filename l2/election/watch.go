// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"sync"
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
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s.following.set(cancel)
			return s.leases.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			only(&options)
			ctx, cancel := context.WithCancel(ctx)
			s.following.set(cancel)
			events, err := s.leases.Watch(ctx, options)
			if err != nil {
				cancel()
				return nil, err
			}
			followed := cancelledWatch{Interface: events, cancel: cancel}
			s.following.set(followed.Stop)
			return followed, nil
		},
	}
	log := s.log.WithName("leases")
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(source, s.leases), &coordinationv1.Lease{}, leaseStore{s},
		cache.ReflectorOptions{Logger: &log, Name: "leases", Backoff: &watchBackoff})
	reflector.RunWithContext(ctx)
}

// How long the watch may not show this speaker's own last renewal before it is begun anew, and how long at most, for the time doubles: an API server that
// is late is not helped by being asked again.
const watchPatience, watchPatienceMost = 10 * time.Second, 2 * time.Minute

// following is what becomes of the watch.
type following struct {
	mu sync.Mutex
	// stop ends the list or watch under way; the reflector then begins the next where this one was.
	stop func()

	// The rest belongs to the loop: awaited is the version of this speaker's own session that the watch is to show, since when, and for how long it may take.
	awaited  uint64
	since    time.Time
	patience time.Duration
}

func (f *following) set(stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop = stop
}

func (f *following) giveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
	}
}

// cancelledWatch is a watch whose request ends with it.
type cancelledWatch struct {
	watch.Interface
	cancel context.CancelFunc
}

// Stop ends the watch.
func (w cancelledWatch) Stop() {
	w.Interface.Stop()
	w.cancel()
}

// checkWatch begins the watch anew when it shows nothing though it must: each renewal of this speaker's session is an event of it. A connection that died is
// noticed by the transport; a request that whatever stands before the API server has swallowed is not, and would stand for ever.
func (s *Speaker) checkWatch(now time.Time) {
	f, own := &s.following, s.records.versions[names.SessionLease(s.config.Node)]
	switch {
	case s.records.watched >= f.awaited || own < f.awaited: // it has shown it, or the API server's store was restored
		f.awaited, f.since, f.patience = own, now, watchPatience
	case !s.core.renewed(&s.view): // the API server is away
		f.since = now
	case now.Sub(f.since) >= f.patience:
		s.log.Info("The watch of Leases shows nothing, and is begun anew", "node", s.config.Node, "for", now.Sub(f.since).Round(time.Second))
		f.since, f.patience = now, min(2*f.patience, watchPatienceMost)
		f.giveUp()
	}
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
