// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
)

// TestSlimServices: of load balancers stays what they ask for; of others nothing but what they are.
func TestSlimServices(t *testing.T) {
	clusterIP := func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeClusterIP }
	labelled := func(svc *v1.Service) { svc.Labels = map[string]string{"app": "web"} }
	manifest := annotated("kubectl.kubernetes.io/last-applied-configuration", "long")
	for name, tt := range map[string]struct{ svc, want *v1.Service }{
		"load balancer":       {service("web", labelled, manifest, annotated("metallb.io/address-pool", "a")), service("web", labelled, annotated("metallb.io/address-pool", "a"))},
		"with a finalizer":    {service("web", clusterIP, labelled, finalizer), service("web", clusterIP, labelled, finalizer)},
		"with an address":     {service("web", clusterIP, holding("10.0.0.0")), service("web", clusterIP, holding("10.0.0.0"))},
		"another type":        {service("web", clusterIP, labelled, manifest), service("web", func(svc *v1.Service) { svc.Spec = v1.ServiceSpec{Type: v1.ServiceTypeClusterIP} })},
		"another, for a pool": {service("web", clusterIP, annotated("metallb.io/address-pool", "a")), service("web", annotated("metallb.io/address-pool", "a"), func(svc *v1.Service) { svc.Spec = v1.ServiceSpec{Type: v1.ServiceTypeClusterIP} })},
	} {
		t.Run(name, func(t *testing.T) {
			slimService(tt.svc)
			if diff := cmp.Diff(tt.want, tt.svc); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSlimNodes(t *testing.T) {
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"kubelet": "says"}},
		Spec:       v1.NodeSpec{PodCIDR: "10.244.0.0/24", Unschedulable: true},
		Status: v1.NodeStatus{
			Images: []v1.ContainerImage{{Names: []string{"a"}}},
			Conditions: []v1.NodeCondition{
				{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.NewTime(time.Unix(1, 0))}, {Type: v1.NodeDiskPressure},
			},
		},
	}
	slimNode(node)
	want := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	if diff := cmp.Diff(want, node); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// TestSlimServiceBecomesLoadBalancer: what was left out of the cache is there when it is needed.
func TestSlimServiceBecomesLoadBalancer(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeClusterIP })), func(r *rig) {
		r.edit("web", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeLoadBalancer })
		r.has("web", "192.168.1.240")
		if got := r.get("web"); len(got.Spec.Ports) != 1 || got.Spec.ClusterIP == "" {
			t.Errorf("the Service has lost its spec: %+v", got.Spec)
		}
	})
}
