// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

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

// TestStockControllerSeesNoNodes: it would keep them for each Service that there ever was.
func TestStockControllerSeesNoNodes(t *testing.T) {
	play(t, Options{}, nil, func(r *rig) {
		nodes := silentNodes{r.cloud.caches.nodes}
		if all, err := r.cloud.caches.nodes.Lister().List(labels.Everything()); err != nil || len(all) != 1 {
			t.Fatalf("the sweep sees %d nodes, %v", len(all), err)
		}
		if all, err := nodes.Lister().List(labels.Everything()); err != nil || len(all) != 0 {
			t.Errorf("it sees %d nodes, %v", len(all), err)
		}
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

// TestOnlyNewTermsWakeThoseWhoWait: a Service with a sharing key that is ensured as it was makes room for nobody.
func TestOnlyNewTermsWakeThoseWhoWait(t *testing.T) {
	key := annotated("metallb.io/allow-shared-ip", "key")
	for name, tt := range map[string]struct {
		edit edit
		want bool
	}{
		"nothing changed": {func(*v1.Service) {}, false},
		"a label":         {labelled("app", "web"), false},
		"another port":    {port(81), true},
		"another key":     {annotated("metallb.io/allow-shared-ip", "other"), true},
		"local endpoints": {func(svc *v1.Service) {
			svc.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal
			svc.Spec.Selector = map[string]string{"app": "web"}
		}, true},
		"what cannot be had": {annotated("metallb.io/loadBalancerIPs", "10.0.0.1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/28")), func(r *rig) {
				r.create(service("web", key))
				r.has("web", "192.168.1.240")
				r.stop() // nobody hears the signal any more
				svc := r.get("web").DeepCopy()
				tt.edit(svc)
				_, _ = r.cloud.allocate(svc)
				if got := len(r.cloud.addressFreed) > 0; got != tt.want {
					t.Errorf("woken: %t, want %t", got, tt.want)
				}
			})
		})
	}
}
