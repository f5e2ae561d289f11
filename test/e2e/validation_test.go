// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// takes is the wanted answer of an API server that accepts an object.
const takes = ""

// quoted is a list of n different addresses, as YAML.
func quoted(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("10.96.%d.%d", 100+i/200, i%200))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// pooledSpecs are specs of pools and what the API server must say to them. Names with a V are cases of MetalLB's own tests.
var pooledSpecs = []struct{ name, spec, want string }{
	{"V02 V05 everything at once", `{addresses: [10.0.0.0/28, "fd00:9::/120"], autoAssign: false, avoidBuggyIPs: true, serviceAllocation: {priority: 50,
		namespaces: [a, b], namespaceSelectors: [{matchLabels: {foo: bar}}], serviceSelectors: [{matchExpressions: [{key: app, operator: In, values: [x, z]}]}]}}`, takes},
	{"V07 a priority alone", `{addresses: [10.0.0.0/28], serviceAllocation: {priority: 1}}`, takes},
	{"two CIDRs", `{addresses: [198.51.100.0/24, 203.0.113.0/25]}`, takes},
	{"a range of IPv6 addresses", `{addresses: ["fc00:f853:0ccd:e799::-fc00:f853:0ccd:e799::ff"]}`, takes},
	{"spaces in a range", `{addresses: [" 192.168.1.240 - 192.168.1.250 "]}`, takes},
	{"one address without a prefix", `{addresses: [192.168.1.240, "fd00::1"]}`, takes},
	{"100 entries", `{addresses: ` + quoted(100) + `}`, takes},
	{"an entry of 83 characters", `{addresses: ["` + strings.Repeat(" ", 56) + `192.168.1.240-192.168.1.250"]}`, takes},

	{"V09 no addresses", `{autoAssign: true}`, `spec.addresses: Required value`},
	{"V09 an empty list", `{addresses: []}`, `spec.addresses in body should have at least 1 items`},
	{"V10 no address at all", `{addresses: [pool]}`, `"pool" is not a CIDR, a range or an address: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250`},
	{"V10 too large an octet", `{addresses: [100.200.300.400/24]}`, `"100.200.300.400/24" is not a CIDR`},
	{"V10 leading zeros", `{addresses: [001.2.3.4/32]}`, `"001.2.3.4/32" is not a CIDR`},
	{"V10 a range without an end", `{addresses: ["1.2.3.4-"]}`, `"1.2.3.4-" is not a CIDR`},
	{"V10 a zone", `{addresses: ["fd00::1%eth0"]}`, `is not a CIDR`},
	{"V11 too long a prefix", `{addresses: [1.2.3.0/33]}`, `"1.2.3.0/33" is not a CIDR`},
	{"V12 IPv4 order", `{addresses: [1.2.3.10-1.2.3.4]}`, `"1.2.3.10-1.2.3.4" ends before it begins: write 1.2.3.4-1.2.3.10`},
	{"V14 a CIDR twice", `{addresses: [10.0.0.0/28, 10.0.0.0/28]}`, `Duplicate value: "10.0.0.0/28"`},
	{"family", `{addresses: ["1.2.3.4-fd00::1"]}`, `begins in one IP family and ends in the other: write one range for each family`},
	{"host bits, IPv4", `{addresses: [192.168.1.5/24]}`, `"192.168.1.5/24" has host bits set: write 192.168.1.5 for that one address, or begin with the first address of the network for all of the /24`},
	{"host bits, IPv6", `{addresses: ["fd00::5/64"]}`, `"fd00::5/64" has host bits set`},
	{"unspecified", `{addresses: [0.0.0.0/0]}`, `contains unspecified, loopback, link-local, multicast or broadcast addresses, which cannot be given to Services: leave them out`},
	{"unspecified, IPv6", `{addresses: ["::/0"]}`, `cannot be given to Services`},
	{"loopback", `{addresses: [127.0.0.0/8]}`, `cannot be given to Services`},
	{"loopback, IPv6", `{addresses: ["::1"]}`, `cannot be given to Services`},
	{"loopback inside a range", `{addresses: [126.0.0.0-128.0.0.0]}`, `cannot be given to Services`},
	{"multicast", `{addresses: [224.0.0.0/4]}`, `cannot be given to Services`},
	{"multicast, IPv6", `{addresses: ["ff02::1"]}`, `cannot be given to Services`},
	{"link-local", `{addresses: [169.254.1.1-169.254.1.9]}`, `cannot be given to Services`},
	{"link-local, IPv6", `{addresses: ["fe80::/64"]}`, `cannot be given to Services`},
	{"broadcast", `{addresses: [255.255.255.255]}`, `cannot be given to Services`},
	{"IPv4-mapped", `{addresses: ["::ffff:1.2.3.4/120"]}`, `"::ffff:1.2.3.4/120" has an IPv4-mapped IPv6 address: write the IPv4 form, without ::ffff:`},
	{"IPv4-mapped, written in hexadecimal", `{addresses: ["::ffff:102:304"]}`, `has an IPv4-mapped IPv6 address`},
	{"101 entries", `{addresses: ` + quoted(101) + `}`, `must have at most 100 items`},
	{"an entry of 84 characters", `{addresses: ["` + strings.Repeat(" ", 57) + `192.168.1.240-192.168.1.250"]}`, `Too long: may not be more than 83 bytes`},
	{"a negative priority", `{addresses: [10.0.0.0/28], serviceAllocation: {priority: -1}}`, `should be greater than or equal to 0`},
	{"V03 a namespace twice", `{addresses: [10.0.0.0/28], serviceAllocation: {namespaces: [a, a]}}`, `Duplicate value: "a"`},
	{"V04 a namespace selector twice, which changes nothing", `{addresses: [10.0.0.0/28], serviceAllocation: {namespaceSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}}`, takes},
	{"V06 a Service selector twice, which changes nothing", `{addresses: [10.0.0.0/28], serviceAllocation: {serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}}`, takes},
	{"V06 a value twice", `{addresses: [10.0.0.0/28], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: In, values: [x, x]}]}]}}`, `values[1]: Duplicate value: "x"`},
	{"an unknown operator", `{addresses: [10.0.0.0/28], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: Gt, values: ["1"]}]}]}}`, `Unsupported value: "Gt"`},
	{"In without values", `{addresses: [10.0.0.0/28], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: In}]}]}}`, `operator In of key "a" needs values: add at least one`},
	{"Exists with values", `{addresses: [10.0.0.0/28], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: Exists, values: [x]}]}]}}`, `operator Exists of key "a" takes no values: remove them, or use In or NotIn`},
}

// Every rule for a pool is checked by a real API server, when the pool is made and when it is changed.
func TestAPIServerValidatesPools(t *testing.T) {
	b := begin(t, time.Minute)
	all, err := client.NewForConfig(b.Config)
	b.must(err)
	pools := all.IPAddressPools(lab.Namespace)
	b.apply(pool("changed", "198.51.100.0/28"))
	for _, tc := range pooledSpecs {
		t.Run(tc.name, func(t *testing.T) {
			p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "e2e-tried"}}
			understand(t, tc.spec, &p.Spec)
			_, err := pools.Create(b.ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			answered(t, "creation", err, tc.want)
			_, err = pools.Patch(b.ctx, "e2e-changed", types.JSONPatchType, replaceSpec(t, tc.spec), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			answered(t, "change", err, tc.want)
		})
	}
	t.Run("V13 a name twice", func(t *testing.T) {
		p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "e2e-changed"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/28"}}}
		_, err := pools.Create(b.ctx, p, metav1.CreateOptions{})
		answered(t, "creation", err, `"e2e-changed" already exists`)
	})
	t.Run("V08 no name", func(t *testing.T) {
		p := &v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/28"}}}
		_, err := pools.Create(b.ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		answered(t, "creation", err, `name or generateName is required`)
	})
}

func TestAPIServerValidatesAdvertisements(t *testing.T) {
	b := begin(t, time.Minute)
	all, err := client.NewForConfig(b.Config)
	b.must(err)
	advertisements := all.L2Advertisements(lab.Namespace)
	b.apply(advertisement("changed", "none"))
	for _, tc := range []struct{ name, spec, want string }{
		{"nothing: every pool from every node", `{}`, takes},
		{"V19 V21 V22 V23 everything at once", `{ipAddressPools: [a, b], ipAddressPoolSelectors: [{matchLabels: {x: z}}], interfaces: [eth0, bond0.100],
			nodeSelectors: [{matchLabels: {node-role.kubernetes.io/edge: "true"}}, {matchExpressions: [{key: zone, operator: In, values: [a, b]}]}],
			preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {rack: "1"}}}, {weight: 1, preference: {}}], serviceSelectors: [{matchLabels: {a: b}}]}`, takes},
		{"V16 a pool twice", `{ipAddressPools: [a, a]}`, `Duplicate value: "a"`},
		{"V17 a pool selector twice, which changes nothing", `{ipAddressPoolSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}`, takes},
		{"V20 a node selector twice, which changes nothing", `{nodeSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}`, takes},
		{"V20 a value twice", `{nodeSelectors: [{matchExpressions: [{key: zone, operator: In, values: [a, a]}]}]}`, `values[1]: Duplicate value: "a"`},
		{"V22 a Service selector twice, which changes nothing", `{serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}`, takes},
		{"V23 an unknown operator", `{preferredNodeSelectors: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}]}`, `Unsupported value: "Near"`},
		{"weight 0", `{preferredNodeSelectors: [{weight: 0, preference: {}}]}`, `weight in body should be greater than or equal to 1`},
		{"weight 101", `{preferredNodeSelectors: [{weight: 101, preference: {}}]}`, `weight in body should be less than or equal to 100`},
		{"an interface with a space", `{interfaces: ["eth 0"]}`, `"eth 0" cannot be the name of a network interface`},
		{"an interface with 16 characters", `{interfaces: [abcdefghijklmnop]}`, `which has 1 to 15 characters`},
		{"an interface twice", `{interfaces: [eth0, eth0]}`, `Duplicate value: "eth0"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "e2e-tried"}}
			understand(t, tc.spec, &a.Spec)
			_, err := advertisements.Create(b.ctx, a, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			answered(t, "creation", err, tc.want)
			_, err = advertisements.Patch(b.ctx, "e2e-changed", types.JSONPatchType, replaceSpec(t, tc.spec), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			answered(t, "change", err, tc.want)
		})
	}
}

// What of an L2Advertisement the API server cannot judge alone is in its condition, where people look and kubectl waits.
func TestConditionOfAdvertisements(t *testing.T) {
	b := begin(t, time.Minute)
	says := func(status, reason string) {
		t.Helper()
		for _, what := range []string{"condition=Ready=" + status, `jsonpath={.status.conditions[0].reason}=` + reason} {
			_, err := b.Kubectl(b.ctx, "wait", "l2advertisement/e2e-judged", "-n", lab.Namespace, "--for="+what, "--timeout=20s")
			b.must(err)
		}
	}
	b.apply(advertisement("judged", "judged"))
	says("False", "SelectsNothing")
	b.apply(poolWith("judged", "autoAssign: false", "198.51.100.0/28"))
	says("True", "Announces")
	b.must(b.Apply(b.ctx, advertisementWith("judged", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: nowhere}}]", "judged")))
	says("False", "NoNode")
	listed, err := b.Kubectl(b.ctx, "get", "l2advertisement", "e2e-judged", "-n", lab.Namespace)
	b.must(err)
	if !strings.Contains(listed, "READY") || !strings.Contains(listed, "False") {
		t.Errorf("kubectl get does not show it:\n%s", listed)
	}
}

func understand(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, "\t", " ")), into); err != nil {
		t.Fatal(err)
	}
}

// replaceSpec is the JSON patch that makes the text the spec of an object, whatever happens to its status meanwhile.
func replaceSpec(t *testing.T, text string) []byte {
	t.Helper()
	spec, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "\t", " ")))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `[{"op":"replace","path":"/spec","value":%s}]`, spec)
}

// answered checks what the API server said to a creation or a change.
func answered(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == takes && err != nil:
		t.Errorf("%s refused: %v", what, err)
	case want != takes && err == nil:
		t.Errorf("%s accepted, want %q", what, want)
	case want != takes && !strings.Contains(err.Error(), want):
		t.Errorf("%s: the API server says %q, want %q in it", what, err, want)
	}
}
