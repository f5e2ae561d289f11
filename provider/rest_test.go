// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// labelNamespace replaces the labels of namespace default.
func (r *rig) labelNamespace(labels map[string]string) {
	r.t.Helper()
	r.labelNamespaceAt("", labels)
}

// labelNamespaceAt also says which version the namespace then has: the API server in memory counts none.
func (r *rig) labelNamespaceAt(version string, labels map[string]string) {
	r.t.Helper()
	namespace := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", ResourceVersion: version, Labels: labels}}
	if _, err := r.kube.CoreV1().Namespaces().Update(r.t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

func tenants(team string) *v1beta1.ServiceAllocation {
	return &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": team}}}}
}

// TestOneApplyTakesNothingAway: what is written in several steps, less than the rest apart, moves nothing on its way.
func TestOneApplyTakesNothingAway(t *testing.T) {
	const step = poolsRest / 2
	red, blue := map[string]string{"team": "red"}, map[string]string{"team": "blue"}
	steps := map[string]func(*rig){
		"pools, the one in use last": func(r *rig) {
			for _, third := range []string{"1", "2", "3", "9"} {
				r.createPoolSoon(addressPool("p"+third, "192.168."+third+".240/28"))
				time.Sleep(step)
			}
		},
		"pools, and a port meanwhile": func(r *rig) {
			r.createPoolSoon(addressPool("p1", "192.168.1.240/28"))
			r.edit("web", port(81))
			r.createPoolSoon(addressPool("p9", "192.168.9.240/28"))
		},
		"labels of the namespace": func(r *rig) {
			r.createPool(addressPool("a", "192.168.9.240/28"))
			r.labelNamespace(red)
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = tenants("red") })
			r.labelNamespace(blue)
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = tenants("blue") })
		},
		"labels of the namespace, and a port": func(r *rig) {
			r.createPool(addressPool("a", "192.168.9.240/28"))
			r.labelNamespace(red)
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = tenants("red") })
			r.labelNamespace(blue)
			r.edit("web", port(81))
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = tenants("blue") })
		},
		"labels of the Service, and a port": func(r *rig) {
			r.createPool(addressPool("a", "192.168.9.240/28"))
			r.edit("web", func(svc *v1.Service) { svc.Labels = maps.Clone(red) })
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = selecting("team", "red") })
			r.edit("web", func(svc *v1.Service) { svc.Labels = maps.Clone(blue); port(81)(svc) })
			r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.AllocateTo = selecting("team", "blue") })
		},
	}
	for name, apply := range steps {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(service("web", holding("192.168.9.240"))), func(r *rig) {
				apply(r)
				time.Sleep(poolsRestMax)
				r.settlePools()
				r.has("web", "192.168.9.240")
				for _, event := range r.told("web") {
					if event != "EnsuredLoadBalancer: Ensured load balancer" {
						t.Error("told:", event)
					}
				}
			})
		})
	}
}

// TestWhatHasRestedHolds: what takes an address away does so after the rest, and changes without end do not put it off.
func TestWhatHasRestedHolds(t *testing.T) {
	red := map[string]string{"team": "red"}
	for name, tt := range map[string]struct {
		change func(*rig)
		within time.Duration
	}{
		"the namespace's label goes":                    {func(r *rig) { r.labelNamespace(nil) }, poolsRest + 100*time.Millisecond},
		"the label goes with a change of a port":        {func(r *rig) { r.labelNamespace(nil); r.edit("web", port(81)) }, poolsRest + 200*time.Millisecond},
		"the label goes, then pools change for a while": {func(r *rig) { r.labelNamespace(nil); r.editPools(time.Second) }, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			reserved := addressPool("a", "192.168.9.240/28")
			reserved.Spec.AllocateTo = tenants("red")
			play(t, Options{}, objects(reserved), func(r *rig) {
				r.labelNamespace(red)
				r.create(service("web"))
				r.has("web", "192.168.9.240")
				start := time.Now()
				tt.change(r)
				r.has("web", "192.168.9.240")
				time.Sleep(tt.within - time.Since(start))
				r.settle()
				r.has("web", "")
			})
		})
	}
}

// A Service that is made while pools rest gets nothing of a pool that has gone, to lose it in a moment; it waits, and nobody is told.
func TestNewServiceWaitsUntilPoolsHaveRested(t *testing.T) {
	play(t, Options{}, objects(addressPool("old", "10.0.0.0/28")), func(r *rig) {
		r.create(service("kept"))
		if err := r.pools.IPAddressPools(ourNamespace).Delete(r.t.Context(), "old", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.createPoolSoon(addressPool("young", "192.168.9.240/28"))
		synctest.Wait()
		if _, err := r.kube.CoreV1().Services("default").Create(r.t.Context(), service("web"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.has("web", "")
		r.has("kept", "10.0.0.0")
		r.settlePools()
		r.settle()
		if got := translate.Recorded(r.get("web")); len(got) != 1 || !netip.MustParsePrefix("192.168.9.240/28").Contains(got[0]) {
			t.Errorf("web has %v", got)
		}
		for _, told := range r.told("web") {
			if !strings.HasPrefix(told, "IPAllocated: ") && !strings.HasPrefix(told, "EnsuredLoadBalancer: ") {
				t.Error("told:", told)
			}
		}
	})
}

func TestChangesWithoutEndDoNotPutOffTheJudgement(t *testing.T) {
	reserved := addressPool("a", "192.168.9.240/28")
	reserved.Spec.AllocateTo = tenants("red")
	play(t, Options{}, objects(reserved), func(r *rig) {
		r.labelNamespace(map[string]string{"team": "red"})
		r.create(service("web"))
		r.labelNamespace(nil)
		r.editPools(poolsRestMax)
		r.has("web", "")
	})
}

// editPools edits a pool again and again, more often than pools rest.
func (r *rig) editPools(howLong time.Duration) {
	r.t.Helper()
	r.createPoolSoon(addressPool("busy", "10.0.0.0/28"))
	for end := time.Now().Add(howLong); time.Now().Before(end); time.Sleep(poolsRest / 4) {
		pool := r.getPool("busy").DeepCopy()
		pool.Spec.AutoAssign, pool.Spec.AvoidBuggyIPs = new(bool), !pool.Spec.AvoidBuggyIPs
		if _, err := r.pools.IPAddressPools(ourNamespace).Update(r.t.Context(), pool, metav1.UpdateOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
}
