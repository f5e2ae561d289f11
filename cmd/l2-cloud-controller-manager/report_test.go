// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

func TestWhatAFormerLeaderToldIsRead(t *testing.T) {
	kube := fake.NewClientset()
	var selector string
	kube.PrependReactor("list", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		selector = action.(clienttesting.ListAction).GetListRestrictions().Fields.String()
		return true, &corev1.EventList{Items: []corev1.Event{
			{InvolvedObject: corev1.ObjectReference{UID: "web"}, Reason: provider.ReasonNotAnnounced, Message: "no node may"},
		}}, nil
	})
	told := toldBefore(t.Context(), kube)
	if selector != "reason=NotAnnounced" {
		t.Errorf("asked for events with %q", selector)
	}
	for this, want := range map[announcement]bool{
		{"web", "no node may"}: true, {"web", "for another reason"}: false, {"other", "no node may"}: false,
	} {
		if told[this] != want {
			t.Errorf("%v was told: %t, want %t", this, told[this], want)
		}
	}
}

func TestUsersAreToldAgainWhenEventsCannotBeRead(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("refused")
	})
	if told := toldBefore(t.Context(), kube); len(told) != 0 {
		t.Errorf("told before: %v", told)
	}
}
