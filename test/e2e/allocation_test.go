// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// prefixes are the two spellings of MetalLB's annotations.
var prefixes = []string{"metallb.io/", "metallb.universe.tf/"}

func TestTwoServicesGetTwoAddresses(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("two", lan))
	b.apply(service("one"), service("two"))
	one, two := b.address("one"), b.address("two")
	if one == two {
		t.Errorf("both got %s", one)
	}
	if message := b.event("one", "IPAllocated"); !strings.Contains(message, one.String()) {
		t.Errorf("event IPAllocated says %q, want it to name %s", message, one)
	}
}

func TestRequestedAddressIsHonoured(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("requested", lan))
	for i, prefix := range prefixes {
		want := fmt.Sprintf("192.168.1.24%d", 5+i)
		name := fmt.Sprintf("requests-%d", i)
		b.apply(service(name, prefix+"loadBalancerIPs", want))
		if got := b.address(name); got.String() != want {
			t.Errorf("%sloadBalancerIPs: %s gave %s", prefix, want, got)
		}
	}
}

func TestRequestedPoolIsHonoured(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(poolWith("reserved", "autoAssign: false", "192.168.1.50-192.168.1.59"))
	b.apply(service("unasked"))
	if message := b.pending("unasked"); message == "" {
		t.Error("a Service that may not use the only pool is told nothing")
	}
	for i, prefix := range prefixes {
		name := fmt.Sprintf("asks-%d", i)
		b.apply(service(name, prefix+"address-pool", "e2e-reserved"))
		if got, want := b.address(name), netip.MustParsePrefix("192.168.1.48/28"); !want.Contains(got) {
			t.Errorf("%saddress-pool gave %s, which is not in the pool", prefix, got)
		}
	}
}

func TestPoolsSpellAddressesInEveryWay(t *testing.T) {
	for name, tc := range map[string]struct {
		pool    string
		service string
		want    string
	}{
		"a CIDR, from its first address": {
			pool: pool("spelled", "10.99.0.0/28"), service: service("spelled"), want: "10.99.0.0",
		},
		"avoidBuggyIPs leaves out .0": {
			pool: poolWith("spelled", "avoidBuggyIPs: true", "10.99.0.0/28"), service: service("spelled"), want: "10.99.0.1",
		},
		"several ranges are one pool": {
			pool:    pool("spelled", "192.168.1.100-192.168.1.150", "192.168.1.200-192.168.1.220", "10.99.0.0/28"),
			service: service("spelled", "metallb.io/loadBalancerIPs", "192.168.1.220"), want: "192.168.1.220",
		},
		"IPv6": {
			pool:    pool("spelled", "192.168.1.100-192.168.1.150", "fd00:1::100-fd00:1::1ff"),
			service: serviceWith("spelled", "ipFamilyPolicy: SingleStack\nipFamilies: [IPv6]"), want: "fd00:1::100",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := begin(t, time.Minute)
			b.apply(tc.pool)
			b.apply(tc.service)
			if got := b.address("spelled"); got.String() != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFullPoolSaysSoAndServesWithinASecondOfGrowing(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("small", "192.168.1.240/32"))
	b.apply(service("first"))
	b.address("first")
	b.apply(service("second"))
	message := b.pending("second")
	if !strings.Contains(message, "e2e-small") || !strings.Contains(message, "in use") {
		t.Errorf("the event says %q, want it to name the pool and that its addresses are in use", message)
	}
	t.Log(message)

	pools, err := client.NewForConfig(b.Config)
	b.must(err)
	patch := []byte(`{"spec":{"addresses":["192.168.1.240-192.168.1.241"]}}`)
	start := time.Now()
	_, err = pools.IPAddressPools(lab.Namespace).Patch(b.ctx, "e2e-small", types.MergePatchType, patch, metav1.PatchOptions{})
	b.must(err)
	got := b.address("second")
	took := time.Since(start)
	t.Logf("%s after %v", got, took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("the Service got its address %v after the pool grew, want at most 1 s", took)
	}
}

func TestDeletedServiceGivesItsAddressBack(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("single", "192.168.1.240/32"))
	remove := b.apply(service("leaves"))
	addr := b.address("leaves")
	b.apply(service("waits"))
	b.pending("waits")
	remove()
	if got := b.address("waits"); got != addr {
		t.Errorf("got %s, want %s", got, addr)
	}
	b.must(b.AwaitService(b.ctx, namespace, "waits", "to be served by the stock controller", func(s *corev1.Service) error {
		for _, f := range s.Finalizers {
			if f == "service.kubernetes.io/load-balancer-cleanup" {
				return nil
			}
		}
		return fmt.Errorf("its finalizers are %q", s.Finalizers)
	}))
}
