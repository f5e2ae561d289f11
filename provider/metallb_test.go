// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// conformancePools are the pools of the cases below: 1 and 3 for everybody, 2, 4 and 5 by name only, the rest reserved.
func conformancePools() []runtime.Object {
	pool := func(name string, allocation *v1beta1.ServiceAllocation, addresses ...string) *v1beta1.IPAddressPool {
		p := addressPool(name, addresses...)
		p.Spec.AllocateTo = allocation
		return p
	}
	named := func(p *v1beta1.IPAddressPool) *v1beta1.IPAddressPool {
		off := false
		p.Spec.AutoAssign = &off
		return p
	}
	reserved := func(priority int32, namespace string, selects bool) *v1beta1.ServiceAllocation {
		allocation := &v1beta1.ServiceAllocation{Priority: priority}
		if namespace != "" {
			allocation.Namespaces = []string{namespace}
		}
		if selects {
			allocation.ServiceSelectors = selecting("team", "metal").ServiceSelectors
		}
		return allocation
	}
	return objects(
		pool("pool1", nil, "1.2.3.0/31"), named(pool("pool2", nil, "3.4.5.6/32")),
		pool("pool3", nil, "1000::/127"), named(pool("pool4", nil, "2000::1/128")),
		named(pool("pool5", nil, "5.5.5.0/31", "5000::/127")),
		pool("pool6", reserved(10, "ns1", false), "7.8.9.0/31"), pool("pool7", reserved(11, "ns1", false), "10.11.12.0/31"),
		pool("pool8", reserved(9, "", true), "13.14.15.0/31"), pool("pool9", reserved(0, "ns2", false), "16.17.18.0/31"),
		pool("pool10", reserved(8, "", true), "19.20.21.0/31"),
		pool("pool11", reserved(8, "ns1", true), "22.23.24.0/31"), pool("pool12", reserved(5, "ns1", true), "25.26.27.0/31"),
	)
}

type edit = func(*v1.Service)

func in(namespace string) edit { return func(svc *v1.Service) { svc.Namespace = namespace } }

func labelled(key, value string) edit {
	return func(svc *v1.Service) { svc.Labels = map[string]string{key: value} }
}

func loadBalancerIP(addr string) edit {
	return func(svc *v1.Service) { svc.Spec.LoadBalancerIP = addr }
}

func addressesAnnotation(value string) edit { return annotated("metallb.io/loadBalancerIPs", value) }

func poolAnnotation(name string) edit { return annotated("metallb.universe.tf/address-pool", name) }

// families gives a Service the policy and the families of its cluster IPs.
func families(policy v1.IPFamilyPolicy, families ...v1.IPFamily) edit {
	return func(svc *v1.Service) {
		svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &policy, families
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "", nil
		for _, family := range families {
			svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, map[v1.IPFamily]string{v1.IPv4Protocol: "10.96.0.1", v1.IPv6Protocol: "fd00:96::1"}[family])
		}
		if len(families) > 0 {
			svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
		}
	}
}

// TestMetalLBConformance plays what users of MetalLB rely on through the real stock controller. Every case starts the
// controller with the Service there: the outcome is a function of the input.
func TestMetalLBConformance(t *testing.T) {
	const (
		four    = v1.IPv4Protocol
		six     = v1.IPv6Protocol
		single  = v1.IPFamilyPolicySingleStack
		prefer  = v1.IPFamilyPolicyPreferDualStack
		require = v1.IPFamilyPolicyRequireDualStack
	)
	hostname := func(svc *v1.Service) {
		svc.Status.LoadBalancer.Ingress = append([]v1.LoadBalancerIngress{{Hostname: "foo.bar"}}, svc.Status.LoadBalancer.Ingress...)
	}
	local := func(svc *v1.Service) { svc.Spec.ExternalTrafficPolicy = v1.ServiceExternalTrafficPolicyLocal }
	ofType := func(kind v1.ServiceType) edit { return func(svc *v1.Service) { svc.Spec.Type = kind } }
	for _, tt := range []struct {
		name    string
		edits   []edit
		want    string
		refused bool // an AllocationFailed event says why
	}{
		{"M02 not a load balancer", []edit{ofType(v1.ServiceTypeClusterIP)}, "", false},
		{"M03 plain", nil, "1.2.3.0", false},
		{"M04 spec.loadBalancerIP", []edit{loadBalancerIP("1.2.3.1")}, "1.2.3.1", false},
		{"M05 address annotation", []edit{addressesAnnotation("1.2.3.1")}, "1.2.3.1", false},
		{"M06 both", []edit{loadBalancerIP("1.2.3.1"), addressesAnnotation("1.2.3.1")}, "", true},
		{"M07 spec.loadBalancerIP is no address", []edit{loadBalancerIP("please sir may I have an IP address thank you")}, "", true},
		{"M08 address of another pool", []edit{loadBalancerIP("1.2.3.1"), poolAnnotation("pool2")}, "", true},
		{"M09 annotation is no address", []edit{addressesAnnotation("please")}, "", true},
		{"M10 two of one family", []edit{addressesAnnotation("1.2.3.0,1.2.3.1")}, "", true},
		{"M12 pool", []edit{poolAnnotation("pool1")}, "1.2.3.0", false},
		{"M13 pool changed", []edit{holding("1.2.3.0"), poolAnnotation("pool2")}, "3.4.5.6", false},
		{"M14 unknown pool", []edit{poolAnnotation("does-not-exist")}, "", true},
		{"M15 address of no pool", []edit{holding("2.3.4.5")}, "1.2.3.0", false},
		{"M16 host name and address of no pool", []edit{holding("10.10.10.10"), hostname}, "1.2.3.0", false},
		{"M18 address of a pool by name only", []edit{loadBalancerIP("3.4.5.6")}, "3.4.5.6", false},
		{"M19 the same, Local", []edit{loadBalancerIP("3.4.5.6"), local}, "3.4.5.6", false},
		{"M21 IPv6 for IPv4, field", []edit{loadBalancerIP("1000::")}, "", true},
		{"M22 IPv6 for IPv4, annotation", []edit{addressesAnnotation("1000::")}, "", true},
		{"M23 IPv4 for IPv6, field", []edit{families(single, six), loadBalancerIP("1.2.3.0")}, "", true},
		{"M24 IPv4 for IPv6, annotation", []edit{families(single, six), addressesAnnotation("1.2.3.0")}, "", true},
		{"M25 holds IPv6, is IPv4", []edit{holding("1000::")}, "1.2.3.0", false},
		{"M26 holds IPv4, is IPv6", []edit{families(single, six), holding("1.2.3.0")}, "1000::", false},
		{"M27 RequireDualStack", []edit{families(require, four, six)}, "1.2.3.0 1000::", false},
		{"M28 RequireDualStack from one pool", []edit{families(require, four, six), poolAnnotation("pool5")}, "5.5.5.0 5000::", false},
		{"M29 PreferDualStack", []edit{families(prefer, four, six)}, "1.2.3.0 1000::", false},
		{"M30 PreferDualStack with one family", []edit{families(prefer, four), in("ns1")}, "7.8.9.0", false},
		{"M31 PreferDualStack from one pool", []edit{families(prefer, four, six), poolAnnotation("pool5")}, "5.5.5.0 5000::", false},
		{"M32 PreferDualStack from an IPv4 pool", []edit{families(prefer, four, six), poolAnnotation("pool1")}, "1.2.3.0", false},
		{"M33 PreferDualStack, IPv6 only", []edit{families(prefer, six), poolAnnotation("pool3")}, "1000::", false},
		{"M34 PreferDualStack, IPv4 only, from a pool of both", []edit{families(prefer, four), poolAnnotation("pool5")}, "5.5.5.0", false},
		{"M35 RequireDualStack with one family", []edit{families(require, four)}, "", true},
		{"M36 one address for two families, field", []edit{families(require, four, six), loadBalancerIP("1.2.3.0")}, "", true},
		{"M37 one address for two families, annotation", []edit{families(require, four, six), addressesAnnotation("1.2.3.0")}, "", true},
		{"M38 an address for each family", []edit{families(require, four, six), addressesAnnotation("1.2.3.1, 1000::1")}, "1.2.3.1 1000::1", false},
		{"M39 RequireDualStack holds half", []edit{families(require, four, six), holding("1000::"), hostname}, "1.2.3.0 1000::", false},
		{"M40 two addresses for one family", []edit{addressesAnnotation("1.2.3.0,1000::")}, "", true},
		{"M41 namespace", []edit{in("ns1")}, "7.8.9.0", false},
		{"M42 namespace, no priority", []edit{in("ns2")}, "16.17.18.0", false},
		{"M43 label", []edit{labelled("team", "metal")}, "19.20.21.0", false},
		{"M44 namespace and label", []edit{in("ns1"), labelled("team", "metal")}, "25.26.27.0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := service("web", tt.edits...)
			play(t, Options{}, append(conformancePools(), svc), func(r *rig) {
				r.hasIn(svc.Namespace, "web", tt.want)
				failed := slices.ContainsFunc(r.told("web"), func(event string) bool { return strings.HasPrefix(event, reasonFailed) })
				if failed != tt.refused {
					t.Errorf("refused: %t, want %t: %q", failed, tt.refused, r.told("web"))
				}
				r.restart(Options{})
				r.hasIn(svc.Namespace, "web", tt.want)
				if !tt.refused {
					r.wantWrites() // converged
				}
			})
		})
	}
}

// TestMetalLBConformanceOfChanges are the cases that need a before and an after.
func TestMetalLBConformanceOfChanges(t *testing.T) {
	one := func() []runtime.Object { return objects(addressPool("a", "1.2.3.0/31")) }
	for name, tt := range map[string]struct {
		start []runtime.Object
		play  func(*rig)
	}{
		"M01 deleted": {one(), func(r *rig) {
			r.create(service("web"))
			r.remove("web")
			if r.exists("web") {
				r.t.Error("web is still there")
			}
		}},
		// MetalLB clears the status here. An address in use is kept until the one asked for can be had.
		"M11 asks for an address of no pool": {one(), func(r *rig) {
			r.create(service("web", loadBalancerIP("1.2.3.1")))
			r.edit("web", loadBalancerIP("1.2.4.1"))
			r.has("web", "1.2.3.1")
		}},
		"M17 no load balancer any more": {one(), func(r *rig) {
			r.create(service("web"))
			r.edit("web", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeNodePort })
			r.has("web", "")
		}},
		// An event says why; MetalLB says nothing.
		"M20 no cluster IP": {one(), func(r *rig) {
			r.create(service("web", func(svc *v1.Service) { svc.Spec.ClusterIP, svc.Spec.ClusterIPs, svc.Spec.IPFamilies = "None", nil, nil }))
			r.has("web", "")
		}},
		"M45 three addresses": {one(), func(r *rig) {
			r.create(service("web", holding("1.2.3.0", "1.2.3.1", "1000::")))
			r.has("web", "1.2.3.0")
			r.create(service("next"))
			r.settle()
			r.has("next", "1.2.3.1")
		}},
		"M46 pools come and go": {nil, func(r *rig) {
			r.create(service("web"))
			r.has("web", "")
			r.createPool(addressPool("a", "1.2.3.0/31"))
			r.has("web", "1.2.3.0")
			r.deletePool("a")
			r.has("web", "")
		}},
		"M47 a deleted Service's address": {objects(addressPool("a", "1.2.3.0/32")), func(r *rig) {
			r.create(service("web"))
			r.create(service("waits"))
			r.has("waits", "")
			r.remove("web")
			r.has("waits", "1.2.3.0")
		}},
		"M48 reassigned": {one(), func(r *rig) {
			r.create(service("web"))
			r.createPool(addressPool("b", "3.2.1.0/31"))
			r.has("web", "1.2.3.0")
			r.deletePool("a")
			r.has("web", "3.2.1.0")
		}},
		"M49 reassigned, dual stack": {objects(addressPool("a", "1.2.3.0/31", "1000::/127")), func(r *rig) {
			r.create(service("web", families(v1.IPFamilyPolicyRequireDualStack, v1.IPv4Protocol, v1.IPv6Protocol)))
			r.createPool(addressPool("b", "3.2.1.0/31", "3000::/127"))
			r.has("web", "1.2.3.0 1000::")
			r.deletePool("a")
			r.has("web", "3.2.1.0 3000::")
		}},
	} {
		t.Run(name, func(t *testing.T) { play(t, Options{}, tt.start, tt.play) })
	}
}

// TestPoolsChangeUnderUse: an address stays while some pool has it, and nobody else is disturbed.
func TestPoolsChangeUnderUse(t *testing.T) {
	const both = "1.2.3.0/31"
	for name, tt := range map[string]struct {
		edit      func(*rig)
		four, six string
	}{
		"R01 nothing changes": {func(r *rig) {
			r.editPool("test", func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = []string{both, "1000::/127"} })
		}, "1.2.3.0", "1000::"},
		"R02 expands":        {func(r *rig) { r.editPool("test", setAddresses("1.2.3.0/24", "1000::/64")) }, "1.2.3.0", "1000::"},
		"R03 shrinks beside": {func(r *rig) { r.editPool("test", setAddresses("1.2.3.0/32", "1000::/128")) }, "1.2.3.0", "1000::"},
		"R04 loses IPv4":     {func(r *rig) { r.editPool("test", setAddresses("1000::/127")) }, "", "1000::"},
		"R05 loses IPv6":     {func(r *rig) { r.editPool("test", setAddresses(both)) }, "1.2.3.0", ""},
		"R06 renamed": {func(r *rig) {
			r.createPoolSoon(addressPool("test2", both, "1000::/127"))
			r.deletePool("test")
		}, "1.2.3.0", "1000::"},
		"R07 split": {func(r *rig) {
			r.createPoolSoon(addressPool("test2", "1000::/127"))
			r.editPool("test", setAddresses(both))
		}, "1.2.3.0", "1000::"},
		"R08 avoidBuggyIPs": {func(r *rig) { r.editPool("test", func(p *v1beta1.IPAddressPool) { p.Spec.AvoidBuggyIPs = true }) }, "1.2.3.1", "1000::"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("test", both, "1000::/127"), service("four"), service("six", families(v1.IPFamilyPolicySingleStack, v1.IPv6Protocol))), func(r *rig) {
				r.has("four", "1.2.3.0")
				r.has("six", "1000::")
				tt.edit(r)
				r.has("four", tt.four)
				r.has("six", tt.six)
				for name, kept := range map[string]bool{"four": tt.four == "1.2.3.0", "six": tt.six == "1000::"} {
					cleared := slices.ContainsFunc(r.told(name), func(event string) bool { return strings.HasPrefix(event, reasonCleared) })
					if cleared == kept {
						t.Errorf("%s kept its address: %t, but told: %q", name, kept, r.told(name))
					}
				}
			})
		})
	}
}

func setAddresses(addresses ...string) func(*v1beta1.IPAddressPool) {
	return func(pool *v1beta1.IPAddressPool) { pool.Spec.Addresses = addresses }
}

// createPoolSoon is createPool by somebody who goes on at once.
func (r *rig) createPoolSoon(pool *v1beta1.IPAddressPool) {
	r.t.Helper()
	if _, err := r.pools.IPAddressPools(ourNamespace).Create(r.t.Context(), pool, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func TestM50Classes(t *testing.T) {
	for name, tt := range map[string]struct {
		flag  string
		class []edit
		want  string
	}{
		"neither":            {"", nil, "1.2.3.0"},
		"only the Service's": {"", []edit{class("example.com/foo")}, ""},
		"another":            {"example.com/bar", []edit{class("example.com/foo")}, ""},
		"the same":           {"example.com/foo", []edit{class("example.com/foo")}, "1.2.3.0"},
		"only the flag's":    {"example.com/foo", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			options := Options{LoadBalancerClass: tt.flag, HideClassless: tt.flag != ""}
			play(t, options, objects(addressPool("a", "1.2.3.0/31"), service("web", tt.class...)), func(r *rig) { r.has("web", tt.want) })
		})
	}
}
