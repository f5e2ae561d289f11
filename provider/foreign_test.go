// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// TestForeignNamespace: what is made in a namespace where nobody reads it says so once, and gives out nothing.
func TestForeignNamespace(t *testing.T) {
	const poolsHere = "ForeignNamespace: IPAddressPools are read in namespace metallb-system only: create it there and delete it here, unless it is for another controller"
	pool := addressPool("elsewhere", "192.168.1.240/32")
	pool.Namespace = "default"
	advertisement := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "advertised", UID: "uid-advertised"}}
	ours := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: "ours", UID: "uid-ours"}}
	play(t, Options{}, objects(pool, advertisement, ours, addressPool("here", "10.0.0.0/32"), service("web")), func(r *rig) {
		told := func() {
			t.Helper()
			time.Sleep(time.Minute)
			r.wantTold("elsewhere", poolsHere)
			r.wantTold("advertised", "ForeignNamespace: L2Advertisements are read in namespace metallb-system only: create it there and delete it here, unless it is for another controller")
			r.wantTold("ours")
			r.wantTold("here")
		}
		told()
		r.has("web", "10.0.0.0") // the only one: a pool that comes first by its name has no part
		refused, err := r.pools.IPAddressPools("default").Get(t.Context(), "elsewhere", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ready := meta.FindStatusCondition(refused.Status.Conditions, v1beta1.ConditionReady)
		want := &metav1.Condition{Type: "Ready", Status: "False", Reason: "ForeignNamespace", Message: poolsHere[len("ForeignNamespace: "):], LastTransitionTime: ready.LastTransitionTime}
		if diff := cmp.Diff(want, ready); diff != "" {
			t.Errorf("condition (-want +got):\n%s", diff)
		}
		told() // and not again

		r.pools.ClearActions()
		refused = refused.DeepCopy()
		refused.Labels = map[string]string{"edited": "yes"}
		if _, err := r.pools.IPAddressPools("default").Update(t.Context(), refused, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		told()
		for _, action := range r.pools.Actions() {
			if action.GetSubresource() == "status" && action.GetNamespace() == "default" {
				t.Error("the same status is written again")
			}
		}
	})
}

// TestForeignPoolOfAnotherController: what somebody else says of a pool stays, whether it was there before we looked or came
// after us.
func TestForeignPoolOfAnotherController(t *testing.T) {
	ready := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: "InUse"}
	for name, theirs := range map[string]v1beta1.IPAddressPoolStatus{
		"counters of free addresses": {AvailableIPv4: 16},
		"counters of addresses":      {AssignedIPv6: 1},
		"a condition, none left":     {Conditions: []metav1.Condition{ready}},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := addressPool("before", "10.0.0.0/28"), addressPool("after", "10.0.1.0/28")
			before.Namespace, after.Namespace = "other-l2", "other-l2"
			before.Status = theirs
			play(t, Options{}, objects(before, after), func(r *rig) {
				time.Sleep(time.Minute)
				pools := r.pools.IPAddressPools("other-l2")
				refused, err := pools.Get(t.Context(), "after", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if len(refused.Status.Conditions) != 1 {
					t.Error("nobody's pool is not refused")
				}
				updated := refused.DeepCopy()
				updated.Status = theirs
				if _, err := pools.UpdateStatus(t.Context(), updated, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				for _, name := range []string{"before", "after"} {
					pool, err := pools.Get(t.Context(), name, metav1.GetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(theirs, pool.Status); diff != "" {
						t.Errorf("status of %s (-want +got):\n%s", name, diff)
					}
				}
				r.wantTold("before")
			})
		})
	}
}
