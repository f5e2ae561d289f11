// SPDX-License-Identifier: Apache-2.0

package uninstall

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const namespace = "metallb-system"

// rig is an API server that has what an installation leaves behind, and what is other people's.
type rig struct {
	t        *testing.T
	kube     *fake.Clientset
	statuses string // the selector with which ServiceL2Statuses were deleted
	noCRD    bool
}

func newRig(t *testing.T, running ...runtime.Object) *rig {
	lease := func(namespace, name string, labels map[string]string) runtime.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	}
	secret := func(name string) runtime.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	r := &rig{t: t, kube: fake.NewClientset(append(running,
		lease(namespace, "vip-192.0.2.1", map[string]string{names.LabelLease: names.LeaseVIP}),
		lease(namespace, "speaker-node-1", map[string]string{names.LabelLease: names.LeaseSession}),
		lease(namespace, "cloud-provider-l2-controller", nil),
		lease(namespace, "someone-else", nil),
		lease("elsewhere", "vip-192.0.2.1", map[string]string{names.LabelLease: names.LeaseVIP}),
		secret("memberlist"),
		secret("someone-else"),
	)...)}
	// The fake has no answer of its own to this request. A reactor must not ask the client, which waits for it.
	r.kube.PrependReactor("delete-collection", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
		tracker, kind := r.kube.Tracker(), coordinationv1.SchemeGroupVersion.WithKind("Lease")
		list, err := tracker.List(action.GetResource(), kind, action.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		selector := action.(clienttesting.DeleteCollectionAction).GetListRestrictions().Labels
		for _, lease := range list.(*coordinationv1.LeaseList).Items {
			if selector.Matches(labels.Set(lease.Labels)) {
				err = errors.Join(err, tracker.Delete(action.GetResource(), lease.Namespace, lease.Name))
			}
		}
		return true, nil, err
	})
	return r
}

func (r *rig) leases(namespace string) []string {
	r.t.Helper()
	list, err := r.kube.CoordinationV1().Leases(namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var found []string
	for _, lease := range list.Items {
		found = append(found, lease.Name)
	}
	return found
}

// DeleteCollection implements ServiceL2Statuses.
func (r *rig) DeleteCollection(_ context.Context, _ metav1.DeleteOptions, list metav1.ListOptions) error {
	if r.noCRD {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "servicel2statuses"}, "")
	}
	r.statuses = list.LabelSelector
	return nil
}

// left are the Leases and Secrets of the namespace.
func (r *rig) left() []string {
	r.t.Helper()
	found := r.leases(namespace)
	secrets, err := r.kube.CoreV1().Secrets(namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		found = append(found, "Secret "+secret.Name)
	}
	slices.Sort(found)
	return found
}

func (r *rig) removedAll() {
	r.t.Helper()
	if diff := cmp.Diff([]string{"Secret someone-else", "someone-else"}, r.left()); diff != "" {
		r.t.Errorf("left (-want +got)\n%s", diff)
	}
	if others := r.leases("elsewhere"); len(others) != 1 {
		r.t.Errorf("of the other namespace's Lease is left %v", others)
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "metallb", "component": "speaker"}},
		Spec:       corev1.PodSpec{NodeName: "node-1"},
	}
}

func TestRemovesItsRecordsAndNothingElse(t *testing.T) {
	r := newRig(t)
	if err := Records(t.Context(), r.kube, r, namespace); err != nil {
		t.Fatal(err)
	}
	r.removedAll()
	if r.statuses != "app.kubernetes.io/managed-by=cloud-provider-l2" {
		t.Errorf("ServiceL2Statuses were removed by the selector %q", r.statuses)
	}
	r.noCRD = true
	if err := Records(t.Context(), r.kube, r, namespace); err != nil {
		t.Errorf("once more, and without the CRDs: %v", err)
	}
}

// While a speaker ends, it may answer for addresses.
func TestWaitsForPodsToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pod("speaker-a"))
		log := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
		said := log.GetSink().(ktesting.Underlier).GetBuffer()
		done := make(chan error, 1)
		go func() { done <- Records(klog.NewContext(t.Context(), log), r.kube, r, namespace) }()
		time.Sleep(patience - 2*lookPeriod)
		if text := said.String(); strings.Count(text, "Waiting for") != 1 || !strings.Contains(text, "Pod speaker-a on node node-1") {
			t.Errorf("while it waits, it does not say once for what: %q", text)
		}
		if left := r.left(); len(left) != 6 {
			t.Errorf("before the pod has ended, only %v is left", left)
		}
		if err := r.kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), namespace, "speaker-a"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.removedAll()
	})
}

// An API server that does not answer for a moment is asked again.
func TestAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		started := time.Now()
		r.kube.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return time.Since(started) < 10*time.Second, nil, errors.New("not now")
		})
		if err := Records(t.Context(), r.kube, r, namespace); err != nil {
			t.Fatal(err)
		}
		r.removedAll()
	})
}

// The records of an installation that is there are what its speakers go by.
func TestRemovesNothingWhileInstalled(t *testing.T) {
	for name, tc := range map[string]struct {
		there runtime.Object
		says  string
	}{
		"the Deployment is there":  {&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "controller"}}, "Deployment controller"},
		"the DaemonSet is there":   {&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "speaker"}}, "DaemonSet speaker"},
		"a Pod has not ended":      {pod("speaker-a"), "Pod speaker-a on node node-1"},
		"the API server is ailing": {nil, "not well"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running []runtime.Object
				if tc.there != nil {
					running = append(running, tc.there)
				}
				r := newRig(t, running...)
				if tc.there == nil {
					r.kube.PrependReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("not well") })
				}
				started := time.Now()
				err := Records(t.Context(), r.kube, r, namespace)
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("the error does not say %q: %v", tc.says, err)
				}
				if waited := time.Since(started); waited < patience || waited > patience+lookPeriod {
					t.Errorf("it waited %v, want %v", waited, patience)
				}
				if left := r.left(); len(left) != 6 || r.statuses != "" {
					t.Errorf("only %v is left", left)
				}
			})
		})
	}
}

// What the roles do not allow is not allowed a second later.
func TestDoesNotWaitForRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.kube.PrependReactor("get", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "daemonsets"}, "speaker", errors.New("no role"))
		})
		started := time.Now()
		if err := Records(t.Context(), r.kube, r, namespace); !apierrors.IsForbidden(err) {
			t.Errorf("the error is %v", err)
		}
		if waited := time.Since(started); waited != 0 {
			t.Errorf("it waited %v", waited)
		}
		if left := r.left(); len(left) != 6 || r.statuses != "" {
			t.Errorf("only %v is left", left)
		}
	})
}

// What cannot be removed is named, and the rest removed.
func TestNamesWhatCannotBeRemoved(t *testing.T) {
	r := newRig(t)
	r.kube.PrependReactor("delete", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("not allowed") })
	err := Records(t.Context(), r.kube, r, namespace)
	if err == nil || !strings.Contains(err.Error(), "the key of the heartbeats: not allowed") {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff([]string{"Secret memberlist", "Secret someone-else", "someone-else"}, r.left()); diff != "" {
		t.Errorf("left (-want +got)\n%s", diff)
	}
}
