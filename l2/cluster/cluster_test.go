// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

func TestOnlyWhatThePlanReadsMatters(t *testing.T) {
	node := func(change func(*corev1.Node)) *corev1.Node {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"zone": "a"}}}
		change(node)
		return node
	}
	pool := func(change func(*v1beta1.IPAddressPool)) *v1beta1.IPAddressPool {
		pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "pool", Generation: 1}}
		change(pool)
		return pool
	}
	sameNode, samePool := func(*corev1.Node) {}, func(*v1beta1.IPAddressPool) {}
	for _, test := range []struct {
		name     string
		old, new any
		want     bool
	}{
		{"a kubelet reports", node(sameNode), node(func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		}), false},
		{"cordon", node(sameNode), node(func(n *corev1.Node) { n.Spec.Unschedulable = true }), true},
		{"label", node(sameNode), node(func(n *corev1.Node) { n.Labels["zone"] = "b" }), true},
		{"taint", node(sameNode), node(func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "x"}} }), true},
		{"network unavailable", node(sameNode), node(func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
		}), true},
		{"the pool's counters", pool(samePool), pool(func(p *v1beta1.IPAddressPool) { p.ResourceVersion = "2" }), false},
		{"the pool's addresses", pool(samePool), pool(func(p *v1beta1.IPAddressPool) { p.Generation = 2 }), true},
		{"the pool's labels", pool(samePool), pool(func(p *v1beta1.IPAddressPool) { p.Labels = map[string]string{"a": "b"} }), true},
		{"a Service", &corev1.Service{}, &corev1.Service{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := matters(test.old, test.new); got != test.want {
				t.Errorf("matters: %v, want %v", got, test.want)
			}
		})
	}
}

// What is cached on every node is only what the plan reads.
func TestTrim(t *testing.T) {
	managed := []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	for _, test := range []struct {
		name     string
		in, want any
	}{
		{"node", &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"a": "b"}, ManagedFields: managed},
			Spec:       corev1.NodeSpec{Unschedulable: true, PodCIDR: "10.244.1.0/24", Taints: []corev1.Taint{{Key: "x"}}},
			Status: corev1.NodeStatus{
				Images:     []corev1.ContainerImage{{Names: []string{"image"}}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady}, {Type: corev1.NodeNetworkUnavailable}},
			},
		}, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"zone": "a"}},
			Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: "x"}}},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable}}},
		}},
		{"service", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web", ManagedFields: managed, Annotations: map[string]string{
				corev1.LastAppliedConfigAnnotation: "{}", "metallb.io/allow-shared-ip": "key",
			}},
		}, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"metallb.io/allow-shared-ip": "key"}},
		}},
		{"endpoints", &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}, ManagedFields: managed, Annotations: map[string]string{"a": "b"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{"10.244.1.2"}, NodeName: ptr.To("node-1"), Zone: ptr.To("a"), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
			}},
		}, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{NodeName: ptr.To("node-1"), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		}},
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
