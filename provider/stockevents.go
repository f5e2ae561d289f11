// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// Reasons of our own events. They are MetalLB's where the meaning is the same.
const (
	reasonAllocated = "IPAllocated"
	reasonFailed    = "AllocationFailed"
	reasonCleared   = "ClearAssignment"
	reasonOverlap   = "Overlap"
	reasonInvalid   = "Invalid"
	reasonOverdue   = "WithdrawalOverdue"

	eventComponent = "metallb-controller"
)

// Reasons of the stock controller's events that eventFilter looks at.
const (
	stockEnsuring = "EnsuringLoadBalancer"
	stockEnsured  = "EnsuredLoadBalancer"
	stockFailed   = "SyncLoadBalancerFailed"
	stockNoNodes  = "UnAvailableLoadBalancer"
)

// newRecorder records events on Services, pools and Leases, through a client of their own.
func newRecorder(broadcaster record.EventBroadcaster, kube kubernetes.Interface) record.EventRecorder {
	kinds := runtime.NewScheme()
	utilruntime.Must(v1.AddToScheme(kinds))
	utilruntime.Must(coordinationv1.AddToScheme(kinds))
	utilruntime.Must(v1beta1.AddToScheme(kinds))
	broadcaster.StartRecordingToSink(&corev1.EventSinkImpl{Interface: kube.CoreV1().Events("")})
	return broadcaster.NewRecorder(kinds, v1.EventSource{Component: eventComponent})
}

// changes remembers, for every Service, what users have been told last. The stock controller writes an event for every
// sync, also one that comes to nothing; without this memory each restart would write two events per Service, and each
// retry two more. mu guards all.
type changes struct {
	mu   sync.Mutex
	told map[types.UID]*told
}

type told struct {
	assigned     string
	failure      string
	stockFailure string
	ensured      bool // the stock controller's next EnsuredLoadBalancer is news
}

func newChanges() *changes { return &changes{told: map[types.UID]*told{}} }

func (c *changes) of(uid types.UID) *told {
	if c.told[uid] == nil {
		c.told[uid] = &told{}
	}
	return c.told[uid]
}

// tellAssigned and tellFailure say whether that is news.
func (c *changes) tellAssigned(uid types.UID, addrs string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(uid)
	news := t.assigned != addrs
	t.assigned = addrs
	return news
}

func (c *changes) tellFailure(uid types.UID, failure string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(uid)
	news := t.failure != failure
	t.failure = failure
	return news
}

// succeeded is called when a Service has all it asks for. For one that failed before, IPAllocated says all there is.
func (c *changes) succeeded(uid types.UID, differs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(uid)
	t.ensured = t.ensured || differs && t.failure == ""
	t.failure, t.stockFailure = "", ""
}

func (c *changes) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.told, uid)
}

// news tells whether an event of the stock controller says something that users do not know.
func (c *changes) news(event *v1.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch event.Reason {
	case stockEnsuring:
		return false // how it ended is told in a moment
	case stockNoNodes:
		return false // an address needs no node: the speakers tell who announces it
	case stockEnsured:
		t := c.of(event.InvolvedObject.UID)
		news := t.ensured
		t.ensured = false
		return news
	case stockFailed:
		t := c.of(event.InvolvedObject.UID)
		news := t.stockFailure != event.Message
		t.stockFailure = event.Message
		return news
	}
	return true
}

// stockClient is the client that the stock controller gets: its events go through a client of their own, and through
// the filter.
type stockClient struct {
	kubernetes.Interface
	events  kubernetes.Interface
	changes *changes
}

func (c *stockClient) CoreV1() corev1.CoreV1Interface {
	return &stockCore{CoreV1Interface: c.Interface.CoreV1(), client: c}
}

type stockCore struct {
	corev1.CoreV1Interface
	client *stockClient
}

func (c *stockCore) Events(namespace string) corev1.EventInterface {
	return &eventFilter{EventInterface: c.client.events.CoreV1().Events(namespace), changes: c.client.changes}
}

// eventFilter drops what is no news, and lets the caller believe that it was written.
type eventFilter struct {
	corev1.EventInterface
	changes *changes
}

func (f *eventFilter) CreateWithEventNamespace(event *v1.Event) (*v1.Event, error) {
	return f.CreateWithEventNamespaceWithContext(context.Background(), event)
}

func (f *eventFilter) CreateWithEventNamespaceWithContext(ctx context.Context, event *v1.Event) (*v1.Event, error) {
	if !f.changes.news(event) {
		return event, nil
	}
	return f.EventInterface.CreateWithEventNamespaceWithContext(ctx, event)
}

func (f *eventFilter) PatchWithEventNamespace(event *v1.Event, data []byte) (*v1.Event, error) {
	return f.PatchWithEventNamespaceWithContext(context.Background(), event, data)
}

// PatchWithEventNamespaceWithContext creates the event when the first of its series was dropped.
func (f *eventFilter) PatchWithEventNamespaceWithContext(ctx context.Context, event *v1.Event, data []byte) (*v1.Event, error) {
	if !f.changes.news(event) {
		return event, nil
	}
	written, err := f.EventInterface.PatchWithEventNamespaceWithContext(ctx, event, data)
	if apierrors.IsNotFound(err) {
		event.ResourceVersion = ""
		return f.EventInterface.CreateWithEventNamespaceWithContext(ctx, event)
	}
	return written, err
}
