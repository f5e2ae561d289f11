// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Reasons of the stock controller's events that eventFilter looks at.
const (
	stockEnsuring = "EnsuringLoadBalancer"
	stockEnsured  = "EnsuredLoadBalancer"
	stockFailed   = "SyncLoadBalancerFailed"
	stockNoNodes  = "UnAvailableLoadBalancer"
)

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
	waiting      time.Time
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

// patience is how long a Service that finds no address may go on waiting without a word, since it first found none. It is 0 when
// users know already that it waits.
func (c *changes) patience(uid types.UID, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(uid)
	if t.failure != "" {
		return 0
	}
	if t.waiting.IsZero() {
		t.waiting = now
	}
	return max(0, withdrawalPatience-now.Sub(t.waiting))
}

// succeeded is called when a Service has all it asks for. For one that failed before, IPAllocated says all there is.
func (c *changes) succeeded(uid types.UID, differs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(uid)
	t.ensured = t.ensured || differs && t.failure == ""
	t.failure, t.stockFailure, t.waiting = "", "", time.Time{}
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

// stockClient is the client that the stock controller gets: its events go through the filter and the queue.
type stockClient struct {
	kubernetes.Interface
	events  *eventQueue
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
	return &eventFilter{EventInterface: c.CoreV1Interface.Events(namespace), queue: c.client.events, changes: c.client.changes}
}

// eventFilter drops what is no news, and lets the caller believe that it was written; so is what waits in the queue.
type eventFilter struct {
	corev1.EventInterface
	queue   *eventQueue
	changes *changes
}

func (f *eventFilter) CreateWithEventNamespace(event *v1.Event) (*v1.Event, error) {
	return f.pass(event, nil)
}

func (f *eventFilter) CreateWithEventNamespaceWithContext(_ context.Context, event *v1.Event) (*v1.Event, error) {
	return f.pass(event, nil)
}

func (f *eventFilter) PatchWithEventNamespace(event *v1.Event, patch []byte) (*v1.Event, error) {
	return f.pass(event, patch)
}

func (f *eventFilter) PatchWithEventNamespaceWithContext(_ context.Context, event *v1.Event, patch []byte) (*v1.Event, error) {
	return f.pass(event, patch)
}

func (f *eventFilter) pass(event *v1.Event, patch []byte) (*v1.Event, error) {
	if !f.changes.news(event) {
		return event, nil
	}
	return f.queue.add(event, patch)
}
