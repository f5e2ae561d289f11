// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

// pageSize is how many objects one request asks for.
const pageSize = 500

// Names of what is read, as Unread has them.
const (
	Services       = "services"
	EndpointSlices = "endpointslices"
	Nodes          = "nodes"
	Namespaces     = "namespaces"
	Pools          = "ipaddresspools"
	Advertisements = "l2advertisements"
	Leases         = "leases"
	Events         = "events"
	Pods           = "pods"
	DaemonSets     = "daemonsets"
	Deployments    = "deployments"
	Webhooks       = "validatingwebhookconfigurations"
	ConfigMaps     = "configmaps in kube-system"
	ServiceRanges  = "servicecidrs"
	Foreign        = "objects of metallb.io and frrk8s.metallb.io that are not supported"
	Discovery      = "the resources that the API server serves"
	SystemPods     = "pods in kube-system"
	Speakers       = "pods/exec on speakers"
	CloudConfig    = "the controller's --cloud-config"
	Renewals       = "renewals of sessions"
)

// Collector takes snapshots. It is used by one goroutine at a time.
type Collector struct {
	Kube     kubernetes.Interface
	Custom   client.Interface
	Metadata metadata.Interface
	// Exec runs a command in a speaker's container; nil when speakers are not to be asked.
	Exec Executor
	// Namespace of the product.
	Namespace string

	mu       sync.Mutex // guards what follows, while several things are read at once
	snapshot *Snapshot
}

// Basic reads what `status` and `explain` need. It fails only when the API server cannot be reached at all.
func (c *Collector) Basic(ctx context.Context) (*Snapshot, error) {
	c.snapshot = &Snapshot{Taken: time.Now(), Namespace: c.Namespace}
	version, err := c.Kube.Discovery().ServerVersion()
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
		return nil, fmt.Errorf("asking the API server for its version: %w", err)
	}
	if err == nil {
		c.snapshot.Version = version.GitVersion
	}
	s := c.snapshot
	kube := c.Kube
	c.each(
		func() { s.Services = read(ctx, c, Services, items[corev1.Service](kube.CoreV1().Services("").List)) },
		func() {
			s.EndpointSlices = read(ctx, c, EndpointSlices, items[discoveryv1.EndpointSlice](kube.DiscoveryV1().EndpointSlices("").List))
		},
		func() { s.Nodes = read(ctx, c, Nodes, items[corev1.Node](kube.CoreV1().Nodes().List)) },
		func() {
			s.Namespaces = read(ctx, c, Namespaces, items[corev1.Namespace](kube.CoreV1().Namespaces().List))
		},
		func() {
			s.Pools = read(ctx, c, Pools, items[v1beta1.IPAddressPool](c.Custom.IPAddressPools(c.Namespace).List))
		},
		func() {
			s.Advertisements = read(ctx, c, Advertisements, items[v1beta1.L2Advertisement](c.Custom.L2Advertisements(c.Namespace).List))
		},
		func() {
			s.Leases = read(ctx, c, Leases, items[coordinationv1.Lease](kube.CoordinationV1().Leases(c.Namespace).List))
		},
		func() { s.Pods = read(ctx, c, Pods, items[corev1.Pod](kube.CoreV1().Pods(c.Namespace).List)) },
		func() {
			s.DaemonSets = read(ctx, c, DaemonSets, items[appsv1.DaemonSet](kube.AppsV1().DaemonSets("").List))
		},
		func() {
			s.Deployments = read(ctx, c, Deployments, items[appsv1.Deployment](kube.AppsV1().Deployments("").List))
		},
	)
	c.cloudConfig(ctx)
	return s, nil
}

// cloudConfig reads the file of the controller's --cloud-config.
func (c *Collector) cloudConfig(ctx context.Context) {
	name, key, found := c.snapshot.cloudConfig()
	switch {
	case !found:
	case name == "":
		c.unread(CloudConfig, errors.New("the file is of no ConfigMap"))
	default:
		object, err := c.Kube.CoreV1().ConfigMaps(c.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			c.unread(CloudConfig, err)
			return
		}
		c.snapshot.CloudConfig = object.Data[key]
	}
}

// Rest reads what only `doctor` needs, after Basic: it asks the speakers too, and watches their sessions.
func (c *Collector) Rest(ctx context.Context) {
	s := c.snapshot
	c.each(
		func() { c.AskSpeakers(ctx) },
		func() { c.WatchSessions(ctx) },
		func() {
			s.Webhooks = read(ctx, c, Webhooks, items[admissionv1.ValidatingWebhookConfiguration](c.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List))
		},
		func() { c.configMaps(ctx, "kube-system/kube-proxy", "kube-system/cilium-config") },
		func() { c.serviceRanges(ctx) },
		func() { c.systemPods(ctx) },
		func() { c.served(ctx) },
	)
}

// ServiceEvents reads the events on one Service, after Basic.
func (c *Collector) ServiceEvents(ctx context.Context, namespace, name string) {
	s := c.snapshot
	selector := "involvedObject.kind=Service,involvedObject.name=" + name
	s.Events = read(ctx, c, Events, func(ctx context.Context, options metav1.ListOptions) ([]*corev1.Event, string, error) {
		options.FieldSelector = selector
		return items[corev1.Event](c.Kube.CoreV1().Events(namespace).List)(ctx, options)
	})
	slices.SortFunc(s.Events, func(a, b *corev1.Event) int { return LastSeen(a).Compare(LastSeen(b)) })
}

// LastSeen is when an event last happened.
func LastSeen(event *corev1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	}
	return event.CreationTimestamp.Time
}

// each does several things at once and returns when all are done.
func (c *Collector) each(parts ...func()) {
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(part)
	}
	all.Wait()
}

func (c *Collector) unread(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot.Unread = append(c.snapshot.Unread, Unread{what, err.Error()})
	slices.SortFunc(c.snapshot.Unread, func(a, b Unread) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why)) })
}

// page lists one page of objects and says how to go on.
type page[T any] func(ctx context.Context, options metav1.ListOptions) (objects []*T, next string, err error)

// read reads all pages. When one cannot be read, what is there is not told from what is not: nothing is returned.
func read[T any](ctx context.Context, c *Collector, what string, list page[T]) []*T {
	for {
		all, err := pages(ctx, list)
		switch {
		case apierrors.IsResourceExpired(err):
			continue // it took too long: begin again
		case err != nil:
			c.unread(what, err)
			return nil
		}
		return all
	}
}

func pages[T any](ctx context.Context, list page[T]) (all []*T, err error) {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		objects, next, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
		if next == "" {
			return all, nil
		}
		options.Continue = next
	}
}

func (c *Collector) configMaps(ctx context.Context, keys ...string) {
	found := map[string]*corev1.ConfigMap{}
	for _, key := range keys {
		namespace, name, _ := strings.Cut(key, "/")
		object, err := c.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			found[key] = object
		case !apierrors.IsNotFound(err):
			c.unread(ConfigMaps, err)
		}
	}
	c.snapshot.ConfigMaps = found
}

// systemPods reads the pods in kube-system. Most of what is looked for there has an object in the API: without the right nothing is said.
func (c *Collector) systemPods(ctx context.Context) {
	pods, err := pages(ctx, items[corev1.Pod](c.Kube.CoreV1().Pods(metav1.NamespaceSystem).List))
	switch {
	case err == nil:
		c.snapshot.SystemPods = pods
	case !apierrors.IsForbidden(err):
		c.unread(SystemPods, err)
	}
}

// serviceRanges reads the ServiceCIDRs, which Kubernetes serves from 1.33 on; before, they are not known, and that is no complaint.
func (c *Collector) serviceRanges(ctx context.Context) {
	list, err := c.Kube.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		c.unread(ServiceRanges, err)
		return
	}
	for _, object := range list.Items {
		for _, text := range object.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				c.snapshot.ServiceRanges = append(c.snapshot.ServiceRanges, prefix)
			}
		}
	}
}

// served reads which resources of metallb.io there are, and the objects of those that are not ours, FRR-K8s's included.
func (c *Collector) served(ctx context.Context) {
	s := c.snapshot
	groups, err := c.Kube.Discovery().ServerGroups()
	if err != nil {
		c.unread(Discovery, err)
		return
	}
	for _, group := range groups.Groups {
		if group.Name != v1beta1.GroupVersion.Group && group.Name != groupFRR {
			continue
		}
		foreign := map[string]bool{} // served in several versions, read in the first
		for _, version := range group.Versions {
			resources, err := c.Kube.Discovery().ServerResourcesForGroupVersion(version.GroupVersion)
			if err != nil {
				c.unread(Discovery, err)
				continue
			}
			for _, resource := range resources.APIResources {
				if strings.Contains(resource.Name, "/") {
					continue
				}
				if group.Name == v1beta1.GroupVersion.Group {
					s.Served = append(s.Served, version.Version+"/"+resource.Name)
				}
				if unsupported[resource.Name] && !foreign[resource.Name] {
					foreign[resource.Name] = true
					c.foreign(ctx, schema.GroupVersionResource{Group: group.Name, Version: version.Version, Resource: resource.Name}, resource.Kind)
				}
			}
		}
	}
	slices.Sort(s.Served)
}

// groupFRR is the group of FRR-K8s, by which MetalLB has FRR configured.
const groupFRR = "frrk8s.metallb.io"

// unsupported are MetalLB's and FRR-K8s's kinds that mean nothing here.
var unsupported = map[string]bool{
	"bgppeers": true, "bgpadvertisements": true, "bfdprofiles": true, "communities": true, "frrconfigurations": true, "frrk8sconfigurations": true,
}

func (c *Collector) foreign(ctx context.Context, resource schema.GroupVersionResource, kind string) {
	list, err := c.Metadata.Resource(resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.unread(Foreign, err)
		return
	}
	for _, object := range list.Items {
		c.snapshot.Foreign = append(c.snapshot.Foreign, kind+" "+object.Namespace+"/"+object.Name)
	}
}
