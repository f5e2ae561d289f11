// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// dualStack is a Service of both families with these annotations, without their prefix, and this port.
func dualStack(name, prefix string, port int32, annotations map[string]string) *v1.Service {
	policy := v1.IPFamilyPolicyPreferDualStack
	service := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Annotations: map[string]string{}},
		Spec: v1.ServiceSpec{
			IPFamilies: []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol}, IPFamilyPolicy: &policy, Ports: []v1.ServicePort{{Port: port}},
		},
	}
	for key, value := range annotations {
		service.Annotations[prefix+key] = value
	}
	return service
}

func inPlainText(requests ...ipam.Request) []ipam.Request {
	for i := range requests {
		if requests[i].Invalid != nil {
			requests[i].Invalid = sentence(requests[i].Invalid.Error())
		}
	}
	return requests
}

type sentence string

func (s sentence) Error() string { return string(s) }

// checkSentence wants the refusal of a stranger's text to fit into one line of an event, with a remedy after the colon.
func checkSentence(t *testing.T, text string) {
	t.Helper()
	if len(text) > 700 || strings.ContainsAny(text, "\n\r\x00") || !strings.Contains(text, ": ") {
		t.Errorf("refused with %q", text)
	}
}

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Whatever is in a Service's annotations is understood or refused in a sentence, means the same in both spellings and with spaces around it,
// and gets nothing that it does not ask for.
func FuzzAnnotations(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", ""},
		{"lan", "", ""},
		{" lan\n", "192.168.1.1, fd00::1", "key"},
		{"nan", "fd00::1,192.168.1.2", " "},
		{"lan,wan", "192.168.1.1", "a b"},
		{"", "192.168.1.1,", "\x00"},
		{"", "::ffff:192.168.1.1", "ключ"},
		{"", "fe80::1%eth0", "\xff"},
		{"", "192.168.1.1,192.168.1.2", ""},
		{"", "10.0.0.1, fd00::1", "key"},
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, pool, addresses, key string) {
		texts := map[string]string{annotationPool: pool, annotationAddresses: addresses, annotationSharing: key}
		request := Request(dualStack("web", annotationPrefix, 80, texts), nil)

		both, spaced := dualStack("web", annotationPrefix, 80, texts), map[string]string{}
		for name, text := range texts {
			both.Annotations[annotationPrefixDeprecated+name] = "other " + text
			spaced[name] = " \t" + text + "\n"
		}
		same := inPlainText(request, Request(dualStack("web", annotationPrefixDeprecated, 80, texts), nil), Request(both, nil), Request(dualStack("web", annotationPrefix, 80, spaced), nil))
		for i, name := range []string{"", "the other spelling", "both spellings", "spaces around it"} {
			if name == "the other spelling" && same[i].Invalid != nil {
				same[i].Invalid = sentence(strings.Replace(same[i].Invalid.Error(), annotationPrefixDeprecated, annotationPrefix, 1))
			}
			if diff := cmp.Diff(same[0], same[i], sameAddr); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		inSpec := dualStack("web", annotationPrefix, 80, nil)
		inSpec.Spec.LoadBalancerIP = strings.TrimSpace(addresses)
		if asked := Request(inSpec, nil); !slices.Equal(asked.Addresses, request.Addresses) || (asked.Invalid == nil) != (request.Invalid == nil) {
			t.Errorf("spec.loadBalancerIP asks for %v, %v; the annotation for %v, %v", asked.Addresses, asked.Invalid, request.Addresses, request.Invalid)
		}
		if request.Pool != strings.TrimSpace(pool) || request.Sharing.Key != strings.TrimSpace(key) {
			t.Errorf("pool %q, key %q", request.Pool, request.Sharing.Key)
		}
		checkAllocation(t, request, Request(dualStack("next", annotationPrefix, 81, texts), nil))
	})
}

// checkAllocation serves two Services that ask for the same on different ports.
func checkAllocation(t *testing.T, first, second ipam.Request) {
	allocator := ipam.NewAllocator()
	var pools []ipam.Pool
	for name, addresses := range map[string][]string{"lan": {"192.168.1.0/30", "fd00::/126"}, "wan": {"10.0.0.0/30", "fd01::/126"}} {
		pool, _ := Pool(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}})
		pools = append(pools, pool)
	}
	slices.SortFunc(pools, func(a, b ipam.Pool) int { return strings.Compare(a.Name, b.Name) })
	allocator.SetPools(pools)
	var held [2][]netip.Addr
	for i, request := range []ipam.Request{first, second} {
		result, err := allocator.Allocate(request, time.Time{})
		if err != nil {
			checkSentence(t, err.Error())
		}
		if (request.Invalid != nil || err != nil) && len(result.Addresses) > 0 {
			t.Errorf("%v, and yet it gets %v", err, result.Addresses)
		}
		for _, addr := range result.Addresses {
			pool, _ := allocator.PoolOf(addr)
			if request.Pool != "" && pool != request.Pool || len(request.Addresses) > 0 && !slices.Contains(request.Addresses, addr) {
				t.Errorf("%s of pool %s, asked for are %v of pool %q", addr, pool, request.Addresses, request.Pool)
			}
		}
		held[i] = result.Addresses
	}
	shares := slices.ContainsFunc(held[1], func(addr netip.Addr) bool { return slices.Contains(held[0], addr) })
	if wants := len(held[0]) > 0 && first.Sharing.Key != ""; shares != wants {
		t.Errorf("under the key %q the two hold %v and %v", first.Sharing.Key, held[0], held[1])
	}
}

// Whatever an IPAddressPool says, each part of it is used or named as not understood, and the addresses can be counted and given out.
func FuzzPool(f *testing.F) {
	f.Add("192.168.1.0/28\nfd00::1 - fd00::5\n192.168.1.7", "tier", "In", "gold,silver", true)
	f.Add("10.0.0.1/24\nx", "", "Exists", "", false)
	f.Add("0.0.0.0/0", "a/b/c", "NotIn", "", false)
	f.Add("192.168.1.0/24\n192.168.1.0/24\n::/0", "a", "Is", "\x00", true)
	f.Add("0", " ", "DoesNotExist", " ", false)
	f.Add("", "a\n", "In", "b\n,"+strings.Repeat("x", 1000), false)
	f.Add("192.168.1.255", "a", "DoesNotExist", "b", true)
	f.Add("fd00::/64\n1.0.0.0-126.255.255.255", "a", "In", "b", true)
	f.Fuzz(func(t *testing.T, entries, key, operator, values string, avoidBuggy bool) {
		selectors := []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: key, Operator: metav1.LabelSelectorOperator(operator), Values: strings.FieldsFunc(values, func(r rune) bool { return r == ',' })},
		}}}
		lines := strings.Split(entries, "\n")
		open := v1beta1.IPAddressPoolSpec{Addresses: lines, AvoidBuggyIPs: avoidBuggy}
		reserved := open
		reserved.AllocateTo = &v1beta1.ServiceAllocation{NamespaceSelectors: selectors, ServiceSelectors: selectors}
		pool, invalid := Pool(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: open})
		limited, alsoInvalid := Pool(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: reserved})
		if len(pool.Ranges)+len(invalid) != len(lines) || pool.Unreadable != (len(invalid) > 0) {
			t.Errorf("%d of %d entries are used, %d named, unreadable %t", len(pool.Ranges), len(lines), len(invalid), pool.Unreadable)
		}
		if !slices.Equal(pool.Ranges, limited.Ranges) || !slices.Equal(invalid, alsoInvalid[:len(invalid)]) {
			t.Errorf("a reservation changes what the addresses are: %v, %v", pool.Ranges, limited.Ranges)
		}
		for _, text := range alsoInvalid {
			checkSentence(t, text)
		}
		bad := len(alsoInvalid) > len(invalid)
		labels := map[string]string{key: "gold"}
		if got := limited.Reservation.ServiceSelectors[0].Matches(labels); bad && got || got != limited.Reservation.NamespaceSelectors[0].Matches(labels) {
			t.Errorf("a selector matches %v: %t, and it is named as not understood: %t", labels, got, bad)
		}
		for _, each := range []ipam.Pool{pool, limited} {
			checkPool(t, each)
		}
	})
}

// checkPool takes an address of each family, if there is one.
func checkPool(t *testing.T, pool ipam.Pool) {
	for _, family := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		allocator := ipam.NewAllocator()
		allocator.SetPools([]ipam.Pool{pool})
		result, err := allocator.Allocate(ipam.Request{ID: "web", Namespace: "default", Name: "web", Families: []ipam.Family{family}}, time.Time{})
		if err != nil {
			checkSentence(t, err.Error())
		}
		usage := allocator.Usage()[pool.Name]
		inUse, available, total := usage.InUseIPv4, usage.AvailableIPv4, usage.TotalIPv4
		if family == ipam.IPv6 {
			inUse, available, total = usage.InUseIPv6, usage.AvailableIPv6, usage.TotalIPv6
		}
		if inUse != int64(len(result.Addresses)) || available < 0 || available > total || inUse > total {
			t.Errorf("%s: %d in use, %d available of %d, and %v was given", family, inUse, available, total, result.Addresses)
		}
		if free := total > 0 && pool.Reservation == nil; free && err != nil {
			t.Errorf("%s: %d addresses, and none is given: %v", family, total, err)
		}
		for _, addr := range result.Addresses {
			if !slices.ContainsFunc(pool.Ranges, func(r ipam.Range) bool { return r.Contains(addr) }) {
				t.Errorf("%s is of no range of %v", addr, pool.Ranges)
			}
		}
	}
}
