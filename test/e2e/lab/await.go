// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// view is what a wait looks at: one kind in one namespace, or one object of it.
type view[T runtime.Object] struct {
	client    cache.Getter
	resource  string
	namespace string
	selector  fields.Set // empty: all of them
	empty     T
}

// named selects the object of a name.
func named(name string) fields.Set { return fields.Set{"metadata.name": name} }

// await watches until judge is content with all objects in view, and else says what it last found missing.
func await[T runtime.Object](ctx context.Context, v view[T], what string, judge func([]T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := cache.NewSharedInformer(cache.NewListWatchFromClient(v.client, v.resource, v.namespace, v.selector.AsSelector()), v.empty, 0)
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return err
	}
	finished := make(chan struct{})
	go func() { defer close(finished); informer.RunWithContext(ctx) }()
	defer func() { cancel(); <-finished }()
	if !cache.WaitFor(ctx, "", registration.HasSyncedChecker()) {
		return fmt.Errorf("waiting for %s: the API server did not list %s: %w", what, v.resource, context.Cause(ctx))
	}
	for {
		var all []T
		for _, o := range informer.GetStore().List() {
			all = append(all, o.(T))
		}
		missing := judge(all)
		if missing == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%w)", what, missing, context.Cause(ctx))
		}
	}
}

// AwaitService waits until judge is content with a Service. Its errors say what is missing.
func (c *Cluster) AwaitService(ctx context.Context, namespace, name, what string, judge func(*corev1.Service) error) error {
	v := view[*corev1.Service]{c.API.CoreV1().RESTClient(), "services", namespace, named(name), &corev1.Service{}}
	return await(ctx, v, fmt.Sprintf("Service %s/%s %s", namespace, name, what), func(all []*corev1.Service) error {
		if len(all) == 0 {
			return errors.New("there is no such Service")
		}
		return judge(all[0])
	})
}

// AwaitAddress waits until a Service has an external address and returns it.
func (c *Cluster) AwaitAddress(ctx context.Context, namespace, name string) (netip.Addr, error) {
	var addr netip.Addr
	err := c.AwaitService(ctx, namespace, name, "to get an address", func(s *corev1.Service) error {
		addrs := Addresses(s)
		if len(addrs) == 0 {
			return errors.New("it has none")
		}
		addr = addrs[0]
		return nil
	})
	return addr, err
}

// Addresses are the external addresses in a Service's status.
func Addresses(s *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// AwaitHolder waits until the VIP's Lease names a node that is accepted, and returns it.
func (c *Cluster) AwaitHolder(ctx context.Context, vip netip.Addr, accept func(node string) bool) (string, error) {
	v := view[*coordinationv1.Lease]{c.API.CoordinationV1().RESTClient(), "leases", Namespace, named(names.VIPLease(vip)), &coordinationv1.Lease{}}
	var holder string
	err := await(ctx, v, fmt.Sprintf("the holder of %s", vip), func(all []*coordinationv1.Lease) error {
		if len(all) == 0 {
			return fmt.Errorf("there is no Lease %s", names.VIPLease(vip))
		}
		if id := all[0].Spec.HolderIdentity; id != nil {
			holder = *id
		}
		if holder == "" || !accept(holder) {
			return fmt.Errorf("the Lease names %q", holder)
		}
		return nil
	})
	return holder, err
}

// MovedAt is when a VIP's Lease was last taken, by the clock of this computer, which all nodes share.
func (c *Cluster) MovedAt(ctx context.Context, vip netip.Addr) (time.Time, error) {
	lease, err := c.API.CoordinationV1().Leases(Namespace).Get(ctx, names.VIPLease(vip), metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	if lease.Spec.AcquireTime == nil {
		return time.Time{}, fmt.Errorf("the Lease of %s does not say when it was taken", vip)
	}
	return lease.Spec.AcquireTime.Time, nil
}

// AwaitNoLease waits until nobody holds a VIP any more, by the record.
func (c *Cluster) AwaitNoLease(ctx context.Context, vip netip.Addr) error {
	v := view[*coordinationv1.Lease]{c.API.CoordinationV1().RESTClient(), "leases", Namespace, named(names.VIPLease(vip)), &coordinationv1.Lease{}}
	return await(ctx, v, fmt.Sprintf("the Lease of %s to go", vip), func(all []*coordinationv1.Lease) error {
		for _, l := range all {
			if id := l.Spec.HolderIdentity; id != nil && *id != "" {
				return fmt.Errorf("it names %s", *id)
			}
		}
		return nil
	})
}

// Anybody accepts every holder.
func Anybody(string) bool { return true }

// AnybodyBut accepts every other holder.
func AnybodyBut(nodes ...string) func(string) bool {
	return func(node string) bool { return !slices.Contains(nodes, node) }
}

// AwaitEvent waits for an event with the reason on the named object, and returns it.
func (c *Cluster) AwaitEvent(ctx context.Context, namespace, object, reason string, accept func(corev1.Event) bool) (corev1.Event, error) {
	v := view[*corev1.Event]{c.API.CoreV1().RESTClient(), "events", namespace, fields.Set{"involvedObject.name": object}, &corev1.Event{}}
	var found corev1.Event
	err := await(ctx, v, fmt.Sprintf("event %s on %s/%s", reason, namespace, object), func(all []*corev1.Event) error {
		var others []string
		for _, e := range all {
			if e.Reason == reason && accept(*e) {
				found = *e
				return nil
			}
			others = append(others, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("its events are %q", others)
	})
	return found, err
}

// AwaitPods waits until judge is content with the live pods whose label app has the value.
func (c *Cluster) AwaitPods(ctx context.Context, namespace, app, what string, judge func([]*corev1.Pod) error) error {
	v := view[*corev1.Pod]{c.API.CoreV1().RESTClient(), "pods", namespace, nil, &corev1.Pod{}}
	return await(ctx, v, fmt.Sprintf("pods of %s/%s %s", namespace, app, what), func(all []*corev1.Pod) error {
		var those []*corev1.Pod
		for _, p := range all {
			if p.Labels["app"] == app {
				those = append(those, p)
			}
		}
		return judge(those)
	})
}

// AwaitCalm waits for the state in which every test begins: all nodes ready and schedulable, the product's pods ready and up to
// date, and every speaker's session renewed after the call.
func (c *Cluster) AwaitCalm(ctx context.Context) error { return c.AwaitCalmSince(ctx, time.Now()) }

// AwaitCalmSince is content with sessions that were renewed after a time, which may be a moment ago.
func (c *Cluster) AwaitCalmSince(ctx context.Context, since time.Time) error {
	nodes := 0
	err := await(ctx, view[*corev1.Node]{c.API.CoreV1().RESTClient(), "nodes", "", nil, &corev1.Node{}}, "all nodes to be ready", func(all []*corev1.Node) error {
		nodes = len(all)
		for _, n := range all {
			if why := notReady(n); why != "" {
				return fmt.Errorf("%s is %s", n.Name, why)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	apps := c.API.AppsV1().RESTClient()
	err = await(ctx, view[*appsv1.DaemonSet]{apps, "daemonsets", Namespace, named("speaker"), &appsv1.DaemonSet{}}, "DaemonSet speaker", func(all []*appsv1.DaemonSet) error {
		if len(all) == 0 {
			return errors.New("there is none")
		}
		s, want := all[0].Status, int32(nodes)
		if s.ObservedGeneration != all[0].Generation || s.NumberReady != want || s.UpdatedNumberScheduled != want {
			return fmt.Errorf("%d of %d ready, %d up to date", s.NumberReady, want, s.UpdatedNumberScheduled)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = await(ctx, view[*appsv1.Deployment]{apps, "deployments", Namespace, named("controller"), &appsv1.Deployment{}}, "Deployment controller", func(all []*appsv1.Deployment) error {
		if len(all) == 0 {
			return errors.New("there is none")
		}
		s, want := all[0].Status, *all[0].Spec.Replicas
		if s.ObservedGeneration != all[0].Generation || s.ReadyReplicas != want || s.UpdatedReplicas != want || s.Replicas != want {
			return fmt.Errorf("%d of %d ready, %d up to date, %d in all", s.ReadyReplicas, want, s.UpdatedReplicas, s.Replicas)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.awaitSessions(ctx, nodes, since)
}

func notReady(n *corev1.Node) string {
	if n.Spec.Unschedulable {
		return "cordoned"
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "not ready"
}

// awaitSessions believes the time of a renewal: it is by the clock of this computer, which all nodes share.
func (c *Cluster) awaitSessions(ctx context.Context, nodes int, since time.Time) error {
	v := view[*coordinationv1.Lease]{c.API.CoordinationV1().RESTClient(), "leases", Namespace, nil, &coordinationv1.Lease{}}
	return await(ctx, v, "every speaker to renew its session", func(all []*coordinationv1.Lease) error {
		var renewed, waiting []string
		for _, l := range all {
			node, ok := names.ParseSessionLease(l.Name)
			if !ok {
				continue
			}
			if id := l.Spec.HolderIdentity; id != nil && *id != "" && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(since) {
				renewed = append(renewed, node)
			} else {
				waiting = append(waiting, node)
			}
		}
		if len(renewed) < nodes || len(waiting) > 0 {
			return fmt.Errorf("renewed by [%s] of %d, not by [%s]", strings.Join(renewed, " "), nodes, strings.Join(waiting, " "))
		}
		return nil
	})
}
