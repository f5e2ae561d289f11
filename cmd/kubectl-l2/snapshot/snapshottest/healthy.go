// SPDX-License-Identifier: Apache-2.0

// Package snapshottest makes snapshots for tests: a cluster in which all is well, to be broken in one way or another.
package snapshottest

import (
	"fmt"
	"net/netip"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	namespace = "metallb-system"
	// VIP of the Service default/web, which node-2 holds.
	VIP    = "192.168.1.240"
	Holder = "node-2"
)

// Begin is when everything was made. A snapshot is taken an hour later.
var Begin = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Healthy is a cluster of three nodes, with one pool, one L2Advertisement and one Service, which node-2 announces.
func Healthy() *snapshot.Snapshot {
	s := &snapshot.Snapshot{
		Taken: Begin.Add(time.Hour), Namespace: namespace, Version: "v1.37.2",
		Served:         []string{"v1beta1/ipaddresspools", "v1beta1/l2advertisements", "v1beta1/servicel2statuses"},
		Namespaces:     []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "default"}}},
		Pools:          []*v1beta1.IPAddressPool{Pool("lan", 0, "192.168.1.240-192.168.1.249")},
		Advertisements: []*v1beta1.L2Advertisement{Advertisement("lan", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"lan"}})},
		Services:       []*corev1.Service{Service("web", VIP)},
		ConfigMaps:     map[string]*corev1.ConfigMap{},
		ServiceRanges:  []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		Speakers:       map[string]inspect.Status{}, Renewed: map[string]bool{}, Watched: 2 * time.Second,
		DaemonSets: []*appsv1.DaemonSet{{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "speaker"},
			Spec:       appsv1.DaemonSetSpec{Template: template("speaker")},
		}},
		Deployments: []*appsv1.Deployment{{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "controller"},
			Spec:       appsv1.DeploymentSpec{Template: template("controller")},
		}},
		Pods: []*corev1.Pod{pod("controller-1", "controller", "node-1")},
	}
	for n := 1; n <= 3; n++ {
		AddNode(s, n)
	}
	s.EndpointSlices = []*discoveryv1.EndpointSlice{Endpoints("web", "node-1", "node-2")}
	s.Leases = append(s.Leases, VIPLease(VIP, Holder), lease("cloud-provider-l2-controller", "controller-1_x", nil, nil))
	return s
}

// AddNode adds a node with a speaker that hears all others.
func AddNode(s *snapshot.Snapshot, n int) {
	name := fmt.Sprintf("node-%d", n)
	address := fmt.Sprintf("192.168.1.%d", 10+n)
	s.Nodes = append(s.Nodes, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{fmt.Sprintf("10.244.%d.0/24", n)}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name}}},
	})
	s.Pods = append(s.Pods, pod("speaker-"+name, "speaker", name))
	s.Leases = append(s.Leases, lease(names.SessionLease(name), name+"/e", map[string]string{names.LabelLease: names.LeaseSession}, map[string]string{
		names.AnnotationInterfaces: "eth0=" + address + "/24", names.AnnotationMACs: MAC(n),
	}))
	s.Renewed[name] = true
	status := inspect.Status{Node: name, Takes: true, Gateway: &inspect.Gateway{Address: netip.MustParseAddr("192.168.1.1"), Answers: true}}
	for other := 1; other <= 3; other++ {
		each := fmt.Sprintf("node-%d", other)
		status.Speakers = append(status.Speakers, inspect.Speaker{Node: each, Self: each == name, Epoch: each + "/e", Heard: each != name})
	}
	s.Speakers[name] = status
}

// MAC is the hardware address of the nth node.
func MAC(n int) string { return fmt.Sprintf("02:00:00:00:00:%02d", n) }

// Pool is an IPAddressPool that was made so many minutes after Begin.
func Pool(name string, minute int, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(Begin.Add(time.Duration(minute) * time.Minute))},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}
}

// Advertisement is an L2Advertisement.
func Advertisement(name string, spec v1beta1.L2AdvertisementSpec) *v1beta1.L2Advertisement {
	return &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

// Service is a LoadBalancer Service in namespace default with the given addresses.
func Service(name string, addresses ...string) *corev1.Service {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(Begin)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, ClusterIPs: []string{"10.96.0.10"},
			Ports: []corev1.ServicePort{{Port: 80}}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		},
	}
	for _, address := range addresses {
		service.Status.LoadBalancer.Ingress = append(service.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: address})
	}
	return service
}

// Endpoints are the ready ones of a Service, one on each of the nodes.
func Endpoints(service string, nodes ...string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for n, node := range nodes {
		ready := true
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.9.%d", n+1)}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return slice
}

// VIPLease is the Lease of a VIP that a node took 30 minutes after Begin, as the second.
func VIPLease(vip, node string) *coordinationv1.Lease {
	object := lease(names.VIPLease(netip.MustParseAddr(vip)), node, map[string]string{names.LabelLease: names.LeaseVIP}, map[string]string{names.AnnotationEpoch: node + "/e"})
	moves, at := int32(1), metav1.NewMicroTime(Begin.Add(30*time.Minute))
	object.Spec.LeaseTransitions, object.Spec.AcquireTime = &moves, &at
	return object
}

func lease(name, holder string, labels, annotations map[string]string) *coordinationv1.Lease {
	seconds, at := int32(4), metav1.NewMicroTime(Begin)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: annotations},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &at, RenewTime: &at},
	}
}

func template(component string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "metallb", "component": component}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: component, Image: "localhost/cloud-provider-l2/" + component + ":v1"}}},
	}
}

func pod(name, component, node string) *corev1.Pod {
	made := template(component)
	made.Spec.NodeName = node
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: made.Labels}, Spec: made.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}
