// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

func TestLabelAndSelectorInOneApply(t *testing.T) {
	red := map[string]string{"team": "red"}
	selecting := func(pool *v1beta1.IPAddressPool) {
		pool.Spec.AllocateTo = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: red}}}
	}
	for name, apply := range map[string]func(*rig){
		"pool first": func(r *rig) {
			pool := r.getPool("a").DeepCopy()
			selecting(pool)
			if _, err := r.pools.IPAddressPools(ourNamespace).Update(r.t.Context(), pool, metav1.UpdateOptions{}); err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			r.edit("web", func(svc *v1.Service) { svc.Labels = red })
		},
		"Service first": func(r *rig) {
			r.edit("web", func(svc *v1.Service) { svc.Labels = red })
			r.editPool("a", selecting)
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", holding("192.168.1.240"))), func(r *rig) {
				apply(r)
				r.settlePools()
				r.has("web", "192.168.1.240")
				r.wantTold("web")
			})
		})
	}
}

// TestPoolsJudgeServicesAsTheyAre is for a label that the stock controller's queue has not reached yet.
func TestPoolsJudgeServicesAsTheyAre(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", holding("192.168.1.240"))), func(r *rig) {
		stale := service("web")
		stale.Labels = map[string]string{"team": "blue"}
		r.cloud.mu.Lock()
		r.cloud.allocator.Update(translate.Request(stale, nil))
		r.cloud.mu.Unlock()
		r.editPool("a", func(pool *v1beta1.IPAddressPool) {
			pool.Spec.AllocateTo = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{
				{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}}}}}
		})
		r.has("web", "192.168.1.240")
		r.wantTold("web")
	})
}

func TestPoolGoesUnderUse(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("web", holding("192.168.1.240"))), func(r *rig) {
		r.createPool(addressPool("b", "10.0.0.0/32"))
		r.deletePool("a")
		r.has("web", "10.0.0.0")
		r.wantTold("web", "ClearAssignment: 192.168.1.240 is not assigned any more: no pool has it any more",
			`IPAllocated: Assigned IP ["10.0.0.0"]`, "EnsuredLoadBalancer: Ensured load balancer")
		r.deletePool("b")
		r.has("web", "")
		r.createPool(addressPool("c", "10.0.0.1/32"))
		r.has("web", "10.0.0.1")
	})
}

func TestPoolThatCannotBeReadTakesNothingAway(t *testing.T) {
	selecting := func(operator metav1.LabelSelectorOperator) func(*v1beta1.IPAddressPool) {
		return func(pool *v1beta1.IPAddressPool) {
			pool.Spec.AllocateTo = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{
				{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: operator, Values: []string{"red"}}}}}}
		}
	}
	for name, edit := range map[string]func(*v1beta1.IPAddressPool){
		"range":    func(pool *v1beta1.IPAddressPool) { pool.Spec.Addresses = []string{"fd00::10-fd00::2"} },
		"selector": selecting("Unknown"),
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "fd00::10-fd00::20")), func(r *rig) {
				six := func(svc *v1.Service) { svc.Spec.IPFamilies = []v1.IPFamily{v1.IPv6Protocol} }
				r.create(service("web", six))
				r.editPool("a", edit)
				r.create(service("new", six))
				time.Sleep(time.Minute)
				r.has("web", "fd00::10")
				r.has("new", "")
				r.restart(Options{})
				time.Sleep(time.Minute)
				r.has("web", "fd00::10")
				r.editPool("a", selecting(metav1.LabelSelectorOpIn))
				r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.Addresses = []string{"fd00::10-fd00::20"} })
				r.has("web", "")
			})
		})
	}
}

func TestStoredPoolThatCannotBeReadTakesNothingAway(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.1/24"), service("web", holding("192.168.1.240"))), func(r *rig) {
		time.Sleep(time.Minute)
		r.has("web", "192.168.1.240")
		r.wantTold("web")
	})
}
