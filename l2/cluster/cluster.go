// SPDX-License-Identifier: Apache-2.0

// Package cluster keeps the cluster's state as l2/plan wants it, from watches, and computes the plan anew when
// something that matters to it has changed. It decides nothing itself and writes nothing.
package cluster

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Selection says which Services are ours, and which nodes may announce; see plan.State.
type Selection struct {
	ServeClassless     bool
	LoadBalancerClass  string
	IgnoreExcludeLabel bool
}

// Watcher computes plans. Its methods may be called from any goroutine.
type Watcher struct {
	selection Selection
	publish   func(map[netip.Addr]plan.VIP)
	dirty     chan struct{}
	speakers  chan map[string]plan.Speaker

	services, slices, nodes, pools, advertisements cache.SharedIndexInformer
}

// NewWatcher returns a Watcher of the Services, EndpointSlices and Nodes of the cluster and of the pools and
// advertisements in a namespace. It calls publish, from one goroutine, with each new plan; the map is not touched
// afterwards.
func NewWatcher(kube kubernetes.Interface, custom client.Interface, namespace string, selection Selection, publish func(map[netip.Addr]plan.VIP)) (*Watcher, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(trim))
	w := &Watcher{
		selection:      selection,
		publish:        publish,
		dirty:          make(chan struct{}, 1),
		speakers:       make(chan map[string]plan.Speaker, 1),
		services:       factory.Core().V1().Services().Informer(),
		slices:         factory.Discovery().V1().EndpointSlices().Informer(),
		nodes:          factory.Core().V1().Nodes().Informer(),
		pools:          client.NewIPAddressPoolInformer(custom, namespace, 0),
		advertisements: client.NewL2AdvertisementInformer(custom, namespace, 0),
	}
	for _, informer := range w.informers() {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { w.mark() },
			UpdateFunc: func(old, new any) {
				if matters(old, new) {
					w.mark()
				}
			},
			DeleteFunc: func(any) { w.mark() },
		}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// HasSynced says whether everything has been listed once.
func (w *Watcher) HasSynced() bool {
	return !slices.ContainsFunc(w.informers(), func(informer cache.SharedIndexInformer) bool { return !informer.HasSynced() })
}

// SetSpeakers brings which nodes run a speaker, and where each can announce.
func (w *Watcher) SetSpeakers(speakers map[string]plan.Speaker) {
	for {
		select {
		case w.speakers <- maps.Clone(speakers):
			return
		case <-w.speakers: // an older one that was not taken yet
		}
	}
}

// Run watches until the context is done.
func (w *Watcher) Run(ctx context.Context) error {
	for _, informer := range w.informers() {
		go informer.RunWithContext(ctx)
	}
	for _, informer := range w.informers() {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return errors.New("stopped before the cluster's objects were listed")
		}
	}
	var speakers map[string]plan.Speaker
	for {
		select {
		case <-ctx.Done():
			return nil
		case speakers = <-w.speakers:
		case <-w.dirty:
		}
		if speakers == nil {
			continue // without knowing who speaks there is no plan, not an empty one
		}
		began := time.Now()
		w.publish(plan.Compute(w.state(speakers)))
		// A burst of changes must not keep a core busy: at most half of one.
		if !pause(ctx, max(time.Since(began), 5*time.Millisecond)) {
			return nil
		}
	}
}

func (w *Watcher) informers() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{w.services, w.slices, w.nodes, w.pools, w.advertisements}
}

func (w *Watcher) state(speakers map[string]plan.Speaker) plan.State {
	return plan.State{
		Services:           list[*corev1.Service](w.services),
		EndpointSlices:     list[*discoveryv1.EndpointSlice](w.slices),
		Nodes:              list[*corev1.Node](w.nodes),
		Pools:              list[*v1beta1.IPAddressPool](w.pools),
		Advertisements:     list[*v1beta1.L2Advertisement](w.advertisements),
		Speakers:           speakers,
		ServeClassless:     w.selection.ServeClassless,
		LoadBalancerClass:  w.selection.LoadBalancerClass,
		IgnoreExcludeLabel: w.selection.IgnoreExcludeLabel,
	}
}

func (w *Watcher) mark() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func list[T any](informer cache.SharedIndexInformer) []T {
	objects := informer.GetStore().List()
	typed := make([]T, 0, len(objects))
	for _, object := range objects {
		if each, ok := object.(T); ok {
			typed = append(typed, each)
		}
	}
	return typed
}

// matters says whether a change can change the plan. Kubelets report on their nodes all the time; nearly all of that
// does not matter here, and neither do the status fields that we write ourselves.
func matters(old, new any) bool {
	switch was := old.(type) {
	case *corev1.Node:
		is, ok := new.(*corev1.Node)
		return !ok || was.Spec.Unschedulable != is.Spec.Unschedulable ||
			!equality.Semantic.DeepEqual(was.Labels, is.Labels) ||
			!equality.Semantic.DeepEqual(was.Spec.Taints, is.Spec.Taints) ||
			networkUnavailable(was) != networkUnavailable(is)
	case *v1beta1.IPAddressPool:
		is, ok := new.(*v1beta1.IPAddressPool)
		return !ok || was.Generation != is.Generation || !equality.Semantic.DeepEqual(was.Labels, is.Labels)
	}
	return true
}

func networkUnavailable(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(condition corev1.NodeCondition) bool {
		return condition.Type == corev1.NodeNetworkUnavailable && condition.Status == corev1.ConditionTrue
	})
}

// trim drops what the plan never reads before an object is cached: on every node there is a copy of every one.
func trim(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	switch it := object.(type) {
	case *corev1.Node:
		it.Annotations = nil
		it.Status = corev1.NodeStatus{Conditions: slices.DeleteFunc(it.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type != corev1.NodeNetworkUnavailable
		})}
		it.Spec = corev1.NodeSpec{Unschedulable: it.Spec.Unschedulable, Taints: it.Spec.Taints}
	case *corev1.Service:
		delete(it.Annotations, corev1.LastAppliedConfigAnnotation)
	case *discoveryv1.EndpointSlice:
		it.ObjectMeta = metav1.ObjectMeta{Namespace: it.Namespace, Name: it.Name, UID: it.UID, Labels: it.Labels, ResourceVersion: it.ResourceVersion}
		for i := range it.Endpoints {
			it.Endpoints[i] = discoveryv1.Endpoint{Conditions: it.Endpoints[i].Conditions, NodeName: it.Endpoints[i].NodeName}
		}
	}
	return object, nil
}

func pause(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ServiceUID is the UID of a Service, or empty when it is gone.
func (w *Watcher) ServiceUID(service types.NamespacedName) types.UID {
	object, ok, err := w.services.GetStore().GetByKey(service.String())
	if found, is := object.(*corev1.Service); err == nil && ok && is {
		return found.UID
	}
	return ""
}
