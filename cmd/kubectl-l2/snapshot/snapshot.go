// SPDX-License-Identifier: Apache-2.0

// Package snapshot is what can be seen of a cluster at one moment, with the rights of whoever looks: objects of the API, and what
// speakers say of themselves. Everything that `kubectl l2` tells is worked out from it, so that each rule is tested without a cluster.
//
// It only ever reads. What could not be read is listed with the reason (Unread), and is never taken for something that is not there.
package snapshot

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Snapshot is a cluster as it was seen. Its fields are not changed by those who read it; its methods, which keep indices of what is
// looked for by name, belong to one goroutine at a time.
type Snapshot struct {
	// Taken is when, by the clock of whoever looks.
	Taken time.Time
	// Namespace of the product.
	Namespace string
	// Version of Kubernetes as the API server tells it, as in v1.31.2.
	Version string
	// Served lists the resources of the API group metallb.io, as in "v1beta1/ipaddresspools".
	Served []string

	Services       []*corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice
	Nodes          []*corev1.Node
	Namespaces     []*corev1.Namespace
	Pools          []*v1beta1.IPAddressPool
	Advertisements []*v1beta1.L2Advertisement
	// Leases in the namespace of the product.
	Leases []*coordinationv1.Lease
	// Events on Services that concern addresses, oldest first.
	Events []*corev1.Event

	Pods []*corev1.Pod // in the namespace of the product
	// SystemPods are those in kube-system, where kubelets show pods that no object of the API makes; none when one may not list them.
	SystemPods  []*corev1.Pod
	DaemonSets  []*appsv1.DaemonSet
	Deployments []*appsv1.Deployment
	// CloudConfig is the file that the controller's --cloud-config names; empty without that flag.
	CloudConfig string
	Webhooks    []*admissionv1.ValidatingWebhookConfiguration
	// ConfigMaps by namespace and name: kube-system/kube-proxy, kube-system/cilium-config.
	ConfigMaps map[string]*corev1.ConfigMap
	// ServiceRanges are the ranges of cluster IPs; none when they are not known.
	ServiceRanges []netip.Prefix
	// Foreign lists objects that another kind of product configures, as in "BGPPeer metallb-system/tor": read, and not supported.
	Foreign []string

	// Speakers is what speakers said of themselves, by node.
	Speakers map[string]inspect.Status
	// Renewed lists the nodes whose session was seen to be renewed while Watched went by. No clock is compared.
	Renewed map[string]bool
	Watched time.Duration
	// Probes is who answered for addresses, each asked from one node or more.
	Probes []inspect.Probe

	// Unread is what could not be read.
	Unread []Unread

	leases    index[*coordinationv1.Lease]
	services  index[*corev1.Service]
	endpoints index[*discoveryv1.EndpointSlice]
}

// index finds objects by a key. It is made anew when their number has changed.
type index[T any] struct {
	byKey map[string][]T
	of    int
}

func (i *index[T]) find(all []T, key string, keyOf func(T) string) []T {
	if i.byKey == nil || i.of != len(all) {
		i.byKey, i.of = make(map[string][]T, len(all)), len(all)
		for _, each := range all {
			i.byKey[keyOf(each)] = append(i.byKey[keyOf(each)], each)
		}
	}
	return i.byKey[key]
}

// Unread is something that could not be read, and why not.
type Unread struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// CouldRead tells whether a kind of thing, by the name that Unread has for it, was read.
func (s *Snapshot) CouldRead(what string) bool {
	return !slices.ContainsFunc(s.Unread, func(u Unread) bool { return u.What == what })
}

// Missing names the first of several kinds of things that could not be read, "" when all were.
func (s *Snapshot) Missing(whats ...string) string {
	i := slices.IndexFunc(whats, func(what string) bool { return !s.CouldRead(what) })
	if i < 0 {
		return ""
	}
	return whats[i]
}

// VIPLease is the Lease of a VIP, nil when there is none.
func (s *Snapshot) VIPLease(vip netip.Addr) *coordinationv1.Lease {
	return s.lease(names.VIPLease(vip))
}

// SessionLease is the session Lease of the speaker on a node, nil when there is none.
func (s *Snapshot) SessionLease(node string) *coordinationv1.Lease {
	return s.lease(names.SessionLease(node))
}

// ControllerLease is the Lease by which controllers elect their leader, nil when there is none.
func (s *Snapshot) ControllerLease() *coordinationv1.Lease {
	return s.lease(names.ControllerLease)
}

func (s *Snapshot) lease(name string) *coordinationv1.Lease {
	found := s.leases.find(s.Leases, name, func(lease *coordinationv1.Lease) string { return lease.Name })
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// Holder names who holds a Lease, "" when it is nil or nobody does.
func Holder(lease *coordinationv1.Lease) string {
	if lease == nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// HolderOf names the node that announces a VIP: the holder of its Lease, as long as the session lives under which it was taken.
func (s *Snapshot) HolderOf(vip netip.Addr) string {
	lease := s.VIPLease(vip)
	node := Holder(lease)
	if node == "" || lease.Annotations[names.AnnotationEpoch] != Holder(s.SessionLease(node)) {
		return ""
	}
	return node
}

// Session is a speaker's session, as its Lease tells it.
type Session struct {
	Node  string
	Epoch string
	Lease *coordinationv1.Lease
	// Interfaces that it announces on, with their subnets; nil when the speaker did not say. Addresses are the node's own on them.
	Interfaces []plan.Interface
	Addresses  []netip.Addr
	MACs       []string
}

// Sessions lists the sessions that have not ended, by node. After some time of watching, those that were not renewed are left out.
func (s *Snapshot) Sessions() []Session {
	var sessions []Session
	for _, lease := range s.Leases {
		node, ok := names.ParseSessionLease(lease.Name)
		if !ok || Holder(lease) == "" || s.Watched > 0 && !s.Renewed[node] {
			continue
		}
		session := Session{Node: node, Epoch: Holder(lease), Lease: lease, Interfaces: plan.ParseInterfaces(lease.Annotations[names.AnnotationInterfaces])}
		for text := range strings.FieldsFuncSeq(lease.Annotations[names.AnnotationInterfaces], func(r rune) bool { return strings.ContainsRune(";=,", r) }) {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				session.Addresses = append(session.Addresses, prefix.Addr())
			}
		}
		if list := lease.Annotations[names.AnnotationMACs]; list != "" {
			session.MACs = strings.Split(list, ",")
		}
		sessions = append(sessions, session)
	}
	slices.SortFunc(sessions, func(a, b Session) int { return cmp.Compare(a.Node, b.Node) })
	return sessions
}

// Conflict says which other host was found to use a VIP before it was announced.
func (s *Snapshot) Conflict(vip netip.Addr) (who string, found bool) {
	lease := s.VIPLease(vip)
	if lease == nil {
		return "", false
	}
	text, found := lease.Annotations[names.AnnotationConflict]
	if !found {
		return "", false
	}
	conflict, err := names.ParseConflict(text)
	if err != nil {
		return "another host", true
	}
	return conflict.MAC + " on " + conflict.Interface + ", seen from " + conflict.Node, true
}

// Service finds a Service by name, nil when there is none.
func (s *Snapshot) Service(namespace, name string) *corev1.Service {
	found := s.services.find(s.Services, namespace+"/"+name, func(service *corev1.Service) string { return service.Namespace + "/" + service.Name })
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// SlicesOf are the EndpointSlices of a Service.
func (s *Snapshot) SlicesOf(service *corev1.Service) []*discoveryv1.EndpointSlice {
	return s.endpoints.find(s.EndpointSlices, service.Namespace+"/"+service.Name, func(slice *discoveryv1.EndpointSlice) string {
		return slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
	})
}

// SpeakerPods are the product's speakers that run, by node.
func (s *Snapshot) SpeakerPods() map[string]*corev1.Pod {
	pods := map[string]*corev1.Pod{}
	for _, pod := range s.Pods {
		if pod.Labels["component"] == "speaker" && pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil {
			pods[pod.Spec.NodeName] = pod
		}
	}
	return pods
}
