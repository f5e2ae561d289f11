// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// full is metadata as the API sends it, and left what is kept of it.
func full(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID("5f0f3a3c-0000-4000-8000-" + name), ResourceVersion: "123456", Generation: 3,
		CreationTimestamp: metav1.NewTime(time.Unix(1700000000, 0)), Labels: labels,
		Annotations:     map[string]string{corev1.LastAppliedConfigAnnotation: strings.Repeat(`{"apiVersion":"v1"}`, 30), "endpoints.kubernetes.io/last-change-trigger-time": "x"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: name, UID: "1"}},
		Finalizers:      []string{"service.kubernetes.io/load-balancer-cleanup"},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1(strings.Repeat(`{"f:spec":{}}`, 40))}},
	}
}

func left(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	meta := full(namespace, name, labels)
	meta.Generation, meta.Annotations, meta.OwnerReferences, meta.Finalizers, meta.ManagedFields = 0, nil, nil, nil, nil
	return meta
}

// generation puts back that of a whole object.
func generation(meta metav1.ObjectMeta) metav1.ObjectMeta {
	meta.Generation = full("", "", nil).Generation
	return meta
}

func fullNode(name string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: full("", name, map[string]string{"zone": "a", corev1.LabelHostname: name}),
		Spec:       corev1.NodeSpec{Unschedulable: true, PodCIDR: "10.244.1.0/24", Taints: []corev1.Taint{{Key: "x"}}},
		Status: corev1.NodeStatus{
			Capacity:  corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64")},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.16.0.7"}, {Type: corev1.NodeHostName, Address: name}},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
				{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "CNI", LastHeartbeatTime: metav1.Now()},
			},
		},
	}
	for n := range 50 {
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.com/image-%d@sha256:%064d", n, n)}, SizeBytes: 1})
	}
	return node
}

func fullService(name, address string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: full("default", name, map[string]string{"app": name}),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: ptr.To("l2"), ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: 30080}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: address, IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)}}}},
	}
}

// fullSlice has so many endpoints on 5 nodes.
func fullSlice(service string, endpoints int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  full("default", service+"-x7k2p", map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", "app": service}),
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for n := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.%d.%d", n%5, n)}, NodeName: ptr.To(fmt.Sprintf("node-%d", n%5)), Zone: ptr.To("a"),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("%s-%d", service, n), UID: types.UID(fmt.Sprintf("%036d", n))},
		})
	}
	return slice
}

// What is cached on every node is only what the plan reads.
func TestTrim(t *testing.T) {
	endpoint := func(node *string, ready, serving, terminating *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: node, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	}
	yes, no := ptr.To(true), ptr.To(false)
	slice := fullSlice("web", 0)
	for _, each := range []discoveryv1.Endpoint{
		endpoint(ptr.To("node-1"), yes, yes, no), endpoint(ptr.To("node-1"), yes, yes, no), endpoint(ptr.To("node-1"), no, yes, yes),
		endpoint(ptr.To("node-2"), yes, yes, no), endpoint(nil, yes, yes, no), endpoint(ptr.To(""), yes, yes, no), endpoint(nil, nil, nil, nil), endpoint(nil, nil, nil, nil),
		endpoint(nil, no, nil, nil), endpoint(nil, nil, no, nil),
	} {
		each.Addresses = []string{"10.244.1.2"}
		slice.Endpoints = append(slice.Endpoints, each)
	}
	for _, test := range []struct {
		name     string
		in, want any
	}{
		{"node", fullNode("node-1"), &corev1.Node{
			ObjectMeta: left("", "node-1", map[string]string{"zone": "a", corev1.LabelHostname: "node-1"}),
			Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: "x"}}},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse}},
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.16.0.7"}},
			},
		}},
		{"service", fullService("web", "192.168.1.240"), &corev1.Service{
			ObjectMeta: left("default", "web", map[string]string{"app": "web"}),
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: ptr.To("l2"), ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.168.1.240"}}}},
		}},
		{"endpoints: one of each kind", slice, &discoveryv1.EndpointSlice{
			ObjectMeta:  left("default", "web-x7k2p", map[string]string{discoveryv1.LabelServiceName: "web"}),
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{
				endpoint(ptr.To("node-1"), yes, yes, no), endpoint(ptr.To("node-1"), no, yes, yes), endpoint(ptr.To("node-2"), yes, yes, no),
				endpoint(nil, yes, yes, no), endpoint(ptr.To(""), yes, yes, no), endpoint(nil, nil, nil, nil), endpoint(nil, no, nil, nil), endpoint(nil, nil, no, nil),
			},
		}},
		{"pool", &v1beta1.IPAddressPool{ObjectMeta: full("metallb-system", "pool", nil), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.168.1.240/28"}},
			Status: v1beta1.IPAddressPoolStatus{Conditions: []metav1.Condition{{Type: "Ready"}}}},
			&v1beta1.IPAddressPool{ObjectMeta: left("metallb-system", "pool", nil), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.168.1.240/28"}}}},
		{"advertisement", &v1beta1.L2Advertisement{
			ObjectMeta: full("metallb-system", "ad", nil), Spec: v1beta1.L2AdvertisementSpec{Interfaces: []string{"eth0"}},
			Status: v1beta1.L2AdvertisementStatus{Conditions: make([]metav1.Condition, 1)},
		}, &v1beta1.L2Advertisement{ObjectMeta: generation(left("metallb-system", "ad", nil)), Spec: v1beta1.L2AdvertisementSpec{Interfaces: []string{"eth0"}}}},
		{"a tombstone", cache.DeletedFinalStateUnknown{Key: "x"}, cache.DeletedFinalStateUnknown{Key: "x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := trim(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// 1,000 Services with their endpoints, 2,000 others with 100 endpoints each, and 200 nodes are a few MB on each node, where they would be a hundred
// times as much if they were kept as the API sends them.
func TestCachesAreSmall(t *testing.T) {
	fill := func(trim func(any) (any, error)) (megabytes float64) {
		heap := func() uint64 {
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return stats.HeapAlloc
		}
		before := heap()
		store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		add := func(object any) {
			trimmed, err := trim(object)
			if err == nil {
				err = store.Add(trimmed)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for n := range 1000 {
			add(fullService(fmt.Sprintf("service-%d", n), fmt.Sprintf("10.0.%d.%d", n/250, n%250)))
			add(fullSlice(fmt.Sprintf("service-%d", n), 3))
		}
		for n := range 2000 {
			add(fullSlice(fmt.Sprintf("other-%d", n), 100))
		}
		for n := range 200 {
			add(fullNode(fmt.Sprintf("node-%d", n)))
		}
		after := heap()
		runtime.KeepAlive(store)
		return float64(after-before) / (1 << 20)
	}
	trimmed := fill(trim)
	whole := fill(func(object any) (any, error) { return object, nil })
	t.Logf("%.1f MB trimmed, %.1f MB as the API sends them", trimmed, whole)
	if trimmed > 10 || whole < 10*trimmed {
		t.Errorf("%.1f MB are kept of %.1f MB", trimmed, whole)
	}
}

// A change matters only if something is left of it: kubelets report all the time, and status fields are written by ourselves.
func TestOnlyWhatThePlanReadsMatters(t *testing.T) {
	for _, test := range []struct {
		name   string
		object func() any
		change func(any)
		want   bool
	}{
		{"a kubelet reports", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Unix(1, 0)) }, false},
		{"node not ready", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Status.Conditions[0].Status = corev1.ConditionFalse }, false},
		{"cordon", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Spec.Unschedulable = false }, true},
		{"node label", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Labels["zone"] = "b" }, true},
		{"taint", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Spec.Taints[0].Key = "y" }, true},
		{"network unavailable", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Status.Conditions[1].Status = corev1.ConditionTrue }, true},
		{"a node's address", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Status.Addresses[0].Address = "172.16.0.8" }, true},
		{"a node's other name", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).Status.Addresses[1].Address = "other" }, false},
		{"node being deleted", func() any { return fullNode("n") }, func(o any) { o.(*corev1.Node).DeletionTimestamp = ptr.To(metav1.Now()) }, true},
		{"a Service's ports", func() any { return fullService("a", "10.0.0.1") }, func(o any) { o.(*corev1.Service).Spec.Ports = nil }, false},
		{"a Service's annotations", func() any { return fullService("a", "10.0.0.1") }, func(o any) { o.(*corev1.Service).Annotations = nil }, false},
		{"a Service's address", func() any { return fullService("a", "10.0.0.1") }, func(o any) { o.(*corev1.Service).Status.LoadBalancer.Ingress[0].IP = "10.0.0.2" }, true},
		{"a Service's labels", func() any { return fullService("a", "10.0.0.1") }, func(o any) { o.(*corev1.Service).Labels["app"] = "b" }, true},
		{"a Service's policy", func() any { return fullService("a", "10.0.0.1") }, func(o any) { o.(*corev1.Service).Spec.ExternalTrafficPolicy = "Cluster" }, true},
		{"another pod beside one", func() any { return fullSlice("web", 10) }, func(o any) {
			slice := o.(*discoveryv1.EndpointSlice)
			slice.Endpoints = append(slice.Endpoints, slice.Endpoints[0])
		}, false},
		{"a pod's address", func() any { return fullSlice("web", 10) }, func(o any) { o.(*discoveryv1.EndpointSlice).Endpoints[0].Addresses = nil }, false},
		{"a pod is not ready", func() any { return fullSlice("web", 1) }, func(o any) { *o.(*discoveryv1.EndpointSlice).Endpoints[0].Conditions.Ready = false }, true},
		{"the last pod of a node", func() any { return fullSlice("web", 5) }, func(o any) {
			slice := o.(*discoveryv1.EndpointSlice)
			slice.Endpoints = slices.Delete(slice.Endpoints, 0, 1)
		}, true},
		{"a pool's counters", func() any { return &v1beta1.IPAddressPool{} }, func(o any) { o.(*v1beta1.IPAddressPool).Status.AvailableIPv4 = 7 }, false},
		{"a pool's addresses", func() any { return &v1beta1.IPAddressPool{} }, func(o any) { o.(*v1beta1.IPAddressPool).Spec.Addresses = []string{"x"} }, true},
		{"a pool's labels", func() any { return &v1beta1.IPAddressPool{} }, func(o any) { o.(*v1beta1.IPAddressPool).Labels = map[string]string{"a": "b"} }, true},
		{"an advertisement's nodes", func() any { return &v1beta1.L2Advertisement{} }, func(o any) { o.(*v1beta1.L2Advertisement).Spec.NodeSelectors = make([]metav1.LabelSelector, 1) }, true},
		{"an advertisement's condition", func() any { return &v1beta1.L2Advertisement{} }, func(o any) { o.(*v1beta1.L2Advertisement).Status.Conditions = make([]metav1.Condition, 1) }, false},
		{"an advertisement's annotations", func() any { return &v1beta1.L2Advertisement{} }, func(o any) { o.(*v1beta1.L2Advertisement).Annotations = map[string]string{"a": "b"} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, after := test.object(), test.object()
			test.change(after)
			after.(metav1.Object).SetResourceVersion("123457")
			old, _ := trim(before)
			is, _ := trim(after)
			if got := !sameButVersion(old, is); got != test.want {
				t.Errorf("matters: %v, want %v", got, test.want)
			}
		})
	}
}
