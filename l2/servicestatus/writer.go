// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const (
	// settle is how long a change waits for others to the same Service, such as its address of the other family.
	settle = 2 * time.Second
	// restart is how long what a predecessor left is let be: a speaker that starts may take the same VIPs again.
	restart = 10 * time.Second
	// writers that work at once: the elections' writes are the ones that somebody waits for.
	writers = 2
	// believed is how long what the API server answered is taken for newer than a watch that does not show it.
	believed = time.Minute
	// firstRetry and lastRetry bound the wait after a write that failed, which doubles.
	firstRetry, lastRetry = 500 * time.Millisecond, time.Minute
)

// Writer writes the objects of one node. Its methods may be called from any goroutine and do not block.
type Writer struct {
	objects   client.ServiceL2Statuses
	namespace string
	node      string
	own       cache.SharedIndexInformer
	queue     workqueue.TypedRateLimitingInterface[string]
	sweeper   *sweeper

	mu     sync.Mutex
	wanted wanted
	// services by the name of their object, of those that are wanted.
	services map[string]types.NamespacedName
	// answers are the objects as the API server answered to the last write, by name, until the watch has caught up.
	answers map[string]answer
	// failing is set from a write that failed until one succeeds, so that an outage is one line.
	failing bool
}

// answer is an object and when it was answered.
type answer struct {
	object *v1beta1.ServiceL2Status
	at     time.Time
}

// NewWriter returns a Writer of the objects of a node, which stand in a namespace. Its requests go through the client given,
// whose budget they should have to themselves. Nothing is written before Run.
func NewWriter(objects client.ServiceL2Statuses, namespace, node string) (*Writer, error) {
	w := &Writer{
		objects: objects, namespace: namespace, node: node,
		own: client.NewServiceL2StatusInformer(objects, labels.Set{v1beta1.LabelNode: NodeLabel(node)}.String()),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
		sweeper:  newSweeper(objects, node),
		services: map[string]types.NamespacedName{},
		answers:  map[string]answer{},
	}
	if err := w.own.SetTransform(withoutManagedFields); err != nil {
		return nil, err
	}
	_, err := w.own.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, listedFirst bool) {
			if status, ok := object.(*v1beta1.ServiceL2Status); ok && listedFirst {
				w.queue.AddAfter(status.Name, restart)
				return
			}
			w.look(object)
		},
		UpdateFunc: func(_, object any) { w.look(object) },
		DeleteFunc: func(object any) {
			if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
				w.mu.Lock()
				delete(w.answers, name.Name)
				w.mu.Unlock()
			}
			w.look(object)
		},
	})
	return w, err
}

// withoutManagedFields leaves out what is more than all the rest of an object and is not read. An update without them changes none.
func withoutManagedFields(object any) (any, error) {
	if status, ok := object.(*v1beta1.ServiceL2Status); ok {
		status.ManagedFields = nil
	}
	return object, nil
}

// look has an object that somebody changed compared with what it should be. One that is not of this program's making is its maker's matter
// while both run: to remove it would be a quarrel without end.
func (w *Writer) look(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err != nil {
		return
	}
	w.mu.Lock()
	_, ours := w.services[name.Name]
	w.mu.Unlock()
	if status, ok := object.(*v1beta1.ServiceL2Status); ours || ok && status.Labels[labelManagedBy] == managedBy {
		w.queue.Add(name.Name)
	}
}

// Announced brings what the plan says of a VIP that the node answers for.
func (w *Writer) Announced(vip plan.VIP) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change(w.wanted.announce(vip, vip.Verdict(w.node).Interfaces))
}

// Withdrawn brings that the node no longer answers for a VIP.
func (w *Writer) Withdrawn(vip netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change(w.wanted.withdraw(vip))
}

// change has the objects of Services written. The caller holds mu.
func (w *Writer) change(services []types.NamespacedName) {
	for _, service := range services {
		name := Name(service, w.node)
		if _, wanted := w.wanted.services[service]; wanted {
			w.services[name] = service
		} else {
			delete(w.services, name)
		}
		w.queue.AddAfter(name, settle)
	}
}

// SetSpeakers brings which nodes have a speaker with a session. Without this node in it, or before it is called, the objects of others
// are left alone.
func (w *Writer) SetSpeakers(speakers map[string]plan.Speaker) { w.sweeper.set(speakers) }

// Run writes until the context is done. What is not written by then is put right by the next speaker of this node, or
// by one of another.
func (w *Writer) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	defer w.queue.ShutDown()
	work.Go(func() { w.own.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), w.own.HasSynced) {
		return nil // stopped
	}
	for range writers {
		work.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	w.sweeper.run(ctx)
	return nil
}

// next brings one object up to date; it is false when there will be no more.
func (w *Writer) next(ctx context.Context) bool {
	name, stopped := w.queue.Get()
	if stopped {
		return false
	}
	defer w.queue.Done(name)
	err := w.write(ctx, name)
	if ctx.Err() != nil {
		return true // the queue ends as well
	}
	w.report(ctx, name, err)
	if err != nil {
		w.queue.AddRateLimited(name)
	} else {
		w.queue.Forget(name)
	}
	return true
}

// report logs that writes fail, once, and that they do no longer. A conflict is no failure: the object is looked at again.
func (w *Writer) report(ctx context.Context, name string, err error) {
	if apierrors.IsConflict(err) {
		return
	}
	w.mu.Lock()
	failing := w.failing
	w.failing = err != nil
	w.mu.Unlock()
	log := klog.FromContext(ctx)
	switch {
	case err != nil && !failing:
		log.Info("ServiceL2Status cannot be written; it is tried again until it can", "node", w.node, "object", klog.KRef(w.namespace, name), "reason", err.Error())
	case err == nil && failing:
		log.Info("ServiceL2Status can be written again", "node", w.node)
	}
}

// write makes one object what it should be, with as few requests as that takes.
func (w *Writer) write(ctx context.Context, name string) error {
	w.mu.Lock()
	service, ours := w.services[name]
	entry, wanted := w.wanted.entry(service)
	w.mu.Unlock()
	have, err := w.held(name)
	if err != nil {
		return err
	}
	if !ours || !wanted {
		return w.remove(ctx, have)
	}
	want := entry.object(w.namespace, w.node)
	if have == nil {
		have, err = w.note(w.objects.Create(ctx, want, metav1.CreateOptions{}))
		if apierrors.IsAlreadyExists(err) { // the watch has not shown it yet, or it has other labels
			have, err = w.objects.Get(ctx, name, metav1.GetOptions{})
		}
		if err != nil {
			return fmt.Errorf("creating it: %w", err)
		}
	}
	return w.correct(ctx, have, want)
}

// correct makes an object that exists what it should be.
func (w *Writer) correct(ctx context.Context, have, want *v1beta1.ServiceL2Status) error {
	var err error
	if contradicts(have, want) {
		if err := w.remove(ctx, have); err != nil {
			return err
		}
		if have, err = w.note(w.objects.Create(ctx, want, metav1.CreateOptions{})); err != nil {
			return fmt.Errorf("creating it anew: %w", err)
		}
	}
	if !labelled(have, want) {
		if have, err = w.note(w.objects.Update(ctx, relabel(have, want), metav1.UpdateOptions{})); err != nil {
			return fmt.Errorf("labelling it: %w", err)
		}
	}
	if !says(have, want) {
		object := have.DeepCopy()
		object.Status = want.Status
		if _, err = w.note(w.objects.UpdateStatus(ctx, object, metav1.UpdateOptions{})); err != nil {
			return fmt.Errorf("updating its status: %w", err)
		}
	}
	return nil
}

// note keeps what the API server answered to a write. What it refused was decided on something older than it has: then the watch decides.
func (w *Writer) note(object *v1beta1.ServiceL2Status, err error) (*v1beta1.ServiceL2Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.answers[object.Name] = answer{object, time.Now()}
	}
	return object, err
}

// held is an object as the watch or an answer has shown it, whichever is newer; nil when there is none.
func (w *Writer) held(name string) (*v1beta1.ServiceL2Status, error) {
	stored, exists, err := w.own.GetStore().GetByKey(w.namespace + "/" + name)
	if err != nil {
		return nil, err
	}
	watched, ok := stored.(*v1beta1.ServiceL2Status)
	if exists && !ok {
		return nil, fmt.Errorf("the watch holds a %T", stored)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, answered := w.answers[name]
	if answered && time.Since(last.at) < believed && version(watched) < version(last.object) {
		return last.object, nil
	}
	delete(w.answers, name)
	return watched, nil
}

// version of an object, a number that grows; 0 for none.
func version(object *v1beta1.ServiceL2Status) uint64 {
	if object == nil {
		return 0
	}
	number, err := strconv.ParseUint(object.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// remove deletes an object, and no other that has come in its place.
func (w *Writer) remove(ctx context.Context, have *v1beta1.ServiceL2Status) error {
	if have == nil {
		return nil
	}
	err := w.objects.Delete(ctx, have.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	w.mu.Lock()
	delete(w.answers, have.Name)
	w.mu.Unlock()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting it: %w", err)
	}
	return nil
}
