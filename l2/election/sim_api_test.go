// SPDX-License-Identifier: Apache-2.0

package election

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// apiServer keeps Leases as the real one does: one resourceVersion that grows, compare-and-swap by it and the UID, reads of
// single objects from the store, lists and watches from a cache that may lag behind, watches that begin after a version and
// are refused when that is too old. Objects in it are never changed, and those of watches are shared.
type apiServer struct {
	chance *chance
	// written is told of each change, in order, with the lock held.
	written func(before, after *coordinationv1.Lease, session func(node string) string)
	// interval at which watches deliver; 0 delivers each event by itself, a moment late.
	interval time.Duration
	closed   chan struct{}
	work     sync.WaitGroup

	mu      sync.Mutex
	version uint64
	leases  map[string]*coordinationv1.Lease
	// cache is what lists and watches see, of version cached; events are those since version compacted.
	cache     map[string]*coordinationv1.Lease
	cached    uint64
	events    []apiEvent
	compacted uint64
	// frozen: the cache does not follow the store.
	frozen   bool
	watchers map[*watcher]bool
	// writes that came, refused of them, reads, watches that were begun, and events that were delivered.
	writes, refused, reads, begun, delivered int
}

type apiEvent struct {
	version uint64
	event   watch.Event
}

func newAPIServer(chance *chance) *apiServer {
	return &apiServer{
		chance: chance,
		leases: map[string]*coordinationv1.Lease{}, cache: map[string]*coordinationv1.Lease{},
		watchers: map[*watcher]bool{}, closed: make(chan struct{}),
	}
}

// close ends the watches and waits for all that is under way.
func (a *apiServer) close() {
	close(a.closed)
	a.work.Wait()
}

func (a *apiServer) client(n *node) coordinationv1client.LeasesGetter { return leasesOf{a, n} }

func (a *apiServer) lease(name string) *coordinationv1.Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leases[name].DeepCopy()
}

// names of all Leases, in order.
func (a *apiServer) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.leases))
}

func (a *apiServer) counts() (writes, reads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes, a.reads
}

// watches counts those that were begun.
func (a *apiServer) watches() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.begun
}

// delete removes a Lease, as kubectl does.
func (a *apiServer) delete(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.leases[name]
	if before == nil {
		return
	}
	delete(a.leases, name)
	a.version++
	gone := before.DeepCopy()
	gone.ResourceVersion = strconv.FormatUint(a.version, 10)
	a.tell(before, nil, watch.Event{Type: watch.Deleted, Object: gone})
}

// touch changes something of a Lease that nobody here looks at, as another program may: a write under way then conflicts.
func (a *apiServer) touch(name string) {
	if lease := a.lease(name); lease != nil {
		if lease.Annotations == nil {
			lease.Annotations = map[string]string{}
		}
		lease.Annotations["example.com/touched"] = lease.ResourceVersion
		_, _ = a.put(lease, false) // who was faster has touched it
	}
}

// put is the only way to write but delete.
func (a *apiServer) put(lease *coordinationv1.Lease, create bool) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes++
	before := a.leases[lease.Name]
	resource := coordinationv1.Resource("leases")
	switch {
	case create && before != nil:
		a.refused++
		return nil, apierrors.NewAlreadyExists(resource, lease.Name)
	case !create && before == nil && lease.UID == "":
		a.refused++
		return nil, apierrors.NewNotFound(resource, lease.Name)
	case !create && (before == nil || lease.UID != "" && before.UID != lease.UID ||
		lease.ResourceVersion != "" && before.ResourceVersion != lease.ResourceVersion):
		a.refused++
		return nil, apierrors.NewConflict(resource, lease.Name, errors.New("the object has been modified"))
	}
	a.version++
	stored := lease.DeepCopy()
	stored.ResourceVersion = strconv.FormatUint(a.version, 10)
	kind := watch.Modified
	if create {
		kind = watch.Added
		stored.UID = types.UID("uid-" + stored.ResourceVersion)
	} else {
		stored.UID = before.UID
	}
	a.leases[lease.Name] = stored
	a.tell(before, stored, watch.Event{Type: kind, Object: stored})
	return stored, nil
}

// tell passes a change on. The caller holds the lock.
func (a *apiServer) tell(before, after *coordinationv1.Lease, event watch.Event) {
	if a.written != nil {
		a.written(before, after, func(node string) string {
			if session := a.leases[names.SessionLease(node)]; session != nil {
				return holder(session)
			}
			return ""
		})
	}
	a.events = append(a.events, apiEvent{version: a.version, event: event})
	if !a.frozen {
		a.follow()
	}
}

// freeze stops the cache, and with it every list and watch, from following the store, or lets it catch up.
func (a *apiServer) freeze(frozen bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = frozen
	if !frozen {
		a.follow()
	}
}

// follow brings the cache up to date. The caller holds the lock.
func (a *apiServer) follow() {
	for _, each := range a.after(a.cached) {
		lease := each.event.Object.(*coordinationv1.Lease)
		if each.event.Type == watch.Deleted {
			delete(a.cache, lease.Name)
		} else {
			a.cache[lease.Name] = lease
		}
		a.cached = each.version
		for watcher := range a.watchers {
			if each.version > watcher.from {
				watcher.push(each.event)
			}
		}
	}
}

// after lists the events later than a version. The caller holds the lock.
func (a *apiServer) after(version uint64) []apiEvent {
	from, _ := slices.BinarySearchFunc(a.events, version+1, func(e apiEvent, v uint64) int { return int(int64(e.version) - int64(v)) })
	return a.events[from:]
}

// compact forgets the events so far: a watch from before is refused.
func (a *apiServer) compact() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events, a.compacted = slices.Clone(a.after(a.cached)), a.cached
}

// list reads from the cache, which must be no older than a version, or from the store when none is named; ok is false
// while the cache is too old.
func (a *apiServer) list(notOlder string) (list *coordinationv1.LeaseList, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from, version := a.cache, a.cached
	if notOlder == "" {
		from, version = a.leases, a.version
	}
	if version < parseVersion(notOlder) {
		return nil, false
	}
	a.reads++
	list = &coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(version, 10)}}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		list.Items = append(list.Items, *from[name])
	}
	return list, true
}

// watchFrom begins a watch with what came after a version.
func (a *apiServer) watchFrom(n *node, version uint64) (*watcher, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if version < a.compacted {
		return nil, apierrors.NewResourceExpired("too old resource version")
	}
	w := &watcher{api: a, node: n, from: version, events: make(chan watch.Event), wake: make(chan struct{}, 1), done: make(chan struct{})}
	for _, each := range a.after(version) {
		if each.version <= a.cached {
			w.queue = append(w.queue, each.event)
		}
	}
	a.watchers[w] = true
	a.begun++
	a.work.Go(w.deliver)
	return w, nil
}

// breakWatches ends all watches of a node, or of all when it is nil, as a restart of the API server does.
func (a *apiServer) breakWatches(n *node) {
	a.mu.Lock()
	var broken []*watcher
	for each := range a.watchers {
		if n == nil || each.node == n {
			broken = append(broken, each)
		}
	}
	a.mu.Unlock()
	for _, each := range broken {
		each.Stop()
	}
}

// watcher delivers in order, a few milliseconds late, and not at all while the node's weather keeps it.
type watcher struct {
	api    *apiServer
	node   *node
	from   uint64
	events chan watch.Event
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	queue []watch.Event
}

// brokenAfter is how long a connection may be without a sign of life before client-go's transport gives it up: 30 s until it
// asks, 15 s for the answer.
const brokenAfter = 45 * time.Second

func (w *watcher) push(event watch.Event) {
	w.mu.Lock()
	w.queue = append(w.queue, event)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) deliver() {
	defer close(w.events)
	for {
		if !w.sleep(max(w.api.interval, w.api.chance.between(time.Millisecond, 6*time.Millisecond))) || !w.passes() {
			return
		}
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, event := range queue {
			if w.node.standsOrSlow() && (!w.sleep(time.Millisecond) || !w.passes()) {
				return
			}
			select {
			case w.events <- event:
			case <-w.done:
				return
			case <-w.api.closed:
				return
			}
		}
		w.api.mu.Lock()
		w.api.delivered += len(queue)
		w.api.mu.Unlock()
		select {
		case <-w.wake:
		case <-w.done:
			return
		case <-w.api.closed:
			return
		}
	}
}

// passes waits until the way to the node is free; false means that the watch is over.
func (w *watcher) passes() bool {
	const step = 10 * time.Millisecond
	for waited := time.Duration(0); w.node.watchWaits(); waited += step {
		if waited >= brokenAfter {
			w.Stop()
		}
		if !w.sleep(step) {
			return false
		}
	}
	return true
}

func (w *watcher) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.done:
	case <-w.api.closed:
	}
	return false
}

// Stop ends the watch.
func (w *watcher) Stop() {
	w.once.Do(func() {
		w.api.mu.Lock()
		delete(w.api.watchers, w)
		w.api.mu.Unlock()
		close(w.done)
	})
}

// ResultChan is where events come out.
func (w *watcher) ResultChan() <-chan watch.Event { return w.events }

// watchWaits says whether nothing comes through the node's watch now; standsOrSlow, whether each event has to be looked at by itself.
func (n *node) watchWaits() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.weather.apiAway || n.weather.watchStands || n.dead || time.Now().Before(n.stoodUntil)
}

func (n *node) standsOrSlow() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.weather != weather{} || time.Now().Before(n.stoodUntil)
}
