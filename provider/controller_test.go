// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

func objects(objects ...runtime.Object) []runtime.Object { return objects }

func TestServiceGetsAnAddress(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240-192.168.1.250")), func(r *rig) {
		r.writes()
		r.create(service("web"))
		r.has("web", "192.168.1.240")
		r.wantWrites("create services", "patch services/status", "patch services/status", "create events IPAllocated", "create events EnsuredLoadBalancer")
		r.wantTold("web", `IPAllocated: Assigned IP ["192.168.1.240"]`, "EnsuredLoadBalancer: Ensured load balancer")
		r.create(service("other"))
		r.has("other", "192.168.1.241")
	})
}

// TestOneLogLinePerChange is what an operator greps for.
func TestOneLogLinePerChange(t *testing.T) {
	var log bytes.Buffer
	state := klog.CaptureState()
	defer state.Restore()
	klog.LogToStderr(false)
	klog.SetOutput(&log)
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32")), func(r *rig) {
		r.create(service("web"))
		r.create(service("waits"))
		r.edit("web", annotated("somebody.example/else", "1"))
		r.remove("web")
	})
	klog.Flush()
	var got []string
	for line := range strings.Lines(log.String()) {
		if _, line, ok := strings.Cut(strings.TrimSpace(line), "] "); ok && strings.Contains(line, "service=") && !strings.Contains(line, "Unhandled") {
			got = append(got, line)
		}
	}
	want := []string{
		`"assigned" service="default/web" vip="192.168.1.240" pool="a"`,
		`"not assigned" service="default/waits" reason="no free IPv4 address in pool a: 1 of 1 in use"`,
		`"released" service="default/web" vip="192.168.1.240"`,
		`"assigned" service="default/waits" vip="192.168.1.240" pool="a"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestRequestedAddressAndPool(t *testing.T) {
	manual := addressPool("manual", "192.168.1.50-192.168.1.59")
	off := false
	manual.Spec.AutoAssign = &off
	play(t, Options{}, objects(manual, addressPool("a", "192.168.1.240/28")), func(r *rig) {
		for i, tt := range []struct {
			edit func(*v1.Service)
			want string
		}{
			{annotated("metallb.universe.tf/loadBalancerIPs", "192.168.1.245"), "192.168.1.245"},
			{annotated("metallb.io/loadBalancerIPs", "192.168.1.246"), "192.168.1.246"},
			{func(svc *v1.Service) { svc.Spec.LoadBalancerIP = "192.168.1.247" }, "192.168.1.247"},
			{annotated("metallb.universe.tf/address-pool", "manual"), "192.168.1.50"},
			{annotated("metallb.universe.tf/address-pool", "nonsense", "metallb.io/address-pool", "manual"), "192.168.1.51"},
			{func(*v1.Service) {}, "192.168.1.240"},
		} {
			name := fmt.Sprint("s", i)
			r.create(service(name, tt.edit))
			r.has(name, tt.want)
		}
	})
}

func TestBadRequestsSayWhatToDo(t *testing.T) {
	dual := v1.IPFamilyPolicyRequireDualStack
	for name, tt := range map[string]struct {
		edit func(*v1.Service)
		want string
	}{
		"no address": {annotated("metallb.io/loadBalancerIPs", "192.168.1.x"), `metallb.io/loadBalancerIPs names "192.168.1.x", which is not an IP address: write for example 192.168.1.240`},
		"both": {func(svc *v1.Service) {
			annotated("metallb.universe.tf/loadBalancerIPs", "192.168.1.240")(svc)
			svc.Spec.LoadBalancerIP = "192.168.1.240"
		}, "the Service has both annotation metallb.universe.tf/loadBalancerIPs and spec.loadBalancerIP: keep one of them"},
		"unknown pool": {annotated("metallb.io/address-pool", "b"), `there is no pool "b": ask for one of pool a`},
		"dual":         {func(svc *v1.Service) { svc.Spec.IPFamilyPolicy = &dual }, "the Service requires dual stack but has only IPv4 cluster IPs: change its ipFamilyPolicy"},
		"no families":  {func(svc *v1.Service) { svc.Spec.IPFamilies, svc.Spec.ClusterIP, svc.Spec.ClusterIPs = nil, "", nil }, "the Service has no cluster IP and so no IP family: give it one, or another type"},
		"wrong family": {annotated("metallb.io/loadBalancerIPs", "fd00::1"), "the Service's families are IPv4, but it asks for fd00::1: ask for one address per family, or change ipFamilyPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", tt.edit), service("used", tt.edit, holding("192.168.1.249"))), func(r *rig) {
				r.has("web", "")
				r.wantTold("web", "SyncLoadBalancerFailed: Error syncing load balancer: failed to ensure load balancer: "+tt.want, `AllocationFailed: Failed to allocate IP for "default/web": `+tt.want)
				r.has("used", "192.168.1.249") // what is in use is kept
			})
		})
	}
}

func TestWaitingServiceGetsItsAddressWhenThePoolGrows(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("first", holding("192.168.1.240"))), func(r *rig) {
		r.create(service("second"))
		time.Sleep(20 * time.Minute) // deep in the stock controller's back-off
		r.has("second", "")
		full := "no free IPv4 address in pool a: 1 of 1 in use"
		r.wantTold("second", "SyncLoadBalancerFailed: Error syncing load balancer: failed to ensure load balancer: "+full, `AllocationFailed: Failed to allocate IP for "default/second": `+full)
		r.editPool("a", func(pool *v1beta1.IPAddressPool) { pool.Spec.Addresses = []string{"192.168.1.240/31"} })
		r.has("second", "192.168.1.241") // within the tenth of a second that editPool waits once pools have rested
	})
}

func TestWaitingServicesCostFiveWritesEach(t *testing.T) {
	play(t, Options{}, objects(service("web")), func(r *rig) {
		time.Sleep(20 * time.Minute)
		r.createPool(addressPool("a", "192.168.1.240/28"))
		r.has("web", "192.168.1.240")
		r.wantWrites("patch services/status", "create events SyncLoadBalancerFailed", "create events AllocationFailed", "patch services/status", "create events IPAllocated")
	})
}

func TestFreedAddressGoesToWhoWaitsLongest(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("first", holding("192.168.1.240"))), func(r *rig) {
		r.create(service("young", born(9)))
		r.create(service("old", born(3)))
		time.Sleep(time.Minute)
		r.remove("first")
		r.has("old", "192.168.1.240")
		r.has("young", "")
	})
}

func TestDeletedServiceGivesItsAddressBack(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31")), func(r *rig) {
		r.create(service("web"))
		r.create(service("db"))
		r.remove("web")
		r.create(service("next"))
		r.has("next", "192.168.1.240")
		r.vanish("db") // somebody took the finalizer off
		r.create(service("last"))
		r.has("last", "192.168.1.241")
	})
}

func TestTypeChangeGivesTheAddressBack(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32")), func(r *rig) {
		r.create(service("web"))
		r.create(service("waits"))
		r.edit("web", func(svc *v1.Service) {
			svc.Spec.Type = v1.ServiceTypeClusterIP
			svc.Status = v1.ServiceStatus{} // as the API server does
		})
		if finalizers := r.get("web").Finalizers; len(finalizers) > 0 {
			t.Errorf("web keeps %v", finalizers)
		}
		r.has("waits", "192.168.1.240")
		r.edit("waits", func(svc *v1.Service) { svc.Spec.Type, svc.Status = v1.ServiceTypeClusterIP, v1.ServiceStatus{} })
		r.edit("web", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeLoadBalancer })
		r.has("web", "192.168.1.240")
	})
}

func TestWaitingServiceThatChangesItsTypeWaitsNoMore(t *testing.T) {
	play(t, Options{}, objects(service("web")), func(r *rig) {
		r.edit("web", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeNodePort })
		r.createPool(addressPool("a", "192.168.1.240/32"))
		r.create(service("other"))
		r.has("other", "192.168.1.240")
		r.has("web", "")
	})
}

func TestRestartMovesAndWritesNothing(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), addressPool("b", "10.0.0.0/30")), func(r *rig) {
		r.create(service("asks", annotated("metallb.io/loadBalancerIPs", "192.168.1.250")))
		r.create(service("plain"))
		r.create(service("gone"))
		r.create(service("last"))
		r.remove("gone")
		time.Sleep(time.Minute)
		r.restart(Options{})
		time.Sleep(20 * time.Minute)
		r.wantWrites()
		r.has("asks", "192.168.1.250")
		r.has("plain", "192.168.1.240")
		r.has("last", "192.168.1.242")
	})
}

func TestServicesAreSeededBeforeTheFirstIsServed(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31"),
		service("a-new"), service("z-old", holding("192.168.1.240")), service("m-claims-the-same", born(5), holding("192.168.1.240"))), func(r *rig) {
		r.has("z-old", "192.168.1.240")
		time.Sleep(time.Minute)
		if got := r.get("a-new").Status.LoadBalancer.Ingress; len(got) > 0 && got[0].IP == "192.168.1.240" {
			t.Errorf("a-new has the address of z-old")
		}
	})
}

func TestOlderKeepsAnAddressThatTwoClaim(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31"),
		service("young", born(5), holding("192.168.1.240")), service("old", holding("192.168.1.240"))), func(r *rig) {
		r.has("old", "192.168.1.240")
		r.has("young", "192.168.1.241")
		r.wantTold("old")
		r.wantTold("young",
			"ClearAssignment: 192.168.1.240 is not assigned any more: 192.168.1.240 is in use by default/old",
			`IPAllocated: Assigned IP ["192.168.1.241"]`, "EnsuredLoadBalancer: Ensured load balancer")
	})
}

func TestDeletedServiceTakesNothingBackAtRestart(t *testing.T) {
	deleted := func(svc *v1.Service) {
		now := metav1.NewTime(epoch)
		svc.DeletionTimestamp = &now
		svc.Finalizers = append(svc.Finalizers, "example.com/stuck")
	}
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31"),
		service("former", holding("192.168.1.240"), deleted), service("owner", born(5), holding("192.168.1.240"))), func(r *rig) {
		r.has("owner", "192.168.1.240")
		r.wantTold("owner")
	})
}

func TestNothingIsServedBeforeTheAddressesInUseAreRead(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31"), service("web"), service("old", holding("192.168.1.240"))), func(r *rig) {
		r.stop()
		var failing atomic.Bool
		failing.Store(true)
		r.kube.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			return failing.Load() && r.cloud.services != nil && r.cloud.services.ServiceInformer.Informer().HasSynced(), nil, apierrors.NewInternalError(errors.New("no answer"))
		})
		r.start(Options{})
		r.create(service("new"))
		if r.cloud.Ready() {
			t.Error("ready without having read Services")
		}
		r.has("new", "")
		failing.Store(false)
		time.Sleep(2 * time.Second)
		if !r.cloud.Ready() {
			t.Error("not ready")
		}
		r.has("old", "192.168.1.240")
	})
}

// TestServiceThatWasNotSeededKeepsItsAddress plays a cache that shows a Service only after the seeding.
func TestServiceThatWasNotSeededKeepsItsAddress(t *testing.T) {
	bad := annotated("metallb.io/loadBalancerIPs", "192.168.1.x")
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28")), func(r *rig) {
		r.create(service("web", holding("192.168.1.245")))
		r.create(service("bad", holding("192.168.1.246"), bad))
		time.Sleep(time.Minute)
		r.has("web", "192.168.1.245")
		r.has("bad", "192.168.1.246")
	})
}

func TestBadEditWaitsForWhatItAsksNow(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("first", holding("192.168.1.240"))), func(r *rig) {
		r.create(service("waits"))
		r.edit("waits", annotated("metallb.io/loadBalancerIPs", "192.168.1.x"))
		r.create(service("next", born(5)))
		r.remove("first")
		r.has("waits", "")
		r.has("next", "192.168.1.240")
	})
}

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
		r.cloud.allocator.Update(requestOf(stale, nil))
		r.cloud.mu.Unlock()
		r.editPool("a", func(pool *v1beta1.IPAddressPool) {
			pool.Spec.AllocateTo = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{
				{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}}}}}
		})
		r.has("web", "192.168.1.240")
		r.wantTold("web")
	})
}

func TestNoPoolYetLeavesAddressesAlone(t *testing.T) {
	play(t, Options{}, objects(service("web", holding("192.168.1.240"))), func(r *rig) {
		time.Sleep(time.Minute)
		r.has("web", "192.168.1.240")
		r.createPool(addressPool("a", "192.168.1.240/28"))
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

func TestSameAddressAgainIsTold(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("web")), func(r *rig) {
		r.deletePool("a")
		r.has("web", "")
		r.createPool(addressPool("a", "192.168.1.240/32"))
		r.has("web", "192.168.1.240")
		events, err := r.kube.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events.Items {
			if event.Reason == reasonAllocated && event.Count != 2 {
				t.Errorf("told %d times, want 2", event.Count)
			}
		}
	})
}

func TestNoNodesIsNoNews(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web", holding("192.168.1.240"))), func(r *rig) {
		if err := r.kube.CoreV1().Nodes().Delete(t.Context(), "node-1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.restart(Options{})
		time.Sleep(time.Minute)
		r.wantTold("web")
		r.wantWrites()
	})
}

// TestFinalizerIsRemovedInTheEnd is for a Service that has no class any more when its finalizer is removed.
func TestFinalizerIsRemovedInTheEnd(t *testing.T) {
	options := Options{LoadBalancerClass: "example.com/l2", HideClassless: true}
	play(t, options, objects(addressPool("a", "192.168.1.240/28"), service("web", class("example.com/l2"))), func(r *rig) {
		r.has("web", "192.168.1.240")
		var failed atomic.Bool
		r.kube.PrependReactor("patch", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
			removal := bytes.Contains(action.(clienttesting.PatchAction).GetPatch(), []byte("finalizers"))
			return removal && failed.CompareAndSwap(false, true), nil, apierrors.NewInternalError(errors.New("no answer"))
		})
		r.edit("web", func(svc *v1.Service) {
			svc.Spec.Type, svc.Spec.LoadBalancerClass, svc.Status = v1.ServiceTypeClusterIP, nil, v1.ServiceStatus{}
		})
		time.Sleep(time.Minute)
		if finalizers := r.get("web").Finalizers; len(finalizers) > 0 || !failed.Load() {
			t.Errorf("web keeps %v; the first removal failed: %t", finalizers, failed.Load())
		}
	})
}

func TestHandlersSeeTheViewHoweverTheyAreAdded(t *testing.T) {
	play(t, Options{}, objects(service("foreign", class("example.com/other")), service("web")), func(r *rig) {
		var seen []string
		handler := cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { seen = append(seen, obj.(metav1.Object).GetName()) }}
		for _, informer := range []cache.SharedIndexInformer{r.cloud.services.Informer(), silentNodes{r.cloud.caches.nodes}.Informer()} {
			if _, err := informer.AddEventHandlerWithOptions(handler, cache.HandlerOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		r.stop()
		if diff := cmp.Diff([]string{"web"}, seen); diff != "" {
			t.Errorf("seen (-want +got):\n%s", diff)
		}
		r.start(Options{})
	})
}

func TestClasses(t *testing.T) {
	services := func() []runtime.Object {
		return objects(addressPool("a", "192.168.1.240/28"),
			service("plain"), service("ours", class("example.com/l2"), born(1)), service("foreign", class("example.com/other"), finalizer, born(2)))
	}
	for name, tt := range map[string]struct {
		options     Options
		plain, ours string
	}{
		"default":        {Options{}, "192.168.1.240", ""},
		"class":          {Options{LoadBalancerClass: "example.com/l2"}, "any", "any"},
		"only the class": {Options{LoadBalancerClass: "example.com/l2", HideClassless: true}, "", "192.168.1.240"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, tt.options, services(), func(r *rig) {
				for name, want := range map[string]string{"plain": tt.plain, "ours": tt.ours} {
					if want != "any" {
						r.has(name, want)
					} else if len(r.get(name).Status.LoadBalancer.Ingress) != 1 {
						t.Errorf("%s has no address", name)
					}
				}
				if tt.ours != "" {
					if got := r.get("ours").Spec.LoadBalancerClass; got == nil || *got != "example.com/l2" {
						t.Errorf("the class of ours is %v", got)
					}
				}
				now := metav1.Now()
				r.edit("foreign", func(svc *v1.Service) { svc.DeletionTimestamp = &now })
				r.edit("foreign", func(svc *v1.Service) { svc.Spec.Type, svc.Spec.LoadBalancerClass = v1.ServiceTypeClusterIP, nil })
				if len(r.get("foreign").Finalizers) != 1 {
					t.Error("a foreign Service lost its finalizer")
				}
				r.wantTold("foreign")
			})
		})
	}
}

func TestChangesTheStockControllerDoesNotLookAt(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28", "fd00::/126"), service("web")), func(r *rig) {
		r.has("web", "192.168.1.240")
		r.edit("web", func(svc *v1.Service) { svc.Status = v1.ServiceStatus{} })
		r.has("web", "192.168.1.240")
		r.edit("web", func(svc *v1.Service) { svc.Status.LoadBalancer.Ingress[0].IP = "1.2.3.4" })
		r.has("web", "192.168.1.240")

		team := addressPool("team", "10.0.0.0/32")
		team.Spec.AllocateTo = &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}}
		r.createPool(team)
		r.create(service("waits", annotated("metallb.io/address-pool", "team")))
		r.has("waits", "")
		r.edit("waits", func(svc *v1.Service) { svc.Labels = map[string]string{"team": "red"} })
		r.has("waits", "10.0.0.0")

		prefer := v1.IPFamilyPolicyPreferDualStack
		r.create(service("dual", func(svc *v1.Service) { svc.Spec.IPFamilies = []v1.IPFamily{v1.IPv6Protocol, v1.IPv4Protocol} }))
		r.has("dual", "fd00::")
		r.edit("dual", func(svc *v1.Service) { svc.Spec.IPFamilyPolicy = &prefer })
		r.has("dual", "fd00:: 192.168.1.241")
	})
}

func TestNamespaceLabels(t *testing.T) {
	team := addressPool("team", "10.0.0.0/32")
	team.Spec.AllocateTo = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}}
	play(t, Options{}, objects(team, service("web")), func(r *rig) {
		r.has("web", "")
		_, err := r.kube.CoreV1().Namespaces().Update(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "red"}}}, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.settle()
		r.has("web", "10.0.0.0")
	})
}

func TestNoWritesForWhatOthersDo(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/28"), service("web")), func(r *rig) {
		r.writes()
		for i := range 20 {
			r.edit("web", annotated("argocd.argoproj.io/tracking-id", fmt.Sprint(i)))
			if _, err := r.kube.CoreV1().Nodes().Create(t.Context(), &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("new-", i)}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			r.settle()
		}
		time.Sleep(5 * time.Minute)
		for _, write := range r.writes() {
			if write != "update services" && write != "create nodes" {
				t.Errorf("unexpected: %s", write)
			}
		}
		r.has("web", "192.168.1.240")
	})
}

func TestPoolStatus(t *testing.T) {
	young := addressPool("young", "192.168.1.240-192.168.1.243", "10.0.0.1/24")
	young.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31", "fd00::/64"), young), func(r *rig) {
		r.create(service("one"))
		r.create(service("two"))
		time.Sleep(2 * time.Second)
		status := r.getPool("a").Status
		if status.AssignedIPv4 != 2 || status.AvailableIPv4 != 0 || status.AvailableIPv6 != 1<<63-1 || status.Conditions[0].Status != metav1.ConditionTrue {
			t.Errorf("a: %+v", status)
		}
		condition := r.getPool("young").Status.Conditions[0]
		want := `"10.0.0.1/24" has host bits set and would hand out 10.0.0.0-10.0.0.255: write 10.0.0.0/24 for that, or 10.0.0.1/32 for the one address; 192.168.1.240-192.168.1.241 is not used: the older pool a has it`
		if condition.Status != metav1.ConditionFalse || condition.Reason != "Invalid" || condition.Message != want {
			t.Errorf("young: %+v", condition)
		}
		r.wantTold("young", "Invalid: "+want)
		r.wantTold("a")
		r.pools.ClearActions()
		for i := range 20 {
			r.create(service(fmt.Sprint("s", i)))
		}
		updates := 0
		for _, action := range r.pools.Actions() {
			if action.GetSubresource() == "status" {
				updates++
			}
		}
		if updates > 3 {
			t.Errorf("%d writes of pool status in 2 s", updates)
		}
	})
}

func TestPoolWithManyProblemsNamesTen(t *testing.T) {
	var entries []string
	for i := range 500 {
		entries = append(entries, fmt.Sprintf("10.0.%d.%d/24", i/250, i%250+1))
	}
	play(t, Options{}, objects(addressPool("a", entries...)), func(r *rig) {
		message := r.getPool("a").Status.Conditions[0].Message
		if !strings.HasPrefix(message, `"10.0.0.1/24" has host bits set`) || !strings.HasSuffix(message, "; and 490 more") || len(message) > 2000 {
			t.Errorf("%d characters: %s", len(message), message)
		}
	})
}

func TestRefusedPoolStatusIsNotRetried(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want int
	}{
		"invalid":   {apierrors.NewInvalid(v1beta1.GroupVersion.WithKind(v1beta1.KindIPAddressPool).GroupKind(), "a", nil), 1},
		"no answer": {apierrors.NewInternalError(errors.New("no answer")), 2},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, nil, func(r *rig) {
				var tries atomic.Int32
				r.pools.PrependReactor("update", "ipaddresspools", func(action clienttesting.Action) (bool, runtime.Object, error) {
					return action.GetSubresource() == "status" && tries.Add(1) <= 1, nil, tt.err
				})
				r.createPool(addressPool("a", "192.168.1.240/28"))
				time.Sleep(time.Minute)
				if got := int(tries.Load()); got != tt.want {
					t.Errorf("%d writes, want %d", got, tt.want)
				}
			})
		})
	}
}
