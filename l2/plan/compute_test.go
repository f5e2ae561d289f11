// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

const vip = "192.168.1.240"

// cluster has three nodes with speakers, a pool, an L2Advertisement and a Service "a" on the VIP with ready endpoints on node-1 and
// node-2. Tests change what they are about.
func cluster(changes ...func(*State)) State {
	state := State{
		Services:       []*corev1.Service{service("a", vip)},
		Pools:          []*v1beta1.IPAddressPool{pool4("pool", "192.168.1.240-192.168.1.250")},
		Advertisements: []*v1beta1.L2Advertisement{advertise(func(*v1beta1.L2AdvertisementSpec) {})},
		Speakers:       map[string]Speaker{},
		ServeClassless: true,
	}
	for n := range 3 {
		state.Nodes = append(state.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: nodeName(n), Labels: map[string]string{"number": fmt.Sprint(n + 1), "rack": fmt.Sprint(n / 2)},
		}})
		state.Speakers[nodeName(n)] = Speaker{Interfaces: []Interface{{Name: "eth0", Up: true, Subnets: prefixes("192.168.1.0/24", "fd00:1::/64")}}}
	}
	state.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", on("node-1"), on("node-2"))}
	for _, change := range changes {
		change(&state)
	}
	return state
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func service(name string, addresses ...string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, address := range addresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: address})
	}
	return s
}

func localService(name string, addresses ...string) *corev1.Service {
	s := service(name, addresses...)
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	return s
}

func pool4(name string, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": name}},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}
}

func advertise(change func(*v1beta1.L2AdvertisementSpec)) *v1beta1.L2Advertisement {
	ad := &v1beta1.L2Advertisement{}
	change(&ad.Spec)
	return ad
}

// ads replaces the cluster's L2Advertisements.
func ads(list ...func(*v1beta1.L2AdvertisementSpec)) func(*State) {
	return func(s *State) {
		s.Advertisements = nil
		for _, change := range list {
			s.Advertisements = append(s.Advertisements, advertise(change))
		}
	}
}

func endpointsOf(service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   endpoints,
	}
}

func on(node string) discoveryv1.Endpoint { return discoveryv1.Endpoint{NodeName: &node} }

// in is an endpoint in a state, as ready, serving, terminating say.
func in(node string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}

func endpointsAre(endpoints ...discoveryv1.Endpoint) func(*State) {
	return func(s *State) { s.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", endpoints...)} }
}

func servicesAre(services ...*corev1.Service) func(*State) {
	return func(s *State) { s.Services = services }
}

func node1(change func(*corev1.Node)) func(*State) { return func(s *State) { change(s.Nodes[0]) } }

func interfacesOf(node string, interfaces ...Interface) func(*State) {
	return func(s *State) { s.Speakers[node] = Speaker{Interfaces: interfaces} }
}

// own is an interface on which the node has an address.
func own(name, address string) Interface {
	return Interface{Name: name, Up: true, Subnets: prefixes("192.168.1.0/24"), Addresses: []netip.Addr{netip.MustParseAddr(address)}}
}

func internalIP(address string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	}
}

func selector(key, value string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func expression(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
}

func nodesBy(selectors ...metav1.LabelSelector) func(*v1beta1.L2AdvertisementSpec) {
	return func(spec *v1beta1.L2AdvertisementSpec) { spec.NodeSelectors = selectors }
}

func interfacesBy(names ...string) func(*v1beta1.L2AdvertisementSpec) {
	return func(spec *v1beta1.L2AdvertisementSpec) { spec.Interfaces = names }
}

func servicesBy(selectors ...metav1.LabelSelector) func(*v1beta1.L2AdvertisementSpec) {
	return func(spec *v1beta1.L2AdvertisementSpec) { spec.ServiceSelectors = selectors }
}

func preferring(weight int32, preference metav1.LabelSelector) func(*v1beta1.L2AdvertisementSpec) {
	return func(spec *v1beta1.L2AdvertisementSpec) {
		spec.PreferredNodeSelectors = append(spec.PreferredNodeSelectors, v1beta1.PreferredNodeSelector{Weight: weight, Preference: preference})
	}
}

func all(changes ...func(*v1beta1.L2AdvertisementSpec)) func(*v1beta1.L2AdvertisementSpec) {
	return func(spec *v1beta1.L2AdvertisementSpec) {
		for _, change := range changes {
			change(spec)
		}
	}
}

// verdict in short: why not, or "yes" with interfaces, score and whether out of the subnet.
func short(v Verdict) string {
	if !v.Eligible {
		return string(v.Reason)
	}
	text := "yes"
	if v.Interfaces != nil {
		text += fmt.Sprint(" ", v.Interfaces)
	}
	if v.Score != 0 {
		text += fmt.Sprint(" +", v.Score)
	}
	if !v.InSubnet {
		text += " far"
	}
	return text
}

func TestEligible(t *testing.T) {
	broken := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}
	yes := [3]string{"yes", "yes", "yes"}
	everyone := func(reason Reason) [3]string { return [3]string{string(reason), string(reason), string(reason)} }
	for name, c := range map[string]struct {
		change []func(*State)
		want   [3]string
		reason Reason
	}{
		"usual": {nil, yes, Eligible},

		// Nodes.
		"node gone":              {[]func(*State){func(s *State) { s.Nodes = s.Nodes[1:] }}, [3]string{"NodeDeleted", "yes", "yes"}, Eligible},
		"node being deleted":     {[]func(*State){node1(func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{} })}, [3]string{"NodeDeleted", "yes", "yes"}, Eligible},
		"no speaker":             {[]func(*State){func(s *State) { delete(s.Speakers, "node-1") }}, [3]string{"NoSpeaker", "yes", "yes"}, Eligible},
		"no speaker anywhere":    {[]func(*State){func(s *State) { s.Speakers = nil }}, everyone(NoSpeaker), NoEligibleNode},
		"exclude label":          {[]func(*State){node1(excludeLabel)}, [3]string{"ExcludeLabel", "yes", "yes"}, Eligible},
		"exclude label, ignored": {[]func(*State){node1(excludeLabel), func(s *State) { s.IgnoreExcludeLabel = true }}, yes, Eligible},
		"network unavailable":    {[]func(*State){node1(condition(corev1.ConditionTrue))}, [3]string{"NetworkUnavailable", "yes", "yes"}, Eligible},
		"network available":      {[]func(*State){node1(condition(corev1.ConditionFalse))}, yes, Eligible},
		"not ready": {[]func(*State){node1(func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse}}
		})}, yes, Eligible},
		"out of service":                    {[]func(*State){node1(taint(corev1.TaintNodeOutOfService))}, [3]string{"OutOfService", "yes", "yes"}, Eligible},
		"other taint":                       {[]func(*State){node1(taint("dedicated"))}, yes, Eligible},
		"cordoned":                          {[]func(*State){node1(cordon)}, [3]string{"Cordoned", "yes", "yes"}, Eligible},
		"all cordoned":                      {[]func(*State){func(s *State) { cordon(s.Nodes[0]); cordon(s.Nodes[1]); cordon(s.Nodes[2]) }}, yes, Eligible},
		"cordoned, the others not eligible": {[]func(*State){node1(cordon), ads(nodesBy(selector("number", "1")))}, [3]string{"yes", "NotSelected", "NotSelected"}, Eligible},
		"cordoned and excluded":             {[]func(*State){node1(cordon), node1(excludeLabel)}, [3]string{"ExcludeLabel", "yes", "yes"}, Eligible},

		// Which L2Advertisements count.
		"no advertisement":     {[]func(*State){ads()}, everyone(NoAdvertisement), NoAdvertisement},
		"pool by name":         {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"pool"} })}, yes, Eligible},
		"other pool":           {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"other"} })}, everyone(NoAdvertisement), NoAdvertisement},
		"unknown pools beside": {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"other", "pool"} })}, yes, Eligible},
		"pool by label": {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) {
			s.IPAddressPoolSelectors = []metav1.LabelSelector{selector("pool", "pool")}
		})}, yes, Eligible},
		"pool by label or name": {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) {
			s.IPAddressPools, s.IPAddressPoolSelectors = []string{"other"}, []metav1.LabelSelector{selector("pool", "pool")}
		})}, yes, Eligible},
		"V18 pool by another label": {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) {
			s.IPAddressPoolSelectors = []metav1.LabelSelector{selector("pool", "x")}
		})}, everyone(NoAdvertisement), NoAdvertisement},
		"service selected":         {[]func(*State){ads(servicesBy(selector("app", "a")))}, yes, Eligible},
		"service by one of two":    {[]func(*State){ads(servicesBy(selector("app", "x"), selector("app", "a")))}, yes, Eligible},
		"service not selected":     {[]func(*State){ads(servicesBy(selector("app", "x")))}, everyone(NoAdvertisement), NoAdvertisement},
		"broken selector":          {[]func(*State){ads(nodesBy(broken))}, everyone(InvalidSelector), InvalidSelector},
		"broken beside a good one": {[]func(*State){ads(nodesBy(broken), nodesBy(selector("number", "2")))}, [3]string{"NotSelected", "yes", "NotSelected"}, Eligible},
		"broken pool selector":     {[]func(*State){ads(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPoolSelectors = []metav1.LabelSelector{broken} })}, everyone(InvalidSelector), InvalidSelector},
		"broken service selector":  {[]func(*State){ads(servicesBy(broken))}, everyone(InvalidSelector), InvalidSelector},
		"broken preference":        {[]func(*State){ads(preferring(1, broken))}, everyone(InvalidSelector), InvalidSelector},

		// Which nodes they select.
		"node by label":               {[]func(*State){ads(nodesBy(selector("number", "2")))}, [3]string{"NotSelected", "yes", "NotSelected"}, Eligible},
		"nodes by either":             {[]func(*State){ads(nodesBy(selector("number", "2"), selector("number", "3")))}, [3]string{"NotSelected", "yes", "yes"}, Eligible},
		"nodes by two advertisements": {[]func(*State){ads(nodesBy(selector("number", "2")), nodesBy(selector("number", "3")))}, [3]string{"NotSelected", "yes", "yes"}, Eligible},
		"In":                          {[]func(*State){ads(nodesBy(expression("number", metav1.LabelSelectorOpIn, "1", "3")))}, [3]string{"yes", "NotSelected", "yes"}, Eligible},
		"NotIn":                       {[]func(*State){ads(nodesBy(expression("number", metav1.LabelSelectorOpNotIn, "1", "3")))}, [3]string{"NotSelected", "yes", "NotSelected"}, Eligible},
		"Exists":                      {[]func(*State){ads(nodesBy(expression("rack", metav1.LabelSelectorOpExists)))}, yes, Eligible},
		"DoesNotExist":                {[]func(*State){ads(nodesBy(expression("rack", metav1.LabelSelectorOpDoesNotExist)))}, everyone(NotSelected), NoEligibleNode},
		"no node":                     {[]func(*State){ads(nodesBy(selector("number", "9")))}, everyone(NotSelected), NoEligibleNode},
		"empty selector":              {[]func(*State){ads(nodesBy(metav1.LabelSelector{}))}, yes, Eligible},

		// Preferences add up over what selects the node.
		"preferred": {[]func(*State){ads(preferring(10, selector("number", "2")))}, [3]string{"yes", "yes +10", "yes"}, Eligible},
		"preferences add up": {[]func(*State){ads(all(preferring(10, selector("number", "2")), preferring(5, selector("rack", "0"))), preferring(1, selector("number", "2")))},
			[3]string{"yes +5", "yes +16", "yes"}, Eligible},
		"a preference counts only where its advertisement selects": {[]func(*State){ads(all(nodesBy(selector("number", "1")), preferring(10, selector("rack", "0"))), nodesBy(selector("number", "2")))},
			[3]string{"yes +10", "yes", "NotSelected"}, Eligible},

		// Interfaces.
		"interface named":               {[]func(*State){ads(interfacesBy("eth0"))}, [3]string{"yes [eth0]", "yes [eth0]", "yes [eth0]"}, Eligible},
		"unknown name beside":           {[]func(*State){ads(interfacesBy("eth9", "eth0"))}, [3]string{"yes [eth0]", "yes [eth0]", "yes [eth0]"}, Eligible},
		"no such interface":             {[]func(*State){ads(interfacesBy("eth9"))}, everyone(NoSuchInterface), NoEligibleNode},
		"no such interface on one node": {[]func(*State){ads(interfacesBy("eth1")), interfacesOf("node-2", Interface{Name: "eth1", Up: true})}, [3]string{"NoSuchInterface", "yes [eth1] far", "NoSuchInterface"}, Eligible},
		"any interface wins":            {[]func(*State){ads(interfacesBy("eth9"), interfacesBy())}, yes, Eligible},
		"interfaces of two advertisements": {[]func(*State){ads(interfacesBy("eth1"), interfacesBy("eth0")), interfacesOf("node-1", Interface{Name: "eth1", Up: true}, Interface{Name: "eth0"})},
			[3]string{"yes [eth0 eth1] far", "yes [eth0]", "yes [eth0]"}, Eligible},
		"interfaces per node": {[]func(*State){ads(all(nodesBy(selector("number", "1")), interfacesBy("eth0")), all(nodesBy(selector("number", "2")), interfacesBy("eth9")))},
			[3]string{"yes [eth0]", "NoSuchInterface", "NotSelected"}, Eligible},
		"carrier down":                        {[]func(*State){interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")})}, [3]string{"InterfaceDown", "yes", "yes"}, Eligible},
		"named carrier down":                  {[]func(*State){ads(interfacesBy("eth0")), interfacesOf("node-1", Interface{Name: "eth0"}, Interface{Name: "eth1", Up: true})}, [3]string{"InterfaceDown", "yes [eth0]", "yes [eth0]"}, Eligible},
		"no interface at all":                 {[]func(*State){interfacesOf("node-1", []Interface{}...), func(s *State) { s.Speakers["node-1"] = Speaker{Interfaces: []Interface{}} }}, [3]string{"InterfaceDown", "yes", "yes"}, Eligible},
		"interfaces unknown":                  {[]func(*State){interfacesOf("node-1")}, yes, Eligible},
		"interfaces unknown, one named":       {[]func(*State){ads(interfacesBy("eth9")), interfacesOf("node-1")}, [3]string{"yes [eth9]", "NoSuchInterface", "NoSuchInterface"}, Eligible},
		"other subnet":                        {[]func(*State){interfacesOf("node-1", Interface{Name: "eth0", Up: true, Subnets: prefixes("10.0.0.0/8")})}, [3]string{"yes far", "yes", "yes"}, Eligible},
		"subnet on an interface that is down": {[]func(*State){interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true})}, [3]string{"InterfaceDown", "yes", "yes"}, Eligible},
		"subnet on an interface that is down, and nobody else is in it": {[]func(*State){
			ads(nodesBy(selector("number", "1"))), interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true}),
		}, [3]string{"yes far", "NotSelected", "NotSelected"}, Eligible},
		"subnet on an interface that is down, and those in it are cordoned": {[]func(*State){
			interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true}),
			func(s *State) { cordon(s.Nodes[1]); cordon(s.Nodes[2]) },
		}, [3]string{"InterfaceDown", "yes", "yes"}, Eligible},
		"subnet on an interface that is down, and those in it have no local endpoint": {[]func(*State){
			servicesAre(localService("a", vip)), endpointsAre(on("node-1")),
			interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true}),
		}, [3]string{"yes far", "NoLocalEndpoint", "NoLocalEndpoint"}, Eligible},
		"subnet on an interface that is down, and another of the node is in it": {[]func(*State){
			interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true, Subnets: prefixes("192.168.1.0/24")}),
		}, yes, Eligible},
		"subnet on an interface that is down and not to be announced on": {[]func(*State){
			ads(interfacesBy("eth1")), interfacesOf("node-2", Interface{Name: "eth1", Up: true, Subnets: prefixes("192.168.1.0/24")}),
			interfacesOf("node-1", Interface{Name: "eth0", Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true}),
		}, [3]string{"yes [eth1] far", "yes [eth1]", "NoSuchInterface"}, Eligible},

		// A node's own address is no VIP.
		"address of a node":                       {[]func(*State){interfacesOf("node-2", own("eth0", vip))}, everyone(AddressOfNode), AddressOfNode},
		"address of a node whose speaker is gone": {[]func(*State){node1(internalIP(vip)), func(s *State) { delete(s.Speakers, "node-1") }}, everyone(AddressOfNode), AddressOfNode},
		"address that kube-proxy gave the node":   {[]func(*State){interfacesOf("node-2", own("kube-ipvs0", vip), own("eth0", "192.168.1.12"))}, yes, Eligible},
		"address of a node, on no interface that is up": {[]func(*State){func(s *State) {
			down := own("eth0", vip)
			down.Up = false
			s.Speakers["node-2"] = Speaker{Interfaces: []Interface{down, own("eth1", "192.168.1.12")}}
		}}, everyone(AddressOfNode), AddressOfNode},
		"subnet on an interface that is not named": {[]func(*State){ads(interfacesBy("eth1")), interfacesOf("node-1", Interface{Name: "eth0", Up: true, Subnets: prefixes("192.168.1.0/24")}, Interface{Name: "eth1", Up: true})},
			[3]string{"yes [eth1] far", "NoSuchInterface", "NoSuchInterface"}, Eligible},

		// Endpoints.
		"no endpoints":                  {[]func(*State){endpointsAre()}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"none ready":                    {[]func(*State){endpointsAre(in("node-1", false, false, false))}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"serving, not ready":            {[]func(*State){endpointsAre(in("node-1", false, true, false))}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"only terminating":              {[]func(*State){endpointsAre(in("node-1", false, true, true))}, yes, Eligible},
		"terminating, not serving":      {[]func(*State){endpointsAre(in("node-1", false, false, true))}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"endpoint without a node":       {[]func(*State){endpointsAre(discoveryv1.Endpoint{})}, yes, Eligible},
		"endpoints of the other family": {[]func(*State){func(s *State) { s.EndpointSlices[0].AddressType = discoveryv1.AddressTypeIPv6 }}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"endpoints of another service":  {[]func(*State){func(s *State) { s.EndpointSlices[0].Namespace = "other" }}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"Local":                         {[]func(*State){servicesAre(localService("a", vip))}, [3]string{"yes", "yes", "NoLocalEndpoint"}, Eligible},
		"Local, several slices": {[]func(*State){servicesAre(localService("a", vip)), func(s *State) {
			s.EndpointSlices = []*discoveryv1.EndpointSlice{endpointsOf("a", on("node-3"), on("node-3")), endpointsOf("a", on("node-1"), in("node-1", false, false, false))}
		}}, [3]string{"yes", "NoLocalEndpoint", "yes"}, Eligible},
		"Local, terminating beside ready": {[]func(*State){servicesAre(localService("a", vip)), endpointsAre(in("node-1", false, true, true), on("node-2"))},
			[3]string{"NoLocalEndpoint", "yes", "NoLocalEndpoint"}, Eligible},
		"Local, only terminating": {[]func(*State){servicesAre(localService("a", vip)), endpointsAre(in("node-1", false, true, true), in("node-2", false, false, true))},
			[3]string{"yes", "NoLocalEndpoint", "NoLocalEndpoint"}, Eligible},
		"Local, on a node without speaker": {[]func(*State){servicesAre(localService("a", vip)), endpointsAre(on("node-1"), on("ghost")), func(s *State) { delete(s.Speakers, "node-1") }},
			[3]string{"NoSpeaker", "NoLocalEndpoint", "NoLocalEndpoint"}, NoEligibleNode},
		"Local, the only such node cordoned": {[]func(*State){servicesAre(localService("a", vip)), endpointsAre(on("node-1")), node1(cordon)},
			[3]string{"yes", "NoLocalEndpoint", "NoLocalEndpoint"}, Eligible},
		"Local, not selected": {[]func(*State){servicesAre(localService("a", vip)), endpointsAre(on("node-1")), ads(nodesBy(selector("number", "2")))},
			[3]string{"NotSelected", "NoLocalEndpoint", "NotSelected"}, NoEligibleNode},

		// Several Services on the VIP; "a" has endpoints on node-1 and node-2.
		"shared":                       {[]func(*State){servicesAre(service("a", vip), service("b", vip))}, yes, Eligible},
		"shared, nobody has endpoints": {[]func(*State){servicesAre(service("c", vip), service("b", vip))}, everyone(NoReadyEndpoints), NoReadyEndpoints},
		"shared, both Local": {[]func(*State){servicesAre(localService("a", vip), localService("b", vip)), alsoEndpointsOf("b", on("node-2"), on("node-3"))},
			[3]string{"NoLocalEndpoint", "yes", "NoLocalEndpoint"}, Eligible},
		"shared, one Local": {[]func(*State){servicesAre(localService("a", vip), service("b", vip)), alsoEndpointsOf("b", on("node-3"))},
			[3]string{"yes", "yes", "NoLocalEndpoint"}, Eligible},
		"shared, a Local one without any endpoint": {[]func(*State){servicesAre(localService("b", vip), service("a", vip))}, yes, Eligible},
		"shared, Local on different nodes": {[]func(*State){servicesAre(localService("a", vip), localService("b", vip)), alsoEndpointsOf("b", on("node-3"))},
			everyone(NoLocalEndpoint), NoEligibleNode},
		"shared, both selected": {[]func(*State){servicesAre(service("a", vip), service("b", vip)), ads(servicesBy(selector("app", "a"), selector("app", "b")))}, yes, Eligible},
		"shared, one selected":  {[]func(*State){servicesAre(service("a", vip), service("b", vip)), ads(servicesBy(selector("app", "a")))}, everyone(SharedNotAdvertised), SharedNotAdvertised},
		"shared, selected for different nodes": {[]func(*State){servicesAre(service("a", vip), service("b", vip)),
			ads(all(servicesBy(selector("app", "a")), nodesBy(selector("rack", "0"))), all(servicesBy(selector("app", "b")), nodesBy(selector("number", "2"))))},
			[3]string{"NotSelected", "yes", "NotSelected"}, Eligible},
		"shared, selected for different interfaces": {[]func(*State){servicesAre(service("a", vip), service("b", vip)), interfacesOf("node-1"),
			ads(all(servicesBy(selector("app", "a")), interfacesBy("eth0")), all(servicesBy(selector("app", "b")), interfacesBy("eth1")))},
			everyone(NoSuchInterface), NoEligibleNode},
		"shared, preference counted once": {[]func(*State){servicesAre(service("a", vip), service("b", vip)),
			ads(preferring(3, selector("number", "1")), servicesBy(selector("app", "a")))},
			[3]string{"yes +3", "yes", "yes"}, Eligible},

		// Pools.
		"no pool":        {[]func(*State){func(s *State) { s.Pools = nil }}, everyone(NoPool), NoPool},
		"in no pool":     {[]func(*State){servicesAre(service("a", "192.168.1.239")), func(s *State) { s.Pools[0].Spec.Addresses = []string{"192.168.1.239-nonsense", vip} }}, everyone(NoPool), NoPool},
		"pool of a CIDR": {[]func(*State){func(s *State) { s.Pools[0].Spec.Addresses = []string{"fd00::/64", "192.168.1.240/28"} }}, yes, Eligible},
	} {
		t.Run(name, func(t *testing.T) {
			vips := Compute(cluster(c.change...))
			if len(vips) != 1 {
				t.Fatalf("%d VIPs", len(vips))
			}
			for _, got := range vips {
				verdicts := [3]string{short(got.Verdict("node-1")), short(got.Verdict("node-2")), short(got.Verdict("node-3"))}
				if diff := cmp.Diff(c.want, verdicts); diff != "" {
					t.Error(diff)
				}
				if got.Reason != c.reason {
					t.Errorf("reason %q, want %q", got.Reason, c.reason)
				}
				if len(got.Nodes) != 3 && !(got.Local && got.Reason == Eligible) {
					t.Errorf("%d verdicts", len(got.Nodes))
				}
				for node, verdict := range got.Nodes {
					if verdict.Eligible != (verdict.Reason == Eligible) || verdict.Eligible && got.Reason != Eligible {
						t.Errorf("%s contradicts itself: %+v", node, verdict)
					}
				}
			}
		})
	}
}

func excludeLabel(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "" }

func cordon(n *corev1.Node) { n.Spec.Unschedulable = true }

func taint(key string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoExecute}} }
}

func condition(status corev1.ConditionStatus) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: status}}
	}
}

func alsoEndpointsOf(service string, endpoints ...discoveryv1.Endpoint) func(*State) {
	return func(s *State) { s.EndpointSlices = append(s.EndpointSlices, endpointsOf(service, endpoints...)) }
}

// Which addresses of which Services are VIPs.
func TestVIPs(t *testing.T) {
	class, foreign := "example.com/l2", "example.com/other"
	classed := func(name, address string, class *string) *corev1.Service {
		s := service(name, address)
		s.Spec.LoadBalancerClass = class
		return s
	}
	deleted := service("deleted", "192.168.1.241")
	deleted.DeletionTimestamp = &metav1.Time{}
	clusterIP := service("cluster-ip", "192.168.1.242")
	clusterIP.Spec.Type = corev1.ServiceTypeClusterIP
	odd := service("odd", "", "nonsense", "fe80::1%eth0", "::ffff:192.168.1.246", "192.168.1.246")
	odd.Status.LoadBalancer.Ingress = append(odd.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "example.com"})
	services := []*corev1.Service{
		service("dual", vip, "fd00:1::f0"), service("another", vip), deleted, clusterIP, odd, service("pending"),
		classed("ours", "192.168.1.243", &class), classed("foreign", "192.168.1.244", &foreign),
	}
	for name, c := range map[string]struct {
		classless bool
		class     string
		want      []string
	}{
		"without a class": {true, "", []string{vip, "192.168.1.246", "fd00:1::f0"}},
		"our class":       {false, class, []string{"192.168.1.243"}},
		"both":            {true, class, []string{vip, "192.168.1.243", "192.168.1.246", "fd00:1::f0"}},
		"nothing":         {false, "", nil},
	} {
		state := cluster(servicesAre(services...))
		state.ServeClassless, state.LoadBalancerClass = c.classless, c.class
		got := Compute(state)
		want := map[string]bool{}
		for _, text := range c.want {
			want[text] = true
			if _, ok := got[netip.MustParseAddr(text)]; !ok {
				t.Errorf("%s: %s is missing", name, text)
			}
		}
		for addr := range got {
			if !want[addr.String()] {
				t.Errorf("%s: %s is no VIP", name, addr)
			}
		}
		if shared, ok := got[netip.MustParseAddr(vip)]; ok {
			if diff := cmp.Diff("[default/another default/dual]", fmt.Sprint(shared.Services)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// Of overlapping pools the older has the address.
func TestPoolOfAVIP(t *testing.T) {
	younger, older := pool4("a-younger", "192.168.1.0/24"), pool4("older", vip)
	older.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0))
	younger.CreationTimestamp = metav1.NewTime(time.Unix(2000, 0))
	state := cluster(func(s *State) { s.Pools = []*v1beta1.IPAddressPool{younger, older} },
		servicesAre(service("a", vip, "192.168.1.241")),
		ads(all(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"older"} })))
	got := Compute(state)
	for addr, want := range map[string]string{vip: "older Eligible", "192.168.1.241": "a-younger NoAdvertisement"} {
		v := got[netip.MustParseAddr(addr)]
		reason := v.Reason
		if reason == Eligible {
			reason = "Eligible"
		}
		if text := v.Pool + " " + string(reason); text != want {
			t.Errorf("%s: %s, want %s", addr, text, want)
		}
	}
}

// Each family of a dual-stack Service follows its own endpoints and subnets.
func TestDualStack(t *testing.T) {
	state := cluster(servicesAre(localService("a", vip, "fd00:1::f0")), func(s *State) {
		s.Pools[0].Spec.Addresses = append(s.Pools[0].Spec.Addresses, "fd00:1::/64")
		six := endpointsOf("a", on("node-3"))
		six.AddressType = discoveryv1.AddressTypeIPv6
		s.EndpointSlices = append(s.EndpointSlices, six)
	}, interfacesOf("node-3", Interface{Name: "eth0", Up: true, Subnets: prefixes("192.168.1.0/24")}))
	got := Compute(state)
	for addr, want := range map[string][3]string{
		vip:          {"yes", "yes", "NoLocalEndpoint"},
		"fd00:1::f0": {"NoLocalEndpoint", "NoLocalEndpoint", "yes far"},
	} {
		v := got[netip.MustParseAddr(addr)]
		if diff := cmp.Diff(want, [3]string{short(v.Verdict("node-1")), short(v.Verdict("node-2")), short(v.Verdict("node-3"))}); diff != "" {
			t.Errorf("%s: %s", addr, diff)
		}
	}
}

// Every reason has a sentence for users.
func TestMessages(t *testing.T) {
	for _, reason := range []Reason{
		Eligible, NoPool, AddressOfNode, NoAdvertisement, SharedNotAdvertised, InvalidSelector, NoReadyEndpoints, NoEligibleNode, NodeDeleted, NoSpeaker,
		ExcludeLabel, NetworkUnavailable, OutOfService, NotSelected, NoLocalEndpoint, NoSuchInterface, InterfaceDown, Cordoned,
	} {
		if Message(reason) == string(reason) {
			t.Errorf("%q has no sentence", reason)
		}
	}
	if len(messages) != 18 {
		t.Errorf("%d sentences", len(messages))
	}
	if Message("New") != "New" {
		t.Error("an unknown reason is not shown")
	}
}

// large has a Service on each of so many VIPs, with three endpoints.
func large(vips, nodes int, policy corev1.ServiceExternalTrafficPolicy) State {
	state := State{ServeClassless: true, Speakers: map[string]Speaker{}, Pools: []*v1beta1.IPAddressPool{pool4("pool", "10.0.0.0/8")},
		Advertisements: []*v1beta1.L2Advertisement{advertise(nodesBy(expression("number", metav1.LabelSelectorOpExists))), advertise(preferring(1, selector("number", "1")))}}
	for n := range nodes {
		state.Nodes = append(state.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(n), Labels: map[string]string{"number": fmt.Sprint(n)}}})
		state.Speakers[nodeName(n)] = Speaker{Interfaces: []Interface{{Name: "eth0", Up: true, Subnets: prefixes("10.0.0.0/8", fmt.Sprintf("192.168.%d.0/24", n%4))}}}
	}
	addr := netip.MustParseAddr("10.0.0.1")
	for v := range vips {
		name := fmt.Sprintf("service-%d", v)
		s := service(name, addr.String())
		s.Spec.ExternalTrafficPolicy = policy
		addr = addr.Next()
		state.Services = append(state.Services, s)
		state.EndpointSlices = append(state.EndpointSlices, endpointsOf(name, on(nodeName(v%nodes)), on(nodeName(v/nodes%nodes)), on(nodeName(v*v%nodes))))
	}
	return state
}

func BenchmarkCompute(b *testing.B) {
	for _, c := range []struct {
		vips, nodes int
		policy      corev1.ServiceExternalTrafficPolicy
	}{
		{1000, 3, corev1.ServiceExternalTrafficPolicyCluster},
		{10000, 200, corev1.ServiceExternalTrafficPolicyCluster},
		{10000, 200, corev1.ServiceExternalTrafficPolicyLocal},
	} {
		state := large(c.vips, c.nodes, c.policy)
		b.Run(fmt.Sprintf("%d VIPs on %d nodes, %s", c.vips, c.nodes, c.policy), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Compute(state)
			}
		})
		vips := Compute(state)
		b.Run(fmt.Sprintf("%d VIPs on %d nodes, %s, candidates", c.vips, c.nodes, c.policy), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Candidates(vips, everyNode, nil)
			}
		})
	}
}
