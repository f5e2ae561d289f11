// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

func TestPoolStatus(t *testing.T) {
	young := addressPool("young", "192.168.1.240-192.168.1.243", "10.0.0.1/24")
	young.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/31", "fd00::/64"), young), func(r *rig) {
		r.create(service("one"))
		r.create(service("two"))
		time.Sleep(2 * time.Second)
		status := r.getPool("a").Status
		if status.AssignedIPv4 != 2 || status.AvailableIPv4 != 0 || status.AvailableIPv6 != 1<<63-1 || status.Conditions[0].Status != metav1.ConditionTrue {
			t.Errorf("a: %+v", status)
		}
		condition := r.getPool("young").Status.Conditions[0]
		want := `pool young: addresses[1]: "10.0.0.1/24" has host bits set and would hand out 10.0.0.0-10.0.0.255: write 10.0.0.0/24 for that, or 10.0.0.1/32 for the one address; 192.168.1.240-192.168.1.241 is not used: the older pool a has it`
		if condition.Status != metav1.ConditionFalse || condition.Reason != "Invalid" || condition.Message != want {
			t.Errorf("young: %+v", condition)
		}
		r.wantTold("young", "Invalid: "+want)
		r.wantTold("a")
		r.pools.ClearActions()
		for i := range 20 {
			r.create(service(fmt.Sprint("s", i)))
		}
		updates := 0
		for _, action := range r.pools.Actions() {
			if action.GetSubresource() == "status" {
				updates++
			}
		}
		if updates > 3 {
			t.Errorf("%d writes of pool status in 2 s", updates)
		}
	})
}

func TestPoolWithManyProblemsNamesTen(t *testing.T) {
	var entries []string
	for i := range 500 {
		entries = append(entries, fmt.Sprintf("10.0.%d.%d/24", i/250, i%250+1))
	}
	play(t, Options{}, objects(addressPool("a", entries...)), func(r *rig) {
		message := r.getPool("a").Status.Conditions[0].Message
		if !strings.HasPrefix(message, `pool a: addresses[0]: "10.0.0.1/24" has host bits set`) || !strings.HasSuffix(message, "; and 490 more") || len(message) > 2000 {
			t.Errorf("%d characters: %s", len(message), message)
		}
	})
}

func TestRefusedPoolStatusIsNotRetried(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want int
	}{
		"invalid":   {apierrors.NewInvalid(v1beta1.GroupVersion.WithKind(v1beta1.KindIPAddressPool).GroupKind(), "a", nil), 1},
		"no answer": {apierrors.NewInternalError(errors.New("no answer")), 2},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, nil, func(r *rig) {
				var tries atomic.Int32
				r.pools.PrependReactor("update", "ipaddresspools", func(action clienttesting.Action) (bool, runtime.Object, error) {
					return action.GetSubresource() == "status" && tries.Add(1) <= 1, nil, tt.err
				})
				r.createPool(addressPool("a", "192.168.1.240/28"))
				time.Sleep(time.Minute)
				if got := int(tries.Load()); got != tt.want {
					t.Errorf("%d writes, want %d", got, tt.want)
				}
			})
		})
	}
}

// TestOverlapIsTheYoungersProblem: the rest of it, and of the configuration, goes on; when the older pool goes, so does the problem.
func TestOverlapIsTheYoungersProblem(t *testing.T) {
	young := addressPool("a-young", "192.168.1.240-192.168.1.242")
	young.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
	play(t, Options{}, objects(addressPool("b-old", "192.168.1.240/31"), young), func(r *rig) {
		const message = "192.168.1.240-192.168.1.241 is not used: the older pool b-old has it"
		ready := func(name string) metav1.Condition {
			time.Sleep(2 * poolStatusPeriod)
			return r.getPool(name).Status.Conditions[0]
		}
		if got := ready("a-young"); got.Status != metav1.ConditionFalse || got.Reason != "Overlap" || got.Message != message {
			t.Errorf("a-young: %+v", got)
		}
		if got := ready("b-old"); got.Status != metav1.ConditionTrue {
			t.Errorf("b-old: %+v", got)
		}
		r.wantTold("a-young", "Overlap: "+message)
		r.create(service("web", poolAnnotation("a-young")))
		r.has("web", "192.168.1.242")
		r.deletePool("b-old")
		if got := ready("a-young"); got.Status != metav1.ConditionTrue {
			t.Errorf("a-young: %+v", got)
		}
	})
}

func TestIPv6OrderIsTold(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "fd00::10-fd00::2")), func(r *rig) {
		condition := r.getPool("a").Status.Conditions[0]
		if condition.Status != metav1.ConditionFalse || condition.Reason != "Invalid" || !strings.Contains(condition.Message, "fd00::10-fd00::2") {
			t.Errorf("a: %+v", condition)
		}
		r.wantTold("a", "Invalid: "+condition.Message)
	})
}
