// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

func vipLease(vip, node, epoch string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ourNamespace, Name: names.VIPLease(netip.MustParseAddr(vip)),
			Labels:      map[string]string{names.LabelLease: names.LeaseVIP},
			Annotations: map[string]string{names.AnnotationEpoch: epoch},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &node},
	}
}

func sessionLease(node, epoch string, renewed time.Time) *coordinationv1.Lease {
	renewTime := metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: names.SessionLease(node), Labels: map[string]string{names.LabelLease: names.LeaseSession}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &epoch, RenewTime: &renewTime},
	}
}

func (r *rig) wantLeases(want ...string) {
	r.t.Helper()
	list, err := r.kube.CoordinationV1().Leases(ourNamespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, lease := range list.Items {
		got = append(got, lease.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("leases (-want +got):\n%s", diff)
	}
}

func TestLeasesOfVIPsThatNobodyHasAreDeleted(t *testing.T) {
	later := time.Now().Add(1000000 * time.Hour) // virtual time starts in 2000
	play(t, Options{}, []runtime.Object{
		addressPool("a", "192.168.1.240/28"),
		service("web", holding("192.168.1.240")),
		sessionLease("node-1", "node-1/new", later),
		sessionLease("node-gone", "node-gone/x", time.Time{}),
		sessionLease("node-alive", "node-alive/x", later),
		vipLease("192.168.1.240", "", ""),                    // a Service has it
		vipLease("192.168.1.241", "", ""),                    // released
		vipLease("192.168.1.242", "node-1", "node-1/new"),    // still announced
		vipLease("192.168.1.243", "node-1", "node-1/old"),    // the session ended
		vipLease("192.168.1.244", "node-9", "node-9/any"),    // no session at all
		vipLease("fd00:1::10", "node-gone", "node-gone/x"),   // its session is about to go
		vipLease("fd00:1::11", "node-alive", "node-alive/x"), // its node object is gone, the speaker is not
	}, func(r *rig) {
		time.Sleep(2 * leaseSweepInterval)
		r.wantLeases("speaker-node-1", "speaker-node-alive", "vip-192.168.1.240", "vip-192.168.1.242", "vip-fd00-1--11")

		r.remove("web")
		time.Sleep(time.Second)
		r.wantLeases("speaker-node-1", "speaker-node-alive", "vip-192.168.1.242", "vip-fd00-1--11")

		released := vipLease("192.168.1.242", "", "node-1/new")
		if _, err := r.kube.CoordinationV1().Leases(ourNamespace).Update(t.Context(), released, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantLeases("speaker-node-1", "speaker-node-alive", "vip-fd00-1--11")
	})
}

func TestLeaseOfASharedVIPStaysWithItsLastService(t *testing.T) {
	shared := annotated("metallb.universe.tf/allow-shared-ip", "key")
	other := service("udp", shared, holding("192.168.1.240"), born(1))
	other.Spec.Ports[0].Protocol = "UDP"
	play(t, Options{}, []runtime.Object{addressPool("a", "192.168.1.240/28"), service("tcp", shared, holding("192.168.1.240")), other, vipLease("192.168.1.240", "", "")}, func(r *rig) {
		r.has("tcp", "192.168.1.240")
		r.has("udp", "192.168.1.240")
		r.remove("tcp")
		time.Sleep(2 * leaseSweepInterval)
		r.wantLeases("vip-192.168.1.240")
		r.remove("udp")
		time.Sleep(time.Second)
		r.wantLeases()
	})
}

func TestMemberlistSecretIsMadeSoonAfterAFailure(t *testing.T) {
	play(t, Options{}, nil, func(r *rig) {
		r.stop()
		secrets := r.kube.CoreV1().Secrets(ourNamespace)
		if err := secrets.Delete(t.Context(), names.MemberlistSecret, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		var failed atomic.Bool
		r.kube.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return failed.CompareAndSwap(false, true), nil, apierrors.NewInternalError(errors.New("no answer"))
		})
		r.start(Options{})
		time.Sleep(2 * time.Second)
		if _, err := secrets.Get(t.Context(), names.MemberlistSecret, metav1.GetOptions{}); err != nil || !failed.Load() {
			t.Errorf("after 3 s: %v", err)
		}
	})
}

func TestMemberlistSecret(t *testing.T) {
	play(t, Options{}, nil, func(r *rig) {
		get := func() string {
			secret, err := r.kube.CoreV1().Secrets(ourNamespace).Get(t.Context(), names.MemberlistSecret, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return string(secret.Data[names.MemberlistKey])
		}
		key := get()
		if len(key) < 64 {
			t.Errorf("the key has %d characters", len(key))
		}
		time.Sleep(2 * secretCheckInterval)
		r.restart(Options{})
		if get() != key {
			t.Error("the key changed")
		}
		if err := r.kube.CoreV1().Secrets(ourNamespace).Delete(t.Context(), names.MemberlistSecret, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * secretCheckInterval)
		if get() == key {
			t.Error("a deleted key came back")
		}
	})
}
