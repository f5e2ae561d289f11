// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// planOf makes a plan: for each VIP its reason, and after a slash those of node-1, node-2, …
func planOf(reasons map[string]string) map[netip.Addr]plan.VIP {
	vips := map[netip.Addr]plan.VIP{}
	for address, text := range reasons {
		reason, nodes, _ := strings.Cut(text, "/")
		vip := plan.VIP{Addr: netip.MustParseAddr(address), Reason: plan.Reason(reason), Nodes: map[string]plan.Verdict{}}
		vip.Services = []types.NamespacedName{{Namespace: "default", Name: "web"}}
		for n, each := range strings.Fields(nodes) {
			vip.Nodes["node-"+string(rune('1'+n))] = plan.Verdict{Eligible: each == "yes", Reason: plan.Reason(strings.TrimPrefix(each, "yes"))}
		}
		vips[vip.Addr] = vip
	}
	return vips
}

// Plans come at the given seconds; told is, by second, of which VIPs users are told.
func TestRefusals(t *testing.T) {
	const a, b = "10.0.0.1", "10.0.0.2"
	type plans map[int]map[string]string
	for _, test := range []struct {
		name  string
		node  string
		plans plans
		told  map[int]string
	}{
		{"nothing is refused", "", plans{0: {a: "/yes yes"}}, nil},
		{"told once, when it has settled", "", plans{0: {a: "NoAdvertisement"}, 1: {a: "NoAdvertisement"}, 7: {a: "NoAdvertisement"}}, map[int]string{5: a}},
		{"an L2Advertisement soon after the Service is in time", "", plans{0: {a: "NoAdvertisement"}, 4: {a: "/yes"}}, nil},
		{"pods have longer", "", plans{0: {a: "NoReadyEndpoints"}, 29: {a: "/yes"}}, nil},
		{"but not for ever", "", plans{0: {a: "NoReadyEndpoints"}}, map[int]string{30: a}},
		{"another reason is told, when it has settled", "", plans{0: {a: "NoAdvertisement"}, 10: {a: "NoEligibleNode/NotSelected NotSelected"}},
			map[int]string{5: a, 15: a}},
		{"while the reason changes nothing is told", "", plans{0: {a: "NoPool"}, 3: {a: "NoAdvertisement"}, 6: {a: "NoPool"}, 9: {a: "NoAdvertisement"}},
			map[int]string{14: a}},
		{"the same reasons of other nodes are no news", "", plans{0: {a: "NoEligibleNode/NotSelected NoSpeaker"}, 10: {a: "NoEligibleNode/NoSpeaker NotSelected NotSelected"}},
			map[int]string{5: a}},
		{"another reason of some node is", "", plans{0: {a: "NoEligibleNode/NotSelected NoSpeaker"}, 10: {a: "NoEligibleNode/NotSelected InterfaceDown"}},
			map[int]string{5: a, 15: a}},
		{"refused again after it was announced", "", plans{0: {a: "NoAdvertisement"}, 10: {a: "/yes"}, 20: {a: "NoAdvertisement"}}, map[int]string{5: a, 25: a}},
		{"a VIP that goes is forgotten", "", plans{0: {a: "NoAdvertisement"}, 3: {}}, nil},
		{"each VIP for itself, in order", "", plans{0: {a: "NoAdvertisement", b: "NoAdvertisement"}, 1: {a: "NoPool", b: "NoAdvertisement"}},
			map[int]string{5: b, 6: a}},
		{"several at once", "", plans{0: {b: "NoAdvertisement", a: "NoPool"}}, map[int]string{5: a + " " + b}},

		{"one node: none of its interfaces is named, others announce it", "node-2", plans{0: {a: "/yes NoSuchInterface", b: "/yes yes"}}, map[int]string{5: a}},
		{"one node: other reasons are not its matter", "node-2", plans{0: {a: "/yes NotSelected", b: "NoAdvertisement/NoAdvertisement NoAdvertisement"}}, nil},
		{"one node: others have no interface", "node-2", plans{0: {a: "/NoSuchInterface yes"}}, nil},
		{"one node: told once", "node-2", plans{0: {a: "NoEligibleNode/NotSelected NoSuchInterface"}, 9: {a: "NoEligibleNode/NoSpeaker NoSuchInterface"}}, map[int]string{5: a}},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			refusals := Refusals{Node: test.node}
			told := map[int]string{}
			for second := range 60 {
				now := start.Add(time.Duration(second) * time.Second)
				if next, ok := test.plans[second]; ok {
					refusals.Plan(planOf(next), now)
				}
				var addresses []string
				for _, vip := range refusals.Due(now) {
					addresses = append(addresses, vip.Addr.String())
				}
				if len(addresses) > 0 {
					told[second] = strings.Join(addresses, " ")
				}
			}
			if test.told == nil {
				test.told = map[int]string{}
			}
			if diff := cmp.Diff(test.told, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A Service that comes to a VIP which nobody may announce is told too.
func TestRefusalOfANewService(t *testing.T) {
	start := time.Now()
	vips := planOf(map[string]string{"10.0.0.1": "NoAdvertisement"})
	var refusals Refusals
	refusals.Plan(vips, start)
	if due := refusals.Due(start.Add(settledAfter)); len(due) != 1 {
		t.Fatalf("%d are told", len(due))
	}
	more := planOf(map[string]string{"10.0.0.1": "NoAdvertisement"})
	for addr, vip := range more {
		vip.Services = append(vip.Services, types.NamespacedName{Namespace: "default", Name: "another"})
		more[addr] = vip
	}
	refusals.Plan(more, start.Add(time.Minute))
	if due := refusals.Due(start.Add(time.Minute + settledAfter)); len(due) != 1 || len(due[0].Services) != 2 {
		t.Errorf("told: %v", due)
	}
}
