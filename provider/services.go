// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	servicehelpers "k8s.io/cloud-provider/service/helpers"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// services is the Service informer that the stock service controller is given. It stands before the real one and
//
//  1. presents Services of our class as class-less, so that the stock controller serves them;
//  2. hides Services of other classes wholly, since the stock controller would strip their finalizers, and class-less
//     ones when we are told not to serve them;
//  3. reports HasSynced only when the provider is ready, so that no Service is served before the seeding;
//  4. re-queues a Service at once when something changed that the stock controller does not look at, but for labels of a
//     Service that holds addresses: those rest, with pools, before they take anything away (poolsRest);
//  5. presents only our own annotations, so that other people's never cause a sync.
//
// The stock controller resets spec in its patches and computes them from what it was shown, so nothing of this view
// ever reaches the API server.
type services struct {
	coreinformers.ServiceInformer
	class          string
	serveClassless bool
	owner          serviceOwner

	mu       sync.Mutex
	handlers []cache.ResourceEventHandler
	seen     map[types.UID]bool      // whether Services were ours when they were last LoadBalancers
	waiting  map[types.UID]time.Time // since when Services of ours have had no address yet
}

// serviceOwner is what the view needs to know of the provider.
type serviceOwner interface {
	ready() bool
	knows(uid types.UID) bool
	// recorded is the status that the Service should have; nil when there is nothing to compare with.
	recorded(svc *v1.Service) *v1.LoadBalancerStatus
	// judgeAfterRest takes it upon itself to judge a Service by its new labels, unless it has nothing to lose.
	judgeAfterRest(uid types.UID) bool
	release(svc *v1.Service)
	// served is told how long a Service has waited for its first address.
	served(wait time.Duration)
}

func newServices(real coreinformers.ServiceInformer, class string, serveClassless bool, owner serviceOwner) *services {
	return &services{ServiceInformer: real, class: class, serveClassless: serveClassless, owner: owner,
		seen: map[types.UID]bool{}, waiting: map[types.UID]time.Time{}}
}

// enqueue makes the stock controller look at a Service now, whatever back-off it is in.
func (s *services) enqueue(namespace, name string) {
	if svc, err := s.ServiceInformer.Lister().Services(namespace).Get(name); err == nil {
		if shown, ok := s.show(svc); ok {
			s.each(func(h cache.ResourceEventHandler) { h.OnAdd(shown, false) })
		}
	}
}

func (s *services) each(call func(cache.ResourceEventHandler)) {
	s.mu.Lock()
	handlers := slices.Clone(s.handlers)
	s.mu.Unlock()
	for _, handler := range handlers {
		call(handler)
	}
}

// ours tells whether a Service wants an address from us.
func (s *services) ours(svc *v1.Service) bool {
	return svc.Spec.Type == v1.ServiceTypeLoadBalancer && s.isOurClass(svc.Spec.LoadBalancerClass)
}

// mayHold tells whether a Service is still there, and wants what it holds or has it cleaned up by us.
func (s *services) mayHold(svc *v1.Service) bool {
	cached, err := s.ServiceInformer.Lister().Services(svc.Namespace).Get(svc.Name)
	return err == nil && cached.UID == svc.UID && (s.ours(cached) || servicehelpers.HasLBFinalizer(cached))
}

func (s *services) isOurClass(class *string) bool {
	if class == nil {
		return s.serveClassless
	}
	return s.class != "" && *class == s.class
}

// show is how the stock controller sees a Service, if it does.
func (s *services) show(svc *v1.Service) (*v1.Service, bool) {
	if !s.visible(svc) {
		return nil, false
	}
	shown := *svc
	shown.Spec.LoadBalancerClass = nil
	shown.Annotations = only(svc.Annotations, translate.Annotations...)
	return &shown, true
}

// visible remembers whose a Service was: the API server wipes the class when the type changes, and the finalizer that
// is then left is for the controller that put it there. What a former process knew is read from who owns the field.
func (s *services) visible(svc *v1.Service) bool {
	if svc.Spec.Type == v1.ServiceTypeLoadBalancer {
		ours := s.isOurClass(svc.Spec.LoadBalancerClass)
		s.mu.Lock()
		s.seen[svc.UID] = ours
		s.mu.Unlock()
		return ours
	}
	if !servicehelpers.HasLBFinalizer(svc) {
		return true
	}
	s.mu.Lock()
	ours, seen := s.seen[svc.UID]
	s.mu.Unlock()
	if seen {
		return ours
	}
	return s.serveClassless || s.owner.knows(svc.UID) || len(finalizedByUs(svc.ManagedFields)) > 0
}

// Informer is the real informer with our handlers and HasSynced.
func (s *services) Informer() cache.SharedIndexInformer {
	return &servicesInformer{SharedIndexInformer: s.ServiceInformer.Informer(), services: s}
}

// Lister lists what the stock controller sees.
func (s *services) Lister() corelisters.ServiceLister {
	return &servicesLister{ServiceLister: s.ServiceInformer.Lister(), services: s}
}

type servicesInformer struct {
	cache.SharedIndexInformer
	services *services
}

func (i *servicesInformer) HasSynced() bool {
	return i.SharedIndexInformer.HasSynced() && i.services.owner.ready()
}

func (i *servicesInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

func (i *servicesInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

// AddEventHandlerWithOptions ignores the resync period: the stock controller's resync of every 30 s shows it each
// Service unchanged, and does nothing.
func (i *servicesInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	i.services.mu.Lock()
	i.services.handlers = append(i.services.handlers, handler)
	i.services.mu.Unlock()
	never := time.Duration(0)
	options.ResyncPeriod = &never
	return i.SharedIndexInformer.AddEventHandlerWithOptions(&servicesHandler{handler: handler, services: i.services}, options)
}

// servicesHandler passes on what the stock controller may see.
type servicesHandler struct {
	handler  cache.ResourceEventHandler
	services *services
}

func (h *servicesHandler) OnAdd(obj any, isInInitialList bool) {
	h.services.timeFirst(nil, obj.(*v1.Service), isInInitialList)
	if shown, ok := h.services.show(obj.(*v1.Service)); ok {
		h.handler.OnAdd(shown, isInInitialList)
	}
}

func (h *servicesHandler) OnUpdate(oldObj, newObj any) {
	former, current := oldObj.(*v1.Service), newObj.(*v1.Service)
	h.services.timeFirst(former, current, false)
	shownFormer, wasVisible := h.services.show(former)
	shownCurrent, isVisible := h.services.show(current)
	switch {
	case wasVisible && isVisible:
		h.handler.OnUpdate(shownFormer, shownCurrent)
		if h.services.missed(former, current) {
			h.handler.OnAdd(shownCurrent, false)
		}
	case isVisible:
		h.handler.OnAdd(shownCurrent, false)
	case wasVisible:
		h.handler.OnAdd(shownFormer, false)
	}
	if former.UID != current.UID {
		h.services.forget(former)
	}
}

// OnDelete hands back what a Service held that vanished without its finalizer being removed by us: the stock
// controller does not look at deletions.
func (h *servicesHandler) OnDelete(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	svc, ok := obj.(*v1.Service)
	if !ok {
		return
	}
	if shown, visible := h.services.show(svc); visible && h.services.owner.knows(svc.UID) {
		h.handler.OnAdd(shown, false)
	}
	h.services.forget(svc)
}

func (s *services) forget(svc *v1.Service) {
	s.mu.Lock()
	delete(s.seen, svc.UID)
	delete(s.waiting, svc.UID)
	s.mu.Unlock()
	s.owner.release(svc)
}

// timeFirst measures how long Services wait for their first address: from when we heard that one wants it until we hear that
// its status names it, both by our clock. For those that waited before we listened, it is from their creation.
func (s *services) timeFirst(former, current *v1.Service, before bool) {
	s.mu.Lock()
	since, waits := s.waiting[current.UID]
	switch ours, has := s.ours(current), len(current.Status.LoadBalancer.Ingress) > 0; {
	case waits && (has || !ours):
		delete(s.waiting, current.UID)
		waits = has && ours
	case waits || !ours || has || former != nil && former.UID == current.UID && s.ours(former):
		waits = false
	case before:
		s.waiting[current.UID] = current.CreationTimestamp.Time
	default:
		s.waiting[current.UID] = time.Now()
	}
	s.mu.Unlock()
	if waits {
		s.owner.served(time.Since(since))
	}
}

// missed tells whether something changed that matters to us and that the stock controller does not look at.
func (s *services) missed(former, current *v1.Service) bool {
	if !s.ours(current) {
		return false
	}
	if !maps.Equal(former.Labels, current.Labels) && !s.owner.judgeAfterRest(current.UID) {
		return true
	}
	if !maps.Equal(former.Spec.Selector, current.Spec.Selector) ||
		!apiequality.Semantic.DeepEqual(former.Spec.IPFamilyPolicy, current.Spec.IPFamilyPolicy) {
		return true
	}
	if servicehelpers.LoadBalancerStatusEqual(&former.Status.LoadBalancer, &current.Status.LoadBalancer) {
		return false
	}
	recorded := s.owner.recorded(current)
	return recorded != nil && !servicehelpers.LoadBalancerStatusEqual(recorded, &current.Status.LoadBalancer)
}

type servicesLister struct {
	corelisters.ServiceLister
	services *services
}

func (l *servicesLister) List(selector labels.Selector) ([]*v1.Service, error) {
	all, err := l.ServiceLister.List(selector)
	return l.services.showAll(all), err
}

func (l *servicesLister) Services(namespace string) corelisters.ServiceNamespaceLister {
	return &namespaceLister{ServiceNamespaceLister: l.ServiceLister.Services(namespace), services: l.services}
}

type namespaceLister struct {
	corelisters.ServiceNamespaceLister
	services *services
}

func (l *namespaceLister) List(selector labels.Selector) ([]*v1.Service, error) {
	all, err := l.ServiceNamespaceLister.List(selector)
	return l.services.showAll(all), err
}

func (l *namespaceLister) Get(name string) (*v1.Service, error) {
	svc, err := l.ServiceNamespaceLister.Get(name)
	if err != nil {
		return nil, err
	}
	shown, ok := l.services.show(svc)
	if !ok {
		return nil, apierrors.NewNotFound(v1.Resource("services"), name)
	}
	return shown, nil
}

func (s *services) showAll(all []*v1.Service) []*v1.Service {
	var visible []*v1.Service
	for _, svc := range all {
		if shown, ok := s.show(svc); ok {
			visible = append(visible, shown)
		}
	}
	return visible
}
