// SPDX-License-Identifier: Apache-2.0

// Package cluster keeps the cluster's state as l2/plan wants it, from watches, and computes the plan anew when
// something that matters to it has changed. It decides nothing itself and writes nothing.
//
// Watcher is for speakers, who know themselves who has a session (cluster.go, matters.go). Reporter is for the controller, which tells users which
// VIPs no node may announce, and what L2Advertisements match (reporter.go, sessions.go); Refusals says when to tell (refusals.go). What they keep in memory is
// what the plan reads (trim.go), for there is a copy of it on every node.
package cluster

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
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

// A change is planned for at once; changes that follow wait together until the next plan. However many there are, planning takes no
// more than a twentieth of a core, unless it takes very long: on a busy machine nobody should wait for seconds. What follows from a
// plan costs as much again, and a thousand new Services change it a thousand times.
const (
	restFactor = 19
	leastRest  = 10 * time.Millisecond
	mostRest   = 500 * time.Millisecond
)

// Watcher computes plans. Its methods may be called from any goroutine.
type Watcher struct {
	selection Selection
	publish   func(map[netip.Addr]plan.VIP)
	dirty     chan struct{}
	speakers  chan map[string]plan.Speaker
	rest      func(planning time.Duration) time.Duration

	// shared is run by somebody else.
	shared                                         cache.SharedIndexInformer
	services, slices, nodes, pools, advertisements cache.SharedIndexInformer
}

// NewWatcher returns a Watcher of the Services, EndpointSlices and Nodes of the cluster and of the pools and
// advertisements in a namespace. It calls publish, from one goroutine, with each new plan; the map is not touched
// afterwards.
func NewWatcher(kube kubernetes.Interface, custom client.Interface, namespace string, selection Selection, publish func(map[netip.Addr]plan.VIP)) (*Watcher, error) {
	return newWatcher(kube, custom, namespace, selection, nil, publish)
}

// newWatcher returns a Watcher that has its Services from a cache which somebody else keeps, if there is one.
func newWatcher(kube kubernetes.Interface, custom client.Interface, namespace string, selection Selection, shared cache.SharedIndexInformer,
	publish func(map[netip.Addr]plan.VIP)) (*Watcher, error) {
	watch := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(trim), informers.WithTweakListOptions(tweak))
	}
	w := &Watcher{
		selection:      selection,
		publish:        publish,
		dirty:          make(chan struct{}, 1),
		speakers:       make(chan map[string]plan.Speaker, 1),
		rest:           restAfter,
		shared:         shared,
		services:       shared,
		slices:         watch(noHeadless).Discovery().V1().EndpointSlices().Informer(),
		nodes:          watch(func(*metav1.ListOptions) {}).Core().V1().Nodes().Informer(),
		pools:          client.NewIPAddressPoolInformer(custom, namespace, 0),
		advertisements: client.NewL2AdvertisementInformer(custom, namespace, 0),
	}
	if shared == nil {
		w.services = watch(onlyLoadBalancers).Core().V1().Services().Informer()
	}
	for _, informer := range []cache.SharedIndexInformer{w.pools, w.advertisements} {
		if err := informer.SetTransform(trim); err != nil {
			return nil, err
		}
	}
	for _, informer := range w.informers() {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { w.changed(nil, object) },
			UpdateFunc: w.changed,
			DeleteFunc: func(object any) { w.changed(object, nil) },
		}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// onlyLoadBalancers leaves Services of other types to the API server, which can choose by type from Kubernetes 1.31 on.
func onlyLoadBalancers(options *metav1.ListOptions) {
	options.FieldSelector = fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String()
}

// noHeadless leaves out EndpointSlices of headless Services, which have no VIP; their controller labels them.
func noHeadless(options *metav1.ListOptions) { options.LabelSelector = "!" + corev1.IsHeadlessService }

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

// Run watches until the context is done, and returns when nothing of it goes on.
func (w *Watcher) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for _, informer := range w.informers() {
		if informer != w.shared {
			running.Go(func() { informer.RunWithContext(ctx) })
		}
	}
	for _, informer := range w.informers() {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return nil // stopped
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
		if !pause(ctx, w.rest(time.Since(began))) {
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

// changed asks for a new plan when a change can matter to it; an object that was not there before, or no longer is, is nil.
func (w *Watcher) changed(old, new any) {
	if old != nil && new != nil && sameButVersion(old, new) || !w.concerns(old) && !w.concerns(new) {
		return
	}
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

// restAfter is how long to rest after planning took so long.
func restAfter(planning time.Duration) time.Duration {
	return min(max(restFactor*planning, leastRest), mostRest)
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
	return w.service(service).UID
}

// ServiceCreated is when a Service was created, by the API server's clock and in whole seconds, or zero when it is gone.
func (w *Watcher) ServiceCreated(service types.NamespacedName) time.Time {
	return w.service(service).CreationTimestamp.Time
}

// service is what is kept of a Service; that of one that is gone is empty.
func (w *Watcher) service(name types.NamespacedName) *corev1.Service {
	object, ok, err := w.services.GetStore().GetByKey(name.String())
	if found, is := object.(*corev1.Service); err == nil && ok && is {
		return found
	}
	return &corev1.Service{}
}
