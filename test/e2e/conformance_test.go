// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// The cases M… are those of MetalLB's own controller tests, played on a real cluster. Addresses are written as the pool they must
// come from, since which one of a pool it is depends on what was released before. What cannot be had from a real API server (a
// RequireDualStack Service with one cluster IP, a LoadBalancer Service with none) is tested below it, in package provider.

// The namespaces that some pools are for.
const (
	namespace1 = "e2e-one"
	namespace2 = "e2e-two"
)

var conformancePools = []string{
	poolWith("m1", "", "10.97.1.0/31"),
	poolWith("m2", "autoAssign: false", "10.97.2.6/32"),
	poolWith("m3", "", "fd00:97:3::/127"),
	poolWith("m4", "autoAssign: false", "fd00:97:4::1/128"),
	poolWith("m5", "", "10.97.5.0/31", "fd00:97:5::/127"),
	poolWith("m6", "serviceAllocation: {priority: 10, namespaces: [e2e-one]}", "10.97.6.0/31"),
	poolWith("m7", "serviceAllocation: {priority: 11, namespaces: [e2e-one]}", "10.97.7.0/31"),
	poolWith("m8", "serviceAllocation: {priority: 9, serviceSelectors: [{matchLabels: {foo: bar}}]}", "10.97.8.0/31"),
	poolWith("m9", "serviceAllocation: {namespaces: [e2e-two]}", "10.97.9.0/31"),
	poolWith("m10", "serviceAllocation: {priority: 8, serviceSelectors: [{matchLabels: {foo: bar}}]}", "10.97.10.0/31"),
	poolWith("m11", "serviceAllocation: {priority: 8, namespaces: [e2e-one], serviceSelectors: [{matchLabels: {team: metallb}}]}", "10.97.11.0/31"),
	poolWith("m12", "serviceAllocation: {priority: 5, namespaces: [e2e-one], serviceSelectors: [{matchLabels: {team: metallb}}]}", "10.97.12.0/31"),
	"{apiVersion: v1, kind: Namespace, metadata: {name: e2e-one}}",
	"{apiVersion: v1, kind: Namespace, metadata: {name: e2e-two}}",
}

// edits of a Service.
type edits = func(*corev1.Service)

func inNamespace(name string) edits { return func(s *corev1.Service) { s.Namespace = name } }

func labelled(key, value string) edits {
	return func(s *corev1.Service) { s.Labels = map[string]string{key: value} }
}

func asking(key, value string) edits {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations["metallb.io/"+key] = value
	}
}

func askingInSpec(addr string) edits {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = addr }
}

func families(policy corev1.IPFamilyPolicy, list ...corev1.IPFamily) edits {
	return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, list }
}

const (
	single  = corev1.IPFamilyPolicySingleStack
	prefer  = corev1.IPFamilyPolicyPreferDualStack
	require = corev1.IPFamilyPolicyRequireDualStack
	four    = corev1.IPv4Protocol
	six     = corev1.IPv6Protocol
)

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// newService is a LoadBalancer Service without backends.
func newService(name string, all ...edits) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": "nobody"},
			Ports:    []corev1.ServicePort{{Port: 80}},
		},
	}
	for _, edit := range all {
		edit(s)
	}
	return s
}

// made creates a Service for as long as the subtest runs.
func (b *bench) made(t *testing.T, s *corev1.Service) *corev1.Service {
	t.Helper()
	created, err := b.API.CoreV1().Services(s.Namespace).Create(b.ctx, s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := b.removed(ctx, created); err != nil {
			t.Error("cleaning up:", err)
		}
	})
	return created
}

// removed deletes Services and waits until they are gone, so that their addresses are free.
func (b *bench) removed(ctx context.Context, services ...*corev1.Service) error {
	for _, s := range services {
		err := b.API.CoreV1().Services(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, s := range services {
		if err := b.AwaitNoService(ctx, s.Namespace, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// edited changes a Service.
func (b *bench) edited(t *testing.T, s *corev1.Service, all ...edits) {
	t.Helper()
	for {
		current, err := b.API.CoreV1().Services(s.Namespace).Get(b.ctx, s.Name, metav1.GetOptions{})
		if err == nil {
			for _, edit := range all {
				edit(current)
			}
			_, err = b.API.CoreV1().Services(s.Namespace).Update(b.ctx, current, metav1.UpdateOptions{})
		}
		if apierrors.IsConflict(err) && b.ctx.Err() == nil {
			continue // the controller was faster
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// written writes a Service's status, as somebody's hand does.
func (b *bench) written(t *testing.T, s *corev1.Service, ingress ...corev1.LoadBalancerIngress) {
	t.Helper()
	for {
		current, err := b.API.CoreV1().Services(s.Namespace).Get(b.ctx, s.Name, metav1.GetOptions{})
		if err == nil {
			current.Status.LoadBalancer.Ingress = ingress
			_, err = b.API.CoreV1().Services(s.Namespace).UpdateStatus(b.ctx, current, metav1.UpdateOptions{})
		}
		if apierrors.IsConflict(err) && b.ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// drawn waits until a Service has one address from each of the ranges, in their order, and nothing else in its status.
func (b *bench) drawn(t *testing.T, s *corev1.Service, ranges ...string) []netip.Addr {
	t.Helper()
	var found []netip.Addr
	ctx, cancel := context.WithTimeout(b.ctx, soon)
	defer cancel()
	err := b.AwaitService(ctx, s.Namespace, s.Name, fmt.Sprintf("to have an address of each of %v", ranges), func(s *corev1.Service) error {
		found = lab.Addresses(s)
		has := fmt.Errorf("it has %v", s.Status.LoadBalancer.Ingress)
		if len(found) != len(ranges) || len(s.Status.LoadBalancer.Ingress) != len(ranges) {
			return has
		}
		for i, addr := range found {
			if !netip.MustParsePrefix(ranges[i]).Contains(addr) {
				return has
			}
			if mode := s.Status.LoadBalancer.Ingress[i].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
				return fmt.Errorf("%s has not ipMode VIP", addr)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// refused waits for the event that says why a Service gets no address, and checks what it says.
func (b *bench) refused(t *testing.T, s *corev1.Service, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, soon)
	defer cancel()
	_, err := b.AwaitEvent(ctx, s.Namespace, s.Name, "AllocationFailed", func(e corev1.Event) bool {
		return e.InvolvedObject.UID == s.UID && strings.Contains(e.Message, says)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.apply(conformancePools...)
	for i, tc := range []struct {
		name    string
		service []edits
		ranges  []string // one address of each
		says    string   // else why there is none
	}{
		{name: "M03 nothing asked for", ranges: []string{"10.97.1.0/31"}},
		{name: "M04 an address, in the spec", service: []edits{askingInSpec("10.97.1.1")}, ranges: []string{"10.97.1.1/32"}},
		{name: "M05 an address, in the annotation", service: []edits{asking("loadBalancerIPs", "10.97.1.1")}, ranges: []string{"10.97.1.1/32"}},
		{name: "M06 both", service: []edits{askingInSpec("10.97.1.1"), asking("loadBalancerIPs", "10.97.1.0")}, says: "both"},
		{name: "M07 no address, in the spec", service: []edits{askingInSpec("loopback")}, says: `"loopback", which is not an IP address`},
		{name: "M08 an address of another pool than the one asked for", service: []edits{askingInSpec("10.97.1.1"), asking("address-pool", "e2e-m2")}, says: "e2e-m2"},
		{name: "M09 no address, in the annotation", service: []edits{asking("loadBalancerIPs", "loopback")}, says: `"loopback", which is not an IP address`},
		{name: "M10 two of one family", service: []edits{asking("loadBalancerIPs", "10.97.1.0,10.97.1.1")}, says: "10.97.1.1"},
		{name: "M12 a pool", service: []edits{asking("address-pool", "e2e-m1")}, ranges: []string{"10.97.1.0/31"}},
		{name: "M14 an unknown pool", service: []edits{asking("address-pool", "e2e-none")}, says: "e2e-none"},
		{name: "M18 an address of a pool that is not handed out unasked", service: []edits{askingInSpec("10.97.2.6")}, ranges: []string{"10.97.2.6/32"}},
		{name: "M19 the same with local traffic", service: []edits{askingInSpec("10.97.2.6"), local}, ranges: []string{"10.97.2.6/32"}},
		{name: "M21 an IPv6 address for IPv4, in the spec", service: []edits{families(single, four), askingInSpec("fd00:97:3::")}, says: "fd00:97:3::"},
		{name: "M22 an IPv6 address for IPv4, in the annotation", service: []edits{families(single, four), asking("loadBalancerIPs", "fd00:97:3::")}, says: "fd00:97:3::"},
		{name: "M23 an IPv4 address for IPv6, in the spec", service: []edits{families(single, six), askingInSpec("10.97.1.0")}, says: "10.97.1.0"},
		{name: "M24 an IPv4 address for IPv6, in the annotation", service: []edits{families(single, six), asking("loadBalancerIPs", "10.97.1.0")}, says: "10.97.1.0"},
		{name: "M27 RequireDualStack", service: []edits{families(require)}, ranges: []string{"10.97.5.0/31", "fd00:97:5::/127"}},
		{name: "M27 RequireDualStack, IPv6 first", service: []edits{families(require, six, four)}, ranges: []string{"fd00:97:5::/127", "10.97.5.0/31"}},
		{name: "M28 RequireDualStack and a pool", service: []edits{families(require), asking("address-pool", "e2e-m5")}, ranges: []string{"10.97.5.0/31", "fd00:97:5::/127"}},
		{name: "M29 PreferDualStack", service: []edits{families(prefer)}, ranges: []string{"10.97.5.0/31", "fd00:97:5::/127"}},
		{name: "M31 PreferDualStack and a pool", service: []edits{families(prefer), asking("address-pool", "e2e-m5")}, ranges: []string{"10.97.5.0/31", "fd00:97:5::/127"}},
		{name: "M32 PreferDualStack and a pool of IPv4", service: []edits{families(prefer), asking("address-pool", "e2e-m1")}, ranges: []string{"10.97.1.0/31"}},
		{name: "M33 PreferDualStack, IPv6 first, and a pool of IPv6", service: []edits{families(prefer, six, four), asking("address-pool", "e2e-m3")}, ranges: []string{"fd00:97:3::/127"}},
		{name: "M35 RequireDualStack and a pool of IPv4", service: []edits{families(require), asking("address-pool", "e2e-m1")}, says: "IPv6"},
		{name: "M36 two families and one address in the spec", service: []edits{families(require), askingInSpec("10.97.5.0")}, says: "10.97.5.0"},
		{name: "M37 two families and one address in the annotation", service: []edits{families(require), asking("loadBalancerIPs", "10.97.5.0")}, says: "10.97.5.0"},
		{name: "M38 two families and two addresses", service: []edits{families(require), asking("loadBalancerIPs", "10.97.5.1, fd00:97:5::1")}, ranges: []string{"10.97.5.1/32", "fd00:97:5::1/128"}},
		{name: "M40 one family and two addresses", service: []edits{families(single, four), asking("loadBalancerIPs", "10.97.5.1,fd00:97:5::1")}, says: "fd00:97:5::1"},
		{name: "M41 pools of the namespace: priority 10 before 11", service: []edits{inNamespace(namespace1)}, ranges: []string{"10.97.6.0/31"}},
		{name: "M42 a pool of the namespace without priority before pools for all", service: []edits{inNamespace(namespace2)}, ranges: []string{"10.97.9.0/31"}},
		{name: "M43 pools by label: priority 8 before 9", service: []edits{labelled("foo", "bar")}, ranges: []string{"10.97.10.0/31"}},
		{name: "M44 namespace and label: priority 5 first", service: []edits{inNamespace(namespace1), labelled("team", "metallb")}, ranges: []string{"10.97.12.0/31"}},
		{name: "A45 a pool of another namespace, asked for", service: []edits{asking("address-pool", "e2e-m6")}, says: "e2e-m6"},
		{name: "A46 an address of a pool for other Services, asked for", service: []edits{askingInSpec("10.97.8.0")}, says: "10.97.8.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := b.made(t, newService(fmt.Sprintf("conforms-%d", i), tc.service...)) // a name used again would have its last address
			if tc.says != "" {
				b.refused(t, s, tc.says)
			}
			b.drawn(t, s, tc.ranges...)
		})
	}

	t.Run("M02 a Service of another type is not touched", func(t *testing.T) {
		s := b.made(t, newService("internal", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }))
		b.drawn(t, b.made(t, newService("beside-internal")), "10.97.1.0/31") // by then it would have been
		if s = b.get(t, s); len(s.Finalizers) != 0 || len(s.Status.LoadBalancer.Ingress) != 0 {
			t.Errorf("it has finalizers %q and status %v", s.Finalizers, s.Status)
		}
	})
	t.Run("M11 an address in no pool, asked for later: what it has is kept", func(t *testing.T) {
		s := b.made(t, newService("conforms", askingInSpec("10.97.1.1")))
		b.drawn(t, s, "10.97.1.1/32")
		b.edited(t, s, askingInSpec("10.97.77.4"))
		b.refused(t, s, "10.97.77.4")
		b.drawn(t, s, "10.97.1.1/32")
	})
	t.Run("M13 another pool, asked for later", func(t *testing.T) {
		s := b.made(t, newService("conforms", asking("address-pool", "e2e-m1")))
		b.drawn(t, s, "10.97.1.0/31")
		b.edited(t, s, asking("address-pool", "e2e-m2"))
		b.drawn(t, s, "10.97.2.6/32")
	})
	t.Run("M20 a LoadBalancer Service without cluster IP does not exist", func(t *testing.T) {
		_, err := b.API.CoreV1().Services(namespace).Create(b.ctx, newService("conforms", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }),
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		answered(t, "creation", err, "may not be set to 'None' for LoadBalancer services")
	})
	t.Run("M50 a Service of another class is not touched", func(t *testing.T) {
		class := "example.com/other"
		s := newService("foreign", func(s *corev1.Service) {
			s.Spec.LoadBalancerClass, s.Finalizers = &class, []string{"service.kubernetes.io/load-balancer-cleanup"}
		})
		s = b.made(t, s)
		b.written(t, s, corev1.LoadBalancerIngress{IP: "203.0.113.9"})
		b.drawn(t, b.made(t, newService("beside-foreign")), "10.97.1.0/31")
		if s = b.get(t, s); len(s.Finalizers) != 1 || len(s.Status.LoadBalancer.Ingress) != 1 || s.Status.LoadBalancer.Ingress[0].IP != "203.0.113.9" {
			t.Errorf("it has finalizers %q and status %v", s.Finalizers, s.Status)
		}
		b.edited(t, s, func(s *corev1.Service) { s.Finalizers = nil })
	})
}

func (b *bench) get(t *testing.T, s *corev1.Service) *corev1.Service {
	t.Helper()
	found, err := b.API.CoreV1().Services(s.Namespace).Get(b.ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
