// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

func edge(generation int64) *v1beta1.L2Advertisement {
	return &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: ourNamespace, Name: "edge", UID: "uid-edge", Generation: generation}}
}

// cover brings what edge matches, and waits until it has been written.
func (r *rig) cover(generation int64, faults ...plan.Fault) {
	r.cloud.Covered(map[types.UID]plan.Coverage{"uid-edge": {Generation: generation, Faults: faults}})
	time.Sleep(advertisementStatusPeriod)
	synctest.Wait()
}

// edgeReady is the condition of edge.
func (r *rig) edgeReady() *metav1.Condition {
	r.t.Helper()
	ad, err := r.pools.L2Advertisements(ourNamespace).Get(r.t.Context(), "edge", metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return meta.FindStatusCondition(ad.Status.Conditions, v1beta1.ConditionReady)
}

// edgeWrites counts writes of L2Advertisements since the last call.
func (r *rig) edgeWrites() (writes int) {
	for _, action := range r.pools.Actions() {
		if action.Matches("update", "l2advertisements/status") {
			writes++
		}
	}
	r.pools.ClearActions()
	return writes
}

// The condition of an L2Advertisement is the worst of what keeps it from being used, and has all of it in its message.
func TestAdvertisementCondition(t *testing.T) {
	none, node := plan.Fault{Reason: plan.SelectsNothing, Saw: "no pool"}, plan.Fault{Reason: plan.NoNode, Saw: "no node"}
	missing, service := plan.Fault{Reason: plan.NoSuchPool, Saw: "a pool too many"}, plan.Fault{Reason: plan.NoService, Saw: "no Service"}
	for name, tt := range map[string]struct {
		faults []plan.Fault
		want   string
	}{
		"all is well":                 {nil, "True Announces: there are pools and nodes that it selects"},
		"what silences it":            {[]plan.Fault{none}, "False SelectsNothing: no pool"},
		"the worst of two":            {[]plan.Fault{none, node}, "False SelectsNothing: no pool; no node"},
		"what takes a part only":      {[]plan.Fault{missing}, "True Announces: a pool too many"},
		"a part, and what silences":   {[]plan.Fault{node, missing}, "False NoNode: no node; a pool too many"},
		"Services, which come and go": {[]plan.Fault{service}, "True Announces: there are pools and nodes that it selects"},
	} {
		t.Run(name, func(t *testing.T) {
			got := advertisementCondition(plan.Coverage{Generation: 3, Faults: tt.faults})
			if text := string(got.Status) + " " + got.Reason + ": " + got.Message; text != tt.want || got.Type != "Ready" || got.ObservedGeneration != 3 {
				t.Errorf("%+v, want %s", got, tt.want)
			}
		})
	}
}

// TestAdvertisementStatus: it is written when it changes, for the generation that was looked at, at most once a second.
func TestAdvertisementStatus(t *testing.T) {
	play(t, Options{}, objects(edge(1)), func(r *rig) {
		if got := r.edgeReady(); got != nil {
			t.Errorf("before the first look: %+v", got)
		}
		r.cover(1, plan.Fault{Reason: plan.NoNode, Saw: "no node"})
		if got := r.edgeReady(); got == nil || got.Status != metav1.ConditionFalse || got.Reason != "NoNode" || got.Message != "no node" {
			t.Fatalf("no node: %+v", got)
		}
		if got := r.edgeWrites(); got != 1 {
			t.Errorf("%d writes, want 1", got)
		}
		for range 5 {
			r.cover(1, plan.Fault{Reason: plan.NoNode, Saw: "no node"}, plan.Fault{Reason: plan.NoService, Saw: "no Service"})
			r.cover(1, plan.Fault{Reason: plan.NoNode, Saw: "no node"})
		}
		if got := r.edgeWrites(); got != 0 {
			t.Errorf("Services came and went, and it was written %d times", got)
		}
		r.cover(2)
		if got := r.edgeReady(); got.Status != metav1.ConditionFalse {
			t.Errorf("what was found of a generation that is not there: %+v", got)
		}
		r.cover(1)
		if got := r.edgeReady(); got.Status != metav1.ConditionTrue || got.Reason != "Announces" {
			t.Errorf("all is well: %+v", got)
		}
		r.edgeWrites()
		for i := range 20 {
			fault := plan.Fault{Reason: plan.NoNode, Saw: strings.Repeat("x", i+1)}
			r.cloud.Covered(map[types.UID]plan.Coverage{"uid-edge": {Generation: 1, Faults: []plan.Fault{fault}}})
			r.settle()
		}
		if got := r.edgeWrites(); got == 0 || got > 3 {
			t.Errorf("%d writes in 2 s of changes", got)
		}

		// Somebody else takes it away: it is written again.
		if _, err := r.pools.L2Advertisements(ourNamespace).Update(t.Context(), edge(1), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * advertisementStatusPeriod)
		if got := r.edgeReady(); got == nil {
			t.Error("the condition is gone for good")
		}
	})
}

// What the API server refuses, or does not keep, is not written again and again; what it could not do is.
func TestRefusedAdvertisementStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want int // writes
	}{
		"invalid":                        {apierrors.NewInvalid(v1beta1.GroupVersion.WithKind(v1beta1.KindL2Advertisement).GroupKind(), "edge", nil), 1},
		"another write came first":       {apierrors.NewConflict(v1beta1.GroupVersion.WithResource(v1beta1.ResourceL2Advertisements).GroupResource(), "edge", nil), 1},
		"no answer":                      {apierrors.NewInternalError(errors.New("no answer")), 2},
		"a CRD that knows no conditions": {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(edge(1)), func(r *rig) {
				tries := 0
				r.pools.PrependReactor("update", "l2advertisements", func(action clienttesting.Action) (bool, runtime.Object, error) {
					tries++
					return tries == 1, edge(1), tt.err
				})
				r.cover(1)
				time.Sleep(time.Minute)
				if got := r.edgeWrites(); got != tt.want {
					t.Errorf("%d writes, want %d", got, tt.want)
				}
				if tt.err != nil {
					return
				}
				r.cover(1)
				if got := r.edgeWrites(); got != 0 {
					t.Errorf("what is not kept is written %d times more", got)
				}
				r.cover(1, plan.Fault{Reason: plan.NoNode, Saw: "no node"})
				if got := r.edgeWrites(); got != 1 {
					t.Errorf("what is new is written %d times, want once", got)
				}
			})
		})
	}
}
