// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

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

// TestFinalizerOfAFormerProcess is for a Service that lost its class with its type while no controller ran: only its managed
// fields still say whose the finalizer is.
func TestFinalizerOfAFormerProcess(t *testing.T) {
	finalizedBy := func(manager string) func(*v1.Service) {
		return func(svc *v1.Service) {
			finalizer(svc)
			svc.Spec.Type = v1.ServiceTypeClusterIP
			svc.ManagedFields = []metav1.ManagedFieldsEntry{{
				Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Subresource: "status", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:finalizers":{".":{},"v:\"service.kubernetes.io/load-balancer-cleanup\"":{}}}}`),
			}}
		}
	}
	only := Options{LoadBalancerClass: "example.com/l2", HideClassless: true}
	play(t, only, objects(service("ours", finalizedBy(fieldManager())), service("foreign", finalizedBy("controller"))), func(r *rig) {
		if left := r.get("ours").Finalizers; len(left) > 0 {
			t.Errorf("ours keeps %v", left)
		}
		if left := r.get("foreign").Finalizers; len(left) != 1 {
			t.Error("a foreign Service lost its finalizer")
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
		r.settle()
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
