// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// What an API server adds to, wipes from and refuses of a Service, with the stock service controller behind it, decides what
// allocation sees. These tests change Services as people do and look at what comes of it.

const (
	servicesRange4 = "10.98.4.0/28"
	servicesRange6 = "fd00:98:4::/124"
)

// A status written by hand is put right, and the Service keeps what it had.
func TestStatusWrittenByHandIsPutRight(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("hands", servicesRange4, servicesRange6))
	b.ready("hands")
	proxy := corev1.LoadBalancerIPModeProxy
	ip := func(addrs ...string) (ingress []corev1.LoadBalancerIngress) {
		for _, addr := range addrs {
			ingress = append(ingress, corev1.LoadBalancerIngress{IP: addr})
		}
		return ingress
	}
	for i, tc := range []struct {
		name    string
		service []edits
		status  []corev1.LoadBalancerIngress
	}{
		{name: "wiped"},
		{name: "M15 an address of nobody's", status: ip("203.0.113.5")},
		{name: "M16 a host name and an address of nobody's", status: append([]corev1.LoadBalancerIngress{{Hostname: "foo.example"}}, ip("203.0.113.10")...)},
		{name: "M25 an address of the wrong family", service: []edits{families(single, four)}, status: ip("fd00:98:4::5")},
		{name: "M26 an address of the wrong family, IPv6", service: []edits{families(single, six)}, status: ip("10.98.4.5")},
		{name: "M39 a host name and one of two addresses", service: []edits{families(require)}, status: append([]corev1.LoadBalancerIngress{{Hostname: "foo.example"}}, ip("fd00:98:4::5")...)},
		{name: "M45 three addresses", status: ip("10.98.4.5", "10.98.4.6", "10.98.4.7")},
		{name: "another ipMode", status: []corev1.LoadBalancerIngress{{IP: "10.98.4.5", IPMode: &proxy}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := b.made(t, newService(fmt.Sprintf("by-hand-%d", i), tc.service...))
			var ranges []string
			for _, family := range b.get(t, s).Spec.IPFamilies {
				ranges = append(ranges, map[corev1.IPFamily]string{four: servicesRange4, six: servicesRange6}[family])
			}
			before := b.drawn(t, s, ranges...)
			b.written(t, s, tc.status...)
			var exactly []string
			for _, addr := range before {
				exactly = append(exactly, netip.PrefixFrom(addr, addr.BitLen()).String())
			}
			b.drawn(t, s, exactly...)
		})
	}
}

// The type goes to ClusterIP and back: the API server wipes the status, the finalizer goes, and the address is free in between.
func TestTypeChangesFreeAndTakeTheAddress(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("typed-over", "10.98.4.1/32"))
	b.ready("typed-over")
	s := b.made(t, newService("typed-over"))
	b.drawn(t, s, "10.98.4.1/32")
	b.edited(t, s, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	b.must(b.AwaitService(b.ctx, s.Namespace, s.Name, "to be nobody's load balancer", func(s *corev1.Service) error {
		if len(s.Finalizers) > 0 || len(s.Status.LoadBalancer.Ingress) > 0 {
			return fmt.Errorf("it has finalizers %q and status %v", s.Finalizers, s.Status.LoadBalancer)
		}
		return nil
	}))
	other := b.made(t, newService("takes-over"))
	b.drawn(t, other, "10.98.4.1/32")
	b.edited(t, s, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	b.refused(t, s, "in use")
	b.must(b.removed(b.ctx, other))
	b.drawn(t, s, "10.98.4.1/32")

	t.Run("M17 to NodePort", func(t *testing.T) {
		b.edited(t, s, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
		b.drawn(t, s)
	})
}

// A Service that became another's, by its class, is left to the other at once, and one that became ours is served.
func TestClassDecidesWhoServes(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("classes", servicesRange4))
	b.ready("classes")
	class := "example.com/other"
	s := b.made(t, newService("classes"))
	b.drawn(t, s, servicesRange4)
	t.Run("the class of a LoadBalancer Service is immutable", func(t *testing.T) {
		patch := []byte(`{"spec":{"loadBalancerClass":"` + class + `"}}`)
		_, err := b.API.CoreV1().Services(s.Namespace).Patch(b.ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		answered(t, "change", err, "may not change once set")
	})
	t.Run("through another type to another class", func(t *testing.T) {
		b.edited(t, s, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
		b.edited(t, s, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &class
		})
		b.must(b.AwaitService(b.ctx, s.Namespace, s.Name, "to be left alone", func(s *corev1.Service) error {
			if len(s.Status.LoadBalancer.Ingress) > 0 {
				return fmt.Errorf("it has status %v", s.Status.LoadBalancer)
			}
			return nil
		}))
		b.drawn(t, b.made(t, newService("beside-classes")), servicesRange4) // by then it would have been served
		if addrs := lab.Addresses(b.get(t, s)); len(addrs) > 0 {
			t.Errorf("a Service of class %s has %v", class, addrs)
		}
	})
	t.Run("and back", func(t *testing.T) {
		b.edited(t, s, func(s *corev1.Service) { s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil })
		b.edited(t, s, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
		b.drawn(t, s, servicesRange4)
	})
}

// A Service goes from one family to two and back, as the API server lets it, and keeps the address of the family that stays.
func TestFamilyTransitionsKeepWhatStays(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("families", servicesRange4, servicesRange6))
	b.ready("families")
	for i, tc := range []struct {
		name  string
		first corev1.IPFamily
		own   string // the range of the first family
		other string
	}{
		{"IPv4 first", four, servicesRange4, servicesRange6},
		{"IPv6 first", six, servicesRange6, servicesRange4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := b.made(t, newService(fmt.Sprintf("families-%d", i), families(single, tc.first)))
			kept := b.drawn(t, s, tc.own)[0]
			exactly := netip.PrefixFrom(kept, kept.BitLen()).String()
			for _, policy := range []corev1.IPFamilyPolicy{prefer, require, prefer} {
				b.edited(t, s, func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &policy })
				b.drawn(t, s, exactly, tc.other)
			}
			b.edited(t, s, func(s *corev1.Service) {
				policy := single
				s.Spec.IPFamilyPolicy, s.Spec.IPFamilies, s.Spec.ClusterIPs = &policy, s.Spec.IPFamilies[:1], s.Spec.ClusterIPs[:1]
			})
			b.drawn(t, s, exactly)
		})
	}
}

// Pools come, shrink and go under Services.
func TestPoolsComeAndGoUnderServices(t *testing.T) {
	b := begin(t, 2*time.Minute)
	t.Run("M46 no pool, a pool, no pool", func(t *testing.T) {
		s := b.made(t, newService("m46"))
		b.refused(t, s, "no IPAddressPool")
		b.drawn(t, s)
		remove := b.apply(pool("m46", servicesRange4))
		b.drawn(t, s, servicesRange4)
		remove()
		b.drawn(t, s)
		b.told(t, s, "ClearAssignment")
	})
	for name, tc := range map[string]struct {
		service       []edits
		first, second []string
	}{
		"M48 another pool comes and the first goes":                    {nil, []string{"10.98.5.0/28"}, []string{"10.98.6.0/28"}},
		"M49 another pool comes and the first goes, with two families": {[]edits{families(require)}, []string{"10.98.5.0/28", "fd00:98:5::/124"}, []string{"10.98.6.0/28", "fd00:98:6::/124"}},
	} {
		t.Run(name, func(t *testing.T) {
			remove := b.apply(pool("first", tc.first...))
			b.ready("first")
			s := b.made(t, newService("reassigned-"+name[1:3], tc.service...))
			b.drawn(t, s, tc.first...)
			removeSecond := b.apply(pool("a-second", tc.second...))
			b.ready("a-second")
			b.drawn(t, s, tc.first...)
			remove()
			b.drawn(t, s, tc.second...)
			b.told(t, s, "ClearAssignment")
			b.must(b.removed(b.ctx, s))
			removeSecond()
		})
	}
	t.Run("V15 pools that overlap: the younger says so", func(t *testing.T) {
		b.apply(pool("overlap-1", "10.98.7.0/28"))
		b.ready("overlap-1")
		b.apply(pool("overlap-2", "10.98.7.8/29", "10.98.8.0/32"))
		_, err := b.Kubectl(b.ctx, "wait", "ipaddresspool/e2e-overlap-2", "-n", lab.Namespace, "--for=condition=Ready=false", "--timeout=30s")
		b.must(err)
	})
}
