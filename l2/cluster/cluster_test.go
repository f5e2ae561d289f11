// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	customfake "github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client/fake"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const ourNamespace = "metallb-system"

// rig is an API server in memory.
type rig struct {
	t      *testing.T
	ctx    context.Context
	kube   *fake.Clientset
	custom *customfake.Client
	// planned counts the plans of a Reporter, if it is there.
	planned *atomic.Int32
	// covered takes what a Reporter tells of coverage, if it is there.
	covered chan map[types.UID]plan.Coverage
}

// inRig runs a test in virtual time, with an API server in memory.
func inRig(t *testing.T, test func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		r := &rig{t: t, ctx: ctx, kube: fake.NewClientset(), custom: customfake.NewClient(t)}
		test(r)
		stop()
		synctest.Wait()
	})
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) createService(name, address string) {
	r.t.Helper()
	service := fullService(name, address)
	service.Spec.LoadBalancerClass, service.Spec.ExternalTrafficPolicy = nil, corev1.ServiceExternalTrafficPolicyCluster
	_, err := r.kube.CoreV1().Services("default").Create(r.ctx, service, metav1.CreateOptions{})
	r.must(err)
}

func (r *rig) createSlice(service string, endpoints int) *discoveryv1.EndpointSlice {
	r.t.Helper()
	slice, err := r.kube.DiscoveryV1().EndpointSlices("default").Create(r.ctx, fullSlice(service, endpoints), metav1.CreateOptions{})
	r.must(err)
	return slice
}

func (r *rig) updateSlice(slice *discoveryv1.EndpointSlice) {
	r.t.Helper()
	_, err := r.kube.DiscoveryV1().EndpointSlices("default").Update(r.ctx, slice, metav1.UpdateOptions{})
	r.must(err)
}

func (r *rig) createNode(name string) {
	r.t.Helper()
	node := fullNode(name)
	node.Spec = corev1.NodeSpec{}
	_, err := r.kube.CoreV1().Nodes().Create(r.ctx, node, metav1.CreateOptions{})
	r.must(err)
}

func (r *rig) createPool(addresses ...string) {
	r.t.Helper()
	_, err := r.custom.IPAddressPools(ourNamespace).Create(r.ctx, &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: "pool"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}, metav1.CreateOptions{})
	r.must(err)
}

func (r *rig) createAdvertisement(spec v1beta1.L2AdvertisementSpec) {
	r.t.Helper()
	_, err := r.custom.L2Advertisements(ourNamespace).Create(r.ctx, &v1beta1.L2Advertisement{
		ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: "ad"}, Spec: spec,
	}, metav1.CreateOptions{})
	r.must(err)
}

// writeSession creates or updates a session Lease.
func (r *rig) writeSession(lease *coordinationv1.Lease) {
	r.t.Helper()
	leases := r.kube.CoordinationV1().Leases(ourNamespace)
	if _, err := leases.Update(r.ctx, lease, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		_, err = leases.Create(r.ctx, lease, metav1.CreateOptions{})
		r.must(err)
	} else {
		r.must(err)
	}
}

// watch runs a Watcher, and returns how to see the plans since the last look.
func (r *rig) watch() (watcher *Watcher, plans func() []map[netip.Addr]plan.VIP) {
	r.t.Helper()
	published := make(chan map[netip.Addr]plan.VIP, 1000)
	watcher, err := NewWatcher(r.kube, r.custom, ourNamespace, Selection{ServeClassless: true}, func(vips map[netip.Addr]plan.VIP) { published <- vips })
	r.must(err)
	go func() {
		if err := watcher.Run(r.ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	return watcher, func() (all []map[netip.Addr]plan.VIP) {
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		for len(published) > 0 {
			all = append(all, <-published)
		}
		return all
	}
}

func inShortAll(plans []map[netip.Addr]plan.VIP) []string {
	var texts []string
	for _, vips := range plans {
		text := ""
		for addr, vip := range vips {
			text += fmt.Sprintf("%s %s%d", addr, vip.Reason, len(vip.Nodes))
		}
		texts = append(texts, text)
	}
	return texts
}

// There is no plan before it is known who speaks, and then one for each change that matters, and none for others.
func TestPlansFollowTheCluster(t *testing.T) {
	inRig(t, func(r *rig) {
		r.createPool("10.0.0.0/24")
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{})
		r.createNode("node-0")
		r.createService("web", "10.0.0.1")
		slice := r.createSlice("web", 1)
		watcher, plans := r.watch()
		want := func(what string, texts ...string) {
			t.Helper()
			if diff := cmp.Diff(texts, inShortAll(plans())); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		want("nobody knows who speaks")
		if !watcher.HasSynced() {
			t.Error("not synced")
		}
		watcher.SetSpeakers(map[string]plan.Speaker{"node-0": {}})
		want("speakers are known", "10.0.0.1 1")
		if uid := watcher.ServiceUID(types.NamespacedName{Namespace: "default", Name: "web"}); uid == "" {
			t.Error("the Service has no UID")
		}
		if uid := watcher.ServiceUID(types.NamespacedName{Namespace: "default", Name: "none"}); uid != "" {
			t.Errorf("the UID of no Service: %s", uid)
		}

		for n := range 20 {
			slice := r.createSlice(fmt.Sprintf("other-%d", n), 30)
			slice.Endpoints = slice.Endpoints[:2]
			r.updateSlice(slice)
		}
		want("pods of other Services")
		slice.Endpoints = append(slice.Endpoints, slice.Endpoints[0])
		r.updateSlice(slice)
		want("another pod on the same node")
		slice.Endpoints = nil
		r.updateSlice(slice)
		want("no pod is left", "10.0.0.1 NoReadyEndpoints1")
		r.must(r.kube.CoreV1().Services("default").Delete(r.ctx, "web", metav1.DeleteOptions{}))
		want("the Service is gone", "")
		r.must(r.kube.DiscoveryV1().EndpointSlices("default").Delete(r.ctx, slice.Name, metav1.DeleteOptions{}))
		want("its endpoints too")
		r.createService("other-0", "10.0.0.2")
		want("a Service that comes after its endpoints", "10.0.0.2 1")
	})
}

// A burst of changes is planned for at once, and then together.
func TestBurstsArePlannedForTogether(t *testing.T) {
	inRig(t, func(r *rig) {
		r.createPool("10.0.0.0/24")
		watcher, plans := r.watch()
		watcher.SetSpeakers(map[string]plan.Speaker{})
		plans()
		for n := range 200 {
			r.createService(fmt.Sprintf("service-%d", n), fmt.Sprintf("10.0.0.%d", n))
		}
		all := plans()
		if len(all) < 1 || len(all) > 20 || len(all[len(all)-1]) != 200 {
			t.Errorf("%d plans, the last of %d VIPs", len(all), len(all[len(all)-1]))
		}
	})
}

func TestRest(t *testing.T) {
	for planning, want := range map[time.Duration]time.Duration{
		0: 10 * time.Millisecond, 500 * time.Microsecond: 10 * time.Millisecond, 10 * time.Millisecond: 190 * time.Millisecond, time.Second: 500 * time.Millisecond,
	} {
		if got := restAfter(planning); got != want {
			t.Errorf("after planning for %v: %v, want %v", planning, got, want)
		}
	}
}

// The API server leaves out what no plan reads.
func TestWatchesAreNarrow(t *testing.T) {
	inRig(t, func(r *rig) {
		r.watch()
		synctest.Wait()
		got := map[string]string{}
		for _, action := range r.kube.Actions() {
			if list, ok := action.(clienttesting.ListActionImpl); ok {
				got[action.GetResource().Resource] = list.ListOptions.LabelSelector + "|" + list.ListOptions.FieldSelector
			}
		}
		want := map[string]string{"services": "|spec.type=LoadBalancer", "endpointslices": "!service.kubernetes.io/headless|", "nodes": "|"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
