// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

func port(number int32) edit { return func(svc *v1.Service) { svc.Spec.Ports[0].Port = number } }

func localTo(app string) edit {
	return func(svc *v1.Service) {
		svc.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
		svc.Spec.Selector = map[string]string{"app": app}
	}
}

// TestWaitingServiceIsServedAtOnce: whatever it waits for, deep in the stock controller's back-off, within a tenth of a
// second, and when pools change, after their rest.
func TestWaitingServiceIsServedAtOnce(t *testing.T) {
	key := annotated("metallb.io/allow-shared-ip", "key")
	full := addressPool("a", "192.168.1.240/32")
	team := addressPool("a", "192.168.1.240/32")
	team.Spec.AllocateTo = selecting("team", "red")
	tenants := addressPool("a", "192.168.1.240/32")
	tenants.Spec.AllocateTo = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}}
	for name, tt := range map[string]struct {
		pool   *v1beta1.IPAddressPool
		holder []edit // of the address; nil: nobody
		waits  []edit
		then   func(*rig)
	}{
		"address freed": {full, []edit{}, nil, func(r *rig) { r.remove("holder") }},
		"pool changed": {team, nil, nil, func(r *rig) {
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = nil })
		}},
		"pool created": {team, nil, nil, func(r *rig) { r.createPool(addressPool("b", "192.168.1.240/32")); r.deletePool("a") }},
		"labels":       {team, nil, nil, func(r *rig) { r.edit("waits", labelled("team", "red")) }},
		"namespace's labels": {tenants, nil, nil, func(r *rig) {
			red := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "red"}}}
			if _, err := r.kube.CoreV1().Namespaces().Update(r.t.Context(), red, metav1.UpdateOptions{}); err != nil {
				r.t.Fatal(err)
			}
			r.settle()
		}},
		"own selector":      {full, []edit{key, localTo("web")}, []edit{key, localTo("other"), port(81)}, func(r *rig) { r.edit("waits", localTo("web")) }},
		"holder's selector": {full, []edit{key, localTo("web")}, []edit{key, localTo("other"), port(81)}, func(r *rig) { r.edit("holder", localTo("other")) }},
		"holder's port":     {full, []edit{key}, []edit{key}, func(r *rig) { r.edit("holder", port(81)) }},
		"ipFamilyPolicy": {full, nil, []edit{families(v1.IPFamilyPolicyRequireDualStack, v1.IPv4Protocol, v1.IPv6Protocol)}, func(r *rig) {
			r.edit("waits", func(svc *v1.Service) {
				prefer := v1.IPFamilyPolicyPreferDualStack
				svc.Spec.IPFamilyPolicy = &prefer
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			start := objects(tt.pool.DeepCopy(), service("waits", append(tt.waits, born(5))...))
			if tt.holder != nil {
				start = append(start, service("holder", append(tt.holder, holding("192.168.1.240"))...))
			}
			play(t, Options{}, start, func(r *rig) {
				time.Sleep(20 * time.Minute)
				r.has("waits", "")
				tt.then(r)
				r.has("waits", "192.168.1.240")
			})
		})
	}
}

func TestStatusIsRepaired(t *testing.T) {
	for name, spoil := range map[string]edit{
		"wiped":           func(svc *v1.Service) { svc.Status = v1.ServiceStatus{} },
		"another address": func(svc *v1.Service) { svc.Status.LoadBalancer.Ingress[0].IP = "1.2.3.4" },
		"one more":        holding("192.168.1.241"),
		"a host name":     func(svc *v1.Service) { svc.Status.LoadBalancer.Ingress[0] = v1.LoadBalancerIngress{Hostname: "x"} },
		"another mode": func(svc *v1.Service) {
			mode := v1.LoadBalancerIPModeProxy
			svc.Status.LoadBalancer.Ingress[0].IPMode = &mode
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", holding("192.168.1.240"))), func(r *rig) {
				r.edit("web", spoil)
				r.has("web", "192.168.1.240")
			})
		})
	}
}

// TestServiceInOneApplyWithThePool: who comes while pools rest is served from what is there.
func TestServiceInOneApplyWithThePool(t *testing.T) {
	play(t, Options{}, nil, func(r *rig) {
		r.createPoolSoon(addressPool("a", "192.168.1.240/32"))
		time.Sleep(20 * time.Millisecond)
		r.create(service("web"))
		r.has("web", "192.168.1.240")
		r.wantTold("web", `IPAllocated: Assigned IP ["192.168.1.240"]`, "EnsuredLoadBalancer: Ensured load balancer")
	})
}

// TestLabelGoesBeforeTheSelector: one apply takes the label from the Service and the selector from the pool.
func TestLabelGoesBeforeTheSelector(t *testing.T) {
	reserved := addressPool("a", "192.168.1.240/28")
	reserved.Spec.AllocateTo = selecting("team", "red")
	play(t, Options{}, objects(reserved, service("web", labelled("team", "red"), holding("192.168.1.240"))), func(r *rig) {
		r.edit("web", func(svc *v1.Service) { svc.Labels = nil })
		r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = nil })
		r.has("web", "192.168.1.240")
		r.wantTold("web")

		r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = selecting("team", "red") })
		r.has("web", "") // it does hold, once it has rested
	})
}

func TestSharingAcrossNamespaces(t *testing.T) {
	key := annotated("metallb.io/allow-shared-ip", "key")
	for name, tt := range map[string]struct {
		separate bool
		want     string
	}{"allowed": {false, "192.168.1.240"}, "forbidden": {true, ""}} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{SeparateNamespaces: tt.separate}, objects(addressPool("a", "192.168.1.240/32"), service("web", key, holding("192.168.1.240"))), func(r *rig) {
				r.create(service("same", key, port(81)))
				r.has("same", "192.168.1.240")
				r.create(service("other", key, port(82), in("tenant")))
				r.hasIn("tenant", "other", tt.want)
			})
		})
	}
}
