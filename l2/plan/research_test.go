// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

const otherVIP = "192.168.1.241"

// What MetalLB's own tests ask of who announces, on the cluster of three nodes; "b" is a second Service with endpoints on
// node-1 and node-2. Where the answer here is another, the name says so.
func TestWhoMayAnnounce(t *testing.T) {
	two := []func(*State){servicesAre(service("a", vip), service("b", otherVIP)), alsoEndpointsOf("b", on("node-1"), on("node-2"))}
	twoLocal := []func(*State){servicesAre(localService("a", vip), localService("b", otherVIP)), alsoEndpointsOf("b", on("node-1"), on("node-2"))}
	shared := []func(*State){servicesAre(service("a", vip), service("b", vip)), alsoEndpointsOf("b", on("node-1"), on("node-2"))}
	local := servicesAre(localService("a", vip))
	with := func(changes []func(*State), more ...func(*State)) []func(*State) {
		return append(slices.Clone(changes), more...)
	}
	only := func(reason Reason) [3]string { return [3]string{string(reason), string(reason), string(reason)} }
	anyone := [3]string{"yes", "yes", "yes"}
	onlyOn := func(number string) func(*v1beta1.L2AdvertisementSpec) { return nodesBy(selector("number", number)) }
	for _, test := range []struct {
		name   string
		change []func(*State)
		want   map[string][3]string
	}{
		{"E01 heartbeats are no matter of the plan: whoever has a session may", []func(*State){func(s *State) {
			s.Speakers = map[string]Speaker{"node-1": {}, "node-2": {}, "node-3": {}}
		}}, map[string][3]string{vip: anyone}},

		{"E02 endpoints in several slices", []func(*State){local, func(s *State) {
			s.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", on("node-1")), endpointsOf("a", on("node-2"))}
		}}, map[string][3]string{vip: {"yes", "yes", "NoLocalEndpoint"}}},
		{"E02 ready and not ready on the same node", []func(*State){local, endpointsAre(on("node-1"), in("node-1", false, false, false))},
			map[string][3]string{vip: {"yes", "NoLocalEndpoint", "NoLocalEndpoint"}}},
		{"E02 serving but not ready: not for kube-proxy, so not here", []func(*State){local, endpointsAre(in("node-1", false, true, false))},
			map[string][3]string{vip: only(NoReadyEndpoints)}},
		{"E02 ready though not serving (publishNotReadyAddresses)", []func(*State){local, endpointsAre(in("node-1", true, false, false))},
			map[string][3]string{vip: {"yes", "NoLocalEndpoint", "NoLocalEndpoint"}}},

		{"E03 one node has the endpoint", []func(*State){local, endpointsAre(on("node-2"))},
			map[string][3]string{vip: {"NoLocalEndpoint", "yes", "NoLocalEndpoint"}}},
		{"E03 none is ready", []func(*State){local, endpointsAre(in("node-1", false, false, false), in("node-2", false, false, false))},
			map[string][3]string{vip: only(NoReadyEndpoints)}},
		{"E03 one of two is not ready", []func(*State){local, endpointsAre(on("node-1"), in("node-2", false, false, false))},
			map[string][3]string{vip: {"yes", "NoLocalEndpoint", "NoLocalEndpoint"}}},
		{"E03 two Services apart", with(twoLocal, func(s *State) {
			s.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", on("node-1")), endpointsOf("b", on("node-2"))}
		}), map[string][3]string{vip: {"yes", "NoLocalEndpoint", "NoLocalEndpoint"}, otherVIP: {"NoLocalEndpoint", "yes", "NoLocalEndpoint"}}},
		{"E03 how many endpoints a node has is no matter", []func(*State){local, endpointsAre(on("node-1"), on("node-2"), on("node-2"), on("node-2"))},
			map[string][3]string{vip: {"yes", "yes", "NoLocalEndpoint"}}},

		{"E04 advertised from one node", with(two, ads(onlyOn("1"))),
			map[string][3]string{vip: {"yes", "NotSelected", "NotSelected"}, otherVIP: {"yes", "NotSelected", "NotSelected"}}},
		{"E04 advertised from a node without an endpoint", []func(*State){local, endpointsAre(on("node-1")), ads(onlyOn("2"))},
			map[string][3]string{vip: {"NotSelected", "NoLocalEndpoint", "NotSelected"}}},
		{"E04 two advertisements, and endpoints apart", with(twoLocal, ads(onlyOn("1"), onlyOn("2")), func(s *State) {
			s.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", on("node-1")), endpointsOf("b", on("node-2"))}
		}), map[string][3]string{vip: {"yes", "NoLocalEndpoint", "NotSelected"}, otherVIP: {"NoLocalEndpoint", "yes", "NotSelected"}}},

		{"E05 a node is excluded", []func(*State){node1(excludeLabel)}, map[string][3]string{vip: {"ExcludeLabel", "yes", "yes"}}},
		{"E05 all are excluded", []func(*State){func(s *State) {
			for _, node := range s.Nodes {
				excludeLabel(node)
			}
		}}, map[string][3]string{vip: only(ExcludeLabel)}},
		{"E05 excluded, and the flag ignores it", []func(*State){func(s *State) {
			s.IgnoreExcludeLabel = true
			for _, node := range s.Nodes {
				excludeLabel(node)
			}
		}}, map[string][3]string{vip: anyone}},

		{"E06 Cluster: wherever the endpoints are", []func(*State){endpointsAre(on("node-2"))}, map[string][3]string{vip: anyone}},

		{"E07 no serviceSelectors: every Service", with(two, ads(servicesBy())), map[string][3]string{vip: anyone, otherVIP: anyone}},
		{"E07 serviceSelectors that match one", with(two, ads(servicesBy(selector("app", "a")))),
			map[string][3]string{vip: anyone, otherVIP: only(NoAdvertisement)}},
		{"E07 serviceSelectors that match none", with(two, ads(servicesBy(selector("app", "c")))),
			map[string][3]string{vip: only(NoAdvertisement), otherVIP: only(NoAdvertisement)}},
		{"E07 one of several serviceSelectors", with(two, ads(servicesBy(selector("app", "b"), selector("app", "a")))),
			map[string][3]string{vip: anyone, otherVIP: anyone}},

		{"E08 shared, and one is selected: as in MetalLB, nobody", with(shared, ads(servicesBy(selector("app", "a")))),
			map[string][3]string{vip: only(SharedNotAdvertised)}},
		{"E08 shared, and all are selected: unlike MetalLB, everybody", with(shared, ads(servicesBy(expression("app", metav1.LabelSelectorOpIn, "a", "b")))),
			map[string][3]string{vip: anyone}},
		{"E08 shared, and an advertisement without serviceSelectors beside", with(shared, ads(servicesBy(selector("app", "a")), servicesBy())),
			map[string][3]string{vip: anyone}},
		{"E08 not shared, though allowed to", with(two, ads(servicesBy(selector("app", "a"))), func(s *State) {
			s.Services[0].Annotations = map[string]string{"metallb.io/allow-shared-ip": "key", "metallb.universe.tf/allow-shared-ip": "key"}
		}), map[string][3]string{vip: anyone, otherVIP: only(NoAdvertisement)}},

		{"E09 each node announces on its own advertisement's interfaces", []func(*State){
			ads(all(onlyOn("1"), interfacesBy("eth0")), all(onlyOn("2"), interfacesBy("eth1"))),
			interfacesOf("node-2", Interface{Name: "eth0", Up: true}, Interface{Name: "eth1", Up: true, Subnets: prefixes("192.168.1.0/24")}),
		}, map[string][3]string{vip: {"yes [eth0]", "yes [eth1]", "NotSelected"}}},

		{"E10 another Service's advertisement, and one for nodes that are not there", []func(*State){ads(servicesBy(selector("app", "c")), onlyOn("9"))},
			map[string][3]string{vip: only(NotSelected)}},

		{"E11 an advertisement for each Service", with(two, ads(all(servicesBy(selector("app", "a")), onlyOn("1")), all(servicesBy(selector("app", "b")), onlyOn("2")))),
			map[string][3]string{vip: {"yes", "NotSelected", "NotSelected"}, otherVIP: {"NotSelected", "yes", "NotSelected"}}},

		{"E12 all interfaces win", []func(*State){ads(interfacesBy("eth0"), interfacesBy())}, map[string][3]string{vip: anyone}},
		{"E12 else it is the union", []func(*State){ads(interfacesBy("eth1"), interfacesBy("eth0")), interfacesOf("node-1")},
			map[string][3]string{vip: {"yes [eth0 eth1]", "yes [eth0]", "yes [eth0]"}}},

		{"E14 Local: a preferred node without an endpoint may not", []func(*State){local, ads(preferring(100, selector("number", "3")))},
			map[string][3]string{vip: {"yes", "yes", "NoLocalEndpoint"}}},
		{"E14 advertisements that select other nodes have no say", []func(*State){ads(all(onlyOn("1"), preferring(100, selector("rack", "0"))), all(onlyOn("2"), preferring(1, selector("number", "2"))))},
			map[string][3]string{vip: {"yes +100", "yes +1", "NotSelected"}}},

		{"E16 a VIP stays while one Service is on it", with(shared, func(s *State) { s.Services = s.Services[1:] }), map[string][3]string{vip: anyone}},
		{"E16 and goes with the last", with(shared, func(s *State) { s.Services = nil }), map[string][3]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := map[string][3]string{}
			for addr, each := range Compute(cluster(test.change...)) {
				got[addr.String()] = [3]string{short(each.Verdict("node-1")), short(each.Verdict("node-2")), short(each.Verdict("node-3"))}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// In which order they stand. The orders by the hash are an agreement between speakers, also of different versions: to change
// them makes VIPs move during a rollout.
func TestOrders(t *testing.T) {
	nodesAre := func(names ...string) map[string]Verdict {
		verdicts := map[string]Verdict{}
		for _, name := range names {
			verdicts[name] = Verdict{Eligible: true}
		}
		return verdicts
	}
	scored := func(verdicts map[string]Verdict, scores map[string]int32) map[string]Verdict {
		verdicts = maps.Clone(verdicts)
		for name, score := range scores {
			verdicts[name] = Verdict{Eligible: true, Score: score}
		}
		return verdicts
	}
	abc := nodesAre("node-a", "node-b", "node-c")
	edges := scored(nodesAre("worker-a"), map[string]int32{"edge-a": 10, "edge-b": 10})
	for _, test := range []struct {
		name  string
		addr  string
		nodes map[string]Verdict
		gone  []string
		want  []string
	}{
		{"E13 nobody", "10.0.0.1", nil, nil, nil},
		{"E13 one node", "10.0.0.1", nodesAre("node-a"), nil, []string{"node-a"}},
		{"E13 the hash decides", "10.0.0.1", abc, nil, []string{"node-a", "node-b", "node-c"}},
		{"E13 for each address anew", "10.0.0.2", abc, nil, []string{"node-c", "node-b", "node-a"}},
		{"E13 for IPv6 too", "fd00::1", abc, nil, []string{"node-c", "node-a", "node-b"}},
		{"E13 the score beats the hash", "10.0.0.1", scored(abc, map[string]int32{"node-c": 1}), nil, []string{"node-c", "node-a", "node-b"}},
		{"E14 preferred nodes come first", "10.0.0.1", edges, nil, []string{"edge-a", "edge-b", "worker-a"}},
		{"E14 one preferred node is gone", "10.0.0.1", edges, []string{"edge-a"}, []string{"edge-b", "worker-a"}},
		{"E14 all preferred nodes are gone", "10.0.0.1", edges, []string{"edge-a", "edge-b"}, []string{"worker-a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			each := VIP{Addr: netip.MustParseAddr(test.addr), Nodes: test.nodes}
			live := func(node string) bool { return !slices.Contains(test.gone, node) }
			orders := Candidates(map[netip.Addr]VIP{each.Addr: each}, live, nil)
			if diff := cmp.Diff(test.want, orders[each.Addr]); diff != "" {
				t.Errorf("Candidates: %s", diff)
			}
		})
	}
}

// E06: of two nodes that may announce them, each gets a part of the VIPs, and Services that share an address share its node.
func TestE06EachNodeAnnouncesSome(t *testing.T) {
	state := cluster(func(s *State) {
		s.Services = nil
		for n := range 8 {
			name := fmt.Sprintf("service-%d", n)
			s.Services = append(s.Services, service(name, fmt.Sprintf("192.168.1.%d", 240+n%4)))
			s.EndpointSlices = append(s.EndpointSlices, endpointsOf(name, on("node-3")))
		}
	}, ads(nodesBy(expression("number", metav1.LabelSelectorOpNotIn, "3"))))
	vips := Compute(state)
	if len(vips) != 4 {
		t.Fatalf("%d VIPs", len(vips))
	}
	if diff := cmp.Diff(map[string]int{"node-1": 2, "node-2": 2}, loads(Candidates(vips, everyNode, nil))); diff != "" {
		t.Error(diff)
	}
}

// The plan only reads: MetalLB sorts the values of selectors in the user's own objects.
func TestComputeChangesNothing(t *testing.T) {
	build := func() State {
		return cluster(
			ads(all(nodesBy(expression("number", metav1.LabelSelectorOpIn, "3", "1", "2")), preferring(3, expression("rack", metav1.LabelSelectorOpNotIn, "z", "a")),
				interfacesBy("eth9", "eth0"), func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"pool", "a"} })),
			servicesAre(localService("b", vip), localService("a", vip)), alsoEndpointsOf("b", on("node-2"), on("node-1")),
			func(s *State) {
				s.Pools = append(s.Pools, pool4("a", vip))
				s.Nodes = append(s.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a-node"}})
			})
	}
	state := build()
	Compute(state)
	if diff := cmp.Diff(build(), state, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

// V25: the order in which objects are listed decides nothing.
func TestOrderOfObjectsDecidesNothing(t *testing.T) {
	state := cluster(ads(all(nodesBy(selector("number", "1")), preferring(10, selector("rack", "0"))), nodesBy(selector("number", "2")), interfacesBy("eth0")))
	want := Compute(state)
	slices.Reverse(state.Services)
	slices.Reverse(state.EndpointSlices)
	slices.Reverse(state.Nodes)
	slices.Reverse(state.Pools)
	slices.Reverse(state.Advertisements)
	if diff := cmp.Diff(want, Compute(state), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// V16, V17, V20, V22, V24: selectors that say the same twice are no fault: MetalLB refuses the whole configuration for one.
func TestDuplicatesAreNoFault(t *testing.T) {
	same := selector("number", "2")
	twice := expression("number", metav1.LabelSelectorOpIn, "2", "2")
	twice.MatchExpressions = append(twice.MatchExpressions, twice.MatchExpressions[0])
	for name, change := range map[string]func(*v1beta1.L2AdvertisementSpec){
		"selector": nodesBy(same, same),
		"value":    nodesBy(twice),
		"pool":     all(nodesBy(same), func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"pool", "pool"} }),
		"pool selector": all(nodesBy(same), func(s *v1beta1.L2AdvertisementSpec) {
			s.IPAddressPoolSelectors = []metav1.LabelSelector{selector("pool", "pool"), selector("pool", "pool")}
		}),
		"service selector": all(nodesBy(same), servicesBy(selector("app", "a"), selector("app", "a"))),
	} {
		t.Run(name, func(t *testing.T) {
			got := Compute(cluster(ads(change)))[netip.MustParseAddr(vip)]
			verdicts := [3]string{short(got.Verdict("node-1")), short(got.Verdict("node-2")), short(got.Verdict("node-3"))}
			if diff := cmp.Diff([3]string{"NotSelected", "yes", "NotSelected"}, verdicts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A selector that cannot be read is told with its place; it concerns the pools that its advertisement may be for, and no others.
func TestInvalidSelectors(t *testing.T) {
	like := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like", Values: []string{"y"}}}}
	others := func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"other"} }
	for name, test := range map[string]struct {
		change func(*v1beta1.L2AdvertisementSpec)
		reason Reason
		err    string
	}{
		"none":     {nodesBy(selector("number", "1")), Eligible, ""},
		"operator": {nodesBy(selector("a", "b"), like), InvalidSelector, `L2Advertisement metallb-system/ad: spec.nodeSelectors[1]: "Like" is not a valid label selector operator: correct it`},
		"In without values": {nodesBy(expression("x", metav1.LabelSelectorOpIn)), InvalidSelector,
			`L2Advertisement metallb-system/ad: spec.nodeSelectors[0]: values: Invalid value: `},
		"key": {servicesBy(selector("not a key", "x")), InvalidSelector, `L2Advertisement metallb-system/ad: spec.serviceSelectors[0]: key: Invalid value: "not a key": `},
		"preference": {preferring(1, like), InvalidSelector,
			`L2Advertisement metallb-system/ad: spec.preferredNodeSelectors[0].preference: "Like" is not a valid label selector operator: correct it`},
		"nodes, for another pool": {all(nodesBy(like), others), NoAdvertisement, `L2Advertisement metallb-system/ad: spec.nodeSelectors[0]: `},
		"pools": {func(s *v1beta1.L2AdvertisementSpec) {
			s.IPAddressPools, s.IPAddressPoolSelectors = []string{"other"}, []metav1.LabelSelector{like}
		}, InvalidSelector, `L2Advertisement metallb-system/ad: spec.ipAddressPoolSelectors[0]: "Like" is not a valid label selector operator: correct it`},
	} {
		t.Run(name, func(t *testing.T) {
			state := cluster(ads(test.change))
			ad := state.Advertisements[0]
			ad.Namespace, ad.Name = "metallb-system", "ad"
			if got := Compute(state)[netip.MustParseAddr(vip)].Reason; got != test.reason {
				t.Errorf("reason %q, want %q", got, test.reason)
			}
			got := ""
			if err := CheckSelectors(ad); err != nil {
				got = err.Error()
			}
			if test.err == "" && got != "" || len(got) < len(test.err) || got[:len(test.err)] != test.err {
				t.Errorf("error %q, want %q", got, test.err)
			}
		})
	}
}
