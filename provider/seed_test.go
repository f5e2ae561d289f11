// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

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

func TestNoPoolYetLeavesAddressesAlone(t *testing.T) {
	play(t, Options{}, objects(service("web", holding("192.168.1.240"))), func(r *rig) {
		time.Sleep(time.Minute)
		r.has("web", "192.168.1.240")
		r.createPool(addressPool("a", "192.168.1.240/28"))
		r.has("web", "192.168.1.240")
		r.wantTold("web")
	})
}

// staleNamespaces has the first list that an informer makes of namespaces show an old one without labels, as a lagging API
// server without streamed lists may, and its watch say nothing for so long. That of the seeding shows what is there.
func (r *rig) staleNamespaces(lag time.Duration) {
	var lists, watches atomic.Int32
	r.kube.PrependReactor("list", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.ListActionImpl).ListOptions.ResourceVersion != "0" || lists.Add(1) > 1 {
			return false, nil, nil
		}
		return true, &v1.NamespaceList{Items: []v1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "default", ResourceVersion: "5"}}}}, nil
	})
	r.kube.PrependWatchReactor("namespaces", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if action.(clienttesting.WatchActionImpl).ListOptions.SendInitialEvents != nil {
			return true, nil, apierrors.NewInvalid(v1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), "", nil)
		}
		if watches.Add(1) > 1 {
			return false, nil, nil
		}
		silent := watch.NewFake()
		time.AfterFunc(lag, silent.Stop)
		return true, silent, nil
	})
}

// TestCachesMustHaveComeAsFarAsTheAPIServer: labels of a namespace that a cache does not show yet take nothing away.
func TestCachesMustHaveComeAsFarAsTheAPIServer(t *testing.T) {
	for name, tt := range map[string]struct {
		lag, ready time.Duration
		want       string
	}{
		"in time":  {5 * time.Second, 7 * time.Second, "192.168.1.240"},
		"too late": {time.Minute, cachesPatience + 2*seedRetryInterval, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reserved := addressPool("a", "192.168.1.240/28")
			reserved.Spec.AllocateTo = tenants("red")
			play(t, Options{}, objects(reserved), func(r *rig) {
				r.labelNamespaceAt("7", map[string]string{"team": "red"})
				r.create(service("web"))
				r.has("web", "192.168.1.240")
				r.stop()
				r.staleNamespaces(tt.lag)
				start := time.Now()
				r.start(Options{})
				time.Sleep(min(tt.lag, cachesPatience) - time.Since(start) - time.Second)
				if r.cloud.Ready() {
					t.Error("ready by an old cache")
				}
				time.Sleep(tt.ready - time.Since(start))
				if !r.cloud.Ready() {
					t.Error("not ready")
				}
				time.Sleep(5 * time.Second)
				r.has("web", tt.want)
			})
		})
	}
}

func TestReached(t *testing.T) {
	at := func(name, version string) v1.Service {
		return v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: version}}
	}
	for name, tt := range map[string]struct {
		cached, listed []v1.Service
		want           bool
	}{
		"nothing":               {nil, nil, true},
		"the same":              {[]v1.Service{at("a", "3")}, []v1.Service{at("a", "3")}, true},
		"older":                 {[]v1.Service{at("a", "9")}, []v1.Service{at("a", "10")}, false},
		"newer":                 {[]v1.Service{at("a", "21")}, []v1.Service{at("a", "10")}, true},
		"not seen yet":          {nil, []v1.Service{at("a", "10")}, false},
		"made since":            {[]v1.Service{at("a", "21")}, nil, true},
		"deletion not seen yet": {[]v1.Service{at("a", "10")}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := cache.NewStore(cache.MetaNamespaceKeyFunc)
			for i := range tt.cached {
				if err := store.Add(&tt.cached[i]); err != nil {
					t.Fatal(err)
				}
			}
			list := &v1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "20"}, Items: tt.listed}
			if got := reached(store, list); got != tt.want {
				t.Errorf("reached: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestServiceDeletedDuringTheSeeding: what it held is free, though its deletion was seen before it was restored.
func TestServiceDeletedDuringTheSeeding(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("waits", born(5))), func(r *rig) {
		r.has("waits", "192.168.1.240")
		r.remove("waits")
		gone := service("gone", holding("192.168.1.240"))
		r.cloud.restore(t.Context(), []v1.Service{*gone}, true)
		r.create(service("next"))
		r.has("next", "192.168.1.240")
	})
}
