// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	customfake "github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client/fake"
)

const ourNamespace = "metallb-system"

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	// The other handlers of apimachinery slow errors down by the wall clock: in virtual time, for 26 years.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	os.Exit(m.Run())
}

// rig is the provider under the real stock service controller, in virtual time, before API servers that live in memory.
type rig struct {
	t      *testing.T
	kube   *fake.Clientset
	pools  *customfake.Client
	cloud  *Cloud
	cancel context.CancelFunc
	done   chan struct{}
}

// play runs a test in virtual time, with the controller started.
func play(t *testing.T, options Options, objects []runtime.Object, test func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, kube: fake.NewClientset(), pools: customfake.NewClient(t)}
		r.numberEvents()
		r.add(&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		r.add(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
		for _, object := range objects {
			r.add(object)
		}
		r.start(options)
		test(r)
		r.stop()
	})
}

// numberEvents names events in the order in which they are created, since recorders name them by the time, which stands
// still here. Later ones of a series are patches, and find theirs by its former name and message.
func (r *rig) numberEvents() {
	var mu sync.Mutex
	created, numbers := 0, map[[2]string]string{}
	r.kube.PrependReactor("create", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		event := action.(clienttesting.CreateAction).GetObject().(*v1.Event)
		created++
		number := fmt.Sprintf("%06d", created)
		numbers[[2]string{event.Name, event.Message}], event.Name = number, number
		return false, nil, nil
	})
	r.kube.PrependReactor("patch", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		patch := action.(clienttesting.PatchActionImpl)
		var event v1.Event
		if err := json.Unmarshal(patch.Patch, &event); err != nil {
			r.t.Error(err)
		}
		patch.Name = numbers[[2]string{patch.Name, event.Message}]
		return clienttesting.ObjectReaction(r.kube.Tracker())(patch)
	})
}

func (r *rig) add(object runtime.Object) {
	r.t.Helper()
	tracker := r.kube.Tracker()
	switch object.(type) {
	case *v1beta1.IPAddressPool, *v1beta1.L2Advertisement:
		tracker = r.pools.Tracker
	}
	if err := tracker.Add(object); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(options Options) {
	r.t.Helper()
	options.Namespace = ourNamespace
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel, r.done = cancel, make(chan struct{})
	r.cloud = New()
	r.cloud.Configure(options)
	r.cloud.clients = clients{kube: r.kube, events: r.kube, pools: r.pools}
	factory := informers.NewSharedInformerFactory(r.kube, 0)
	r.cloud.start(ctx, factory, client.NewIPAddressPoolInformer(r.pools, ourNamespace, 0))
	stock, err := r.cloud.newServiceController(r.kube)
	if err != nil {
		r.t.Fatal(err)
	}
	factory.Start(ctx.Done())
	go func() {
		stock.Run(quietly(ctx), 3, controllersmetrics.NewControllerManagerMetrics("test"))
		r.cloud.Wait()
		factory.Shutdown()
		close(r.done)
	}()
	time.Sleep(time.Second) // caches are polled every 0.1 s
	synctest.Wait()
}

func (r *rig) stop() {
	r.cancel()
	<-r.done
}

func (r *rig) restart(options Options) {
	r.t.Helper()
	r.stop()
	r.kube.ClearActions()
	r.start(options)
}

// settle lets everything happen that happens within a tenth of a second: less than any back-off.
func (r *rig) settle() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// settlePools is settle after pools have rested.
func (r *rig) settlePools() {
	time.Sleep(poolsRest)
	r.settle()
}

func service(name string, edits ...func(*v1.Service)) *v1.Service {
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(epoch)},
		Spec: v1.ServiceSpec{
			Type:       v1.ServiceTypeLoadBalancer,
			IPFamilies: []v1.IPFamily{v1.IPv4Protocol},
			ClusterIP:  "10.96.0.1",
			ClusterIPs: []string{"10.96.0.1"},
			Ports:      []v1.ServicePort{{Port: 80, Protocol: v1.ProtocolTCP}},
		},
	}
	for _, edit := range edits {
		edit(svc)
	}
	return svc
}

func annotated(pairs ...string) func(*v1.Service) {
	return func(svc *v1.Service) {
		if svc.Annotations == nil {
			svc.Annotations = map[string]string{}
		}
		for i := 0; i < len(pairs); i += 2 {
			svc.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func class(name string) func(*v1.Service) {
	return func(svc *v1.Service) { svc.Spec.LoadBalancerClass = &name }
}

func finalizer(svc *v1.Service) {
	svc.Finalizers = []string{"service.kubernetes.io/load-balancer-cleanup"}
}

func holding(addrs ...string) func(*v1.Service) {
	mode := v1.LoadBalancerIPModeVIP
	return func(svc *v1.Service) {
		finalizer(svc)
		for _, addr := range addrs {
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, v1.LoadBalancerIngress{IP: addr, IPMode: &mode})
		}
	}
}

func born(minutes int) func(*v1.Service) {
	return func(svc *v1.Service) {
		svc.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(minutes) * time.Minute))
	}
}

func addressPool(name string, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(epoch)},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}
}

func (r *rig) create(svc *v1.Service) {
	r.t.Helper()
	if _, err := r.kube.CoreV1().Services(svc.Namespace).Create(r.t.Context(), svc, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

func (r *rig) edit(name string, edit func(*v1.Service)) {
	r.t.Helper()
	svc := r.get(name).DeepCopy()
	edit(svc)
	if _, err := r.kube.CoreV1().Services("default").Update(r.t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

// remove deletes a Service as the API server does: marked first, gone when its finalizers are.
func (r *rig) remove(name string) {
	r.t.Helper()
	now := metav1.Now()
	r.edit(name, func(svc *v1.Service) { svc.DeletionTimestamp = &now })
	if finalizers := r.get(name).Finalizers; len(finalizers) == 0 {
		r.vanish(name)
	}
}

func (r *rig) vanish(name string) {
	r.t.Helper()
	if err := r.kube.CoreV1().Services("default").Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

func (r *rig) get(name string) *v1.Service {
	r.t.Helper()
	svc, err := r.kube.CoreV1().Services("default").Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return svc
}

func (r *rig) exists(name string) bool {
	_, err := r.kube.CoreV1().Services("default").Get(r.t.Context(), name, metav1.GetOptions{})
	return err == nil
}

func (r *rig) createPool(pool *v1beta1.IPAddressPool) {
	r.t.Helper()
	if _, err := r.pools.IPAddressPools(ourNamespace).Create(r.t.Context(), pool, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settlePools()
}

func (r *rig) editPool(name string, edit func(*v1beta1.IPAddressPool)) {
	r.t.Helper()
	pool := r.getPool(name).DeepCopy()
	edit(pool)
	if _, err := r.pools.IPAddressPools(ourNamespace).Update(r.t.Context(), pool, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settlePools()
}

func (r *rig) deletePool(name string) {
	r.t.Helper()
	if err := r.pools.IPAddressPools(ourNamespace).Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settlePools()
}

func (r *rig) getPool(name string) *v1beta1.IPAddressPool {
	r.t.Helper()
	pool, err := r.pools.IPAddressPools(ourNamespace).Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return pool
}

// has checks the addresses in a Service's status.
func (r *rig) has(name, want string) {
	r.t.Helper()
	r.hasIn("default", name, want)
}

func (r *rig) hasIn(namespace, name, want string) {
	r.t.Helper()
	svc, err := r.kube.CoreV1().Services(namespace).Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var ips []string
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		ips = append(ips, ingress.IP)
		if ingress.IPMode == nil || *ingress.IPMode != v1.LoadBalancerIPModeVIP {
			r.t.Errorf("%s has %s without ipMode VIP", name, ingress.IP)
		}
	}
	if got := strings.Join(ips, " "); got != want {
		r.t.Errorf("%s has %q, want %q", name, got, want)
	}
}

// told lists the events of a Service, oldest first.
func (r *rig) told(name string) []string {
	r.t.Helper()
	list, err := r.kube.CoreV1().Events("").List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortStableFunc(list.Items, func(a, b v1.Event) int {
		return strings.Compare(a.Name, b.Name)
	})
	var events []string
	for _, event := range list.Items {
		if event.InvolvedObject.Name == name {
			events = append(events, event.Reason+": "+event.Message)
		}
	}
	return events
}

func (r *rig) wantTold(name string, want ...string) {
	r.t.Helper()
	got := r.told(name)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("events of %s (-want +got):\n%s", name, diff)
	}
}

// writes lists what was written to the API server since the last call, Leases and the Secret left out.
func (r *rig) writes() []string {
	var writes []string
	for _, action := range r.kube.Actions() {
		if slices.Contains([]string{"get", "list", "watch"}, action.GetVerb()) || action.GetResource().Resource == "secrets" {
			continue
		}
		text := action.GetVerb() + " " + action.GetResource().Resource
		if action.GetSubresource() != "" {
			text += "/" + action.GetSubresource()
		}
		if create, ok := action.(clienttesting.CreateAction); ok {
			if event, ok := create.GetObject().(*v1.Event); ok {
				text += " " + event.Reason
			}
		}
		writes = append(writes, text)
	}
	r.kube.ClearActions()
	return writes
}

func (r *rig) wantWrites(want ...string) {
	r.t.Helper()
	got := r.writes()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// selecting reserves a pool for Services with a label.
func selecting(key, value string) *v1beta1.ServiceAllocation {
	return &v1beta1.ServiceAllocation{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}}
}

func objects(objects ...runtime.Object) []runtime.Object { return objects }
