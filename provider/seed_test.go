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
	clienttesting "k8s.io/client-go/testing"
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
