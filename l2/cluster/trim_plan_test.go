// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// words are the values that texts in objects are given: whatever means something to the plan somewhere.
var words = []string{
	"", "node-1", "local", "b", "l2", "eth1", "10.0.0.1", "10.0.0.200", "Exists", "True",
	string(corev1.ServiceTypeLoadBalancer), string(corev1.ServiceExternalTrafficPolicyLocal), string(corev1.NodeNetworkUnavailable), string(corev1.NodeInternalIP),
	corev1.TaintNodeOutOfService, corev1.LabelNodeExcludeBalancers, string(discoveryv1.AddressTypeIPv6),
}

// The plan of trimmed objects is that of whole ones: whichever field of an object is given whichever value, or is taken away. So what the plan begins to
// read one day is not forgotten when objects are trimmed.
func TestPlanOfTrimmedObjectsIsThatOfWhole(t *testing.T) {
	state := fullState()
	trimmed := plan.State{Speakers: state.Speakers, ServeClassless: state.ServeClassless, LoadBalancerClass: state.LoadBalancerClass}
	trimmed.Services, trimmed.EndpointSlices, trimmed.Nodes = trimCopies(t, state.Services), trimCopies(t, state.EndpointSlices), trimCopies(t, state.Nodes)
	trimmed.Pools, trimmed.Advertisements = trimCopies(t, state.Pools), trimCopies(t, state.Advertisements)
	s := sweep{t: t, trim: trim, reads: map[string]bool{}}
	s.whole, s.trimmed = func() any { return plan.Compute(state) }, func() any { return plan.Compute(trimmed) }
	sweepAll(&s, state.Services, trimmed.Services)
	sweepAll(&s, state.EndpointSlices, trimmed.EndpointSlices)
	sweepAll(&s, state.Nodes, trimmed.Nodes)
	sweepAll(&s, state.Pools, trimmed.Pools)
	sweepAll(&s, state.Advertisements, trimmed.Advertisements)

	// What the plan reads. A field that is missing here was not tried where it matters: change fullState so that it is.
	s.wantReads([]string{
		"EndpointSlice.AddressType",
		"EndpointSlice.Endpoints", "EndpointSlice.Endpoints.Conditions.Ready", "EndpointSlice.Endpoints.Conditions.Serving", "EndpointSlice.Endpoints.Conditions.Terminating",
		"EndpointSlice.Endpoints.NodeName",
		"EndpointSlice.ObjectMeta.Labels", "EndpointSlice.ObjectMeta.Namespace",
		"IPAddressPool.ObjectMeta.CreationTimestamp", "IPAddressPool.ObjectMeta.Labels", "IPAddressPool.ObjectMeta.Name", "IPAddressPool.Spec.Addresses",
		"L2Advertisement.Spec.IPAddressPoolSelectors.MatchExpressions", "L2Advertisement.Spec.IPAddressPoolSelectors.MatchLabels",
		"L2Advertisement.Spec.IPAddressPools", "L2Advertisement.Spec.Interfaces",
		"L2Advertisement.Spec.NodeSelectors",
		"L2Advertisement.Spec.NodeSelectors.MatchExpressions", "L2Advertisement.Spec.NodeSelectors.MatchExpressions.Key",
		"L2Advertisement.Spec.NodeSelectors.MatchExpressions.Operator", "L2Advertisement.Spec.NodeSelectors.MatchExpressions.Values",
		"L2Advertisement.Spec.NodeSelectors.MatchLabels",
		"L2Advertisement.Spec.PreferredNodeSelectors", "L2Advertisement.Spec.PreferredNodeSelectors.Preference.MatchExpressions",
		"L2Advertisement.Spec.PreferredNodeSelectors.Preference.MatchLabels", "L2Advertisement.Spec.PreferredNodeSelectors.Weight",
		"L2Advertisement.Spec.ServiceSelectors", "L2Advertisement.Spec.ServiceSelectors.MatchExpressions", "L2Advertisement.Spec.ServiceSelectors.MatchLabels",
		"Node.ObjectMeta.DeletionTimestamp", "Node.ObjectMeta.Labels", "Node.ObjectMeta.Name", "Node.Spec.Taints.Key", "Node.Spec.Unschedulable",
		"Node.Status.Addresses.Address", "Node.Status.Addresses.Type", "Node.Status.Conditions.Status", "Node.Status.Conditions.Type",
		"Service.ObjectMeta.DeletionTimestamp", "Service.ObjectMeta.Labels", "Service.ObjectMeta.Name", "Service.ObjectMeta.Namespace",
		"Service.Spec.ExternalTrafficPolicy", "Service.Spec.LoadBalancerClass", "Service.Spec.Type",
		"Service.Status.LoadBalancer.Ingress", "Service.Status.LoadBalancer.Ingress.IP",
	})
}

// What a trimmed session Lease says of its speaker is what the whole one says.
func TestSessionOfTrimmedLeaseIsThatOfWhole(t *testing.T) {
	now := time.Unix(1800000000, 0)
	read := func(lease *coordinationv1.Lease) map[string]session {
		var s sessions
		s.observe(lease, now)
		return s.byNode
	}
	whole := []*coordinationv1.Lease{{
		ObjectMeta: full("metallb-system", names.SessionLease("node-1"), map[string]string{names.LabelLease: names.LeaseSession}),
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("node-1/a"), LeaseDurationSeconds: ptr.To[int32](4), RenewTime: &metav1.MicroTime{Time: now},
		},
	}}
	whole[0].Annotations[names.AnnotationInterfaces] = "eth0=10.0.0.7/24;down:eth1="
	trimmed := []*coordinationv1.Lease{nil}
	s := sweep{t: t, trim: trimLease, reads: map[string]bool{}}
	s.whole, s.trimmed = func() any { return read(whole[0]) }, func() any { return read(trimmed[0]) }
	sweepAll(&s, whole, trimmed)
	s.wantReads([]string{
		"Lease.ObjectMeta.Annotations", "Lease.ObjectMeta.Name", "Lease.Spec.HolderIdentity", "Lease.Spec.LeaseDurationSeconds", "Lease.Spec.RenewTime",
	})
}

// fullState is a cluster in which each field that the plan reads matters by itself: objects as the API sends them, and two of what is chosen from.
func fullState() plan.State {
	nodes := []*corev1.Node{fullNode("node-0"), fullNode("node-1")}
	for i, node := range nodes {
		node.Spec.Unschedulable = i == 1
		node.Status.Images = node.Status.Images[:1]
		node.Status.Conditions[1].Status = corev1.ConditionFalse
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.100"}, {Type: corev1.NodeHostName, Address: "10.0.0.1"}}
	}
	nodes[1].Labels["zone"] = "b"
	web, local := fullService("web", "10.0.0.1"), fullService("local", "10.0.0.2")
	web.Spec.ExternalTrafficPolicy, web.Spec.LoadBalancerClass = corev1.ServiceExternalTrafficPolicyCluster, nil
	serving := fullSlice("web", 1)
	serving.Endpoints[0].NodeName = ptr.To("node-1")
	terminating := fullSlice("local", 1)
	for _, each := range []discoveryv1.EndpointConditions{ // of which only the last counts
		{Ready: ptr.To(false), Serving: ptr.To(false), Terminating: ptr.To(true)},
		{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(false)},
		{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)},
	} {
		endpoint := terminating.Endpoints[0]
		endpoint.Conditions = each
		terminating.Endpoints = append(terminating.Endpoints, endpoint)
	}
	terminating.Endpoints = terminating.Endpoints[1:]
	pool := func(name string, age time.Duration, addresses ...string) *v1beta1.IPAddressPool {
		pool := &v1beta1.IPAddressPool{ObjectMeta: full("metallb-system", name, map[string]string{"tier": name}), Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
		pool.CreationTimestamp = metav1.NewTime(time.Unix(1700000000, 0).Add(-age))
		return pool
	}
	advertisement := func(name string, spec v1beta1.L2AdvertisementSpec) *v1beta1.L2Advertisement {
		return &v1beta1.L2Advertisement{ObjectMeta: full("metallb-system", name, nil), Spec: spec}
	}
	labelled := func(key, value string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	eth := func(name, subnet string) plan.Interface {
		return plan.Interface{Name: name, Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix(subnet)}}
	}
	return plan.State{
		Services: []*corev1.Service{web, local}, EndpointSlices: []*discoveryv1.EndpointSlice{serving, terminating}, Nodes: nodes,
		Pools: []*v1beta1.IPAddressPool{pool("pool-a", time.Hour, "10.0.0.0/25"), pool("pool-b", time.Minute, "10.0.0.0/24")},
		Advertisements: []*v1beta1.L2Advertisement{
			advertisement("by-name", v1beta1.L2AdvertisementSpec{
				IPAddressPools: []string{"pool-a"}, Interfaces: []string{"eth0"},
				NodeSelectors: []metav1.LabelSelector{
					{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: metav1.LabelSelectorOpIn, Values: []string{"a"}}}},
				},
				ServiceSelectors: []metav1.LabelSelector{labelled("app", "local")},
			}),
			advertisement("by-label", v1beta1.L2AdvertisementSpec{
				IPAddressPoolSelectors: []metav1.LabelSelector{labelled("tier", "pool-a")},
				NodeSelectors:          []metav1.LabelSelector{labelled("zone", "a"), labelled("zone", "b")},
				PreferredNodeSelectors: []v1beta1.PreferredNodeSelector{{Weight: 10, Preference: labelled("zone", "b")}},
				ServiceSelectors:       []metav1.LabelSelector{labelled("app", "web")},
			}),
		},
		Speakers: map[string]plan.Speaker{
			"node-0": {Interfaces: []plan.Interface{eth("eth0", "10.0.0.0/24"), eth("eth1", "10.1.0.0/24")}},
			"node-1": {Interfaces: []plan.Interface{eth("eth0", "10.0.0.0/24")}},
		},
		ServeClassless: true, LoadBalancerClass: "l2",
	}
}

// sweep gives each field of objects each value, one at a time.
type sweep struct {
	t    *testing.T
	trim func(any) (any, error)
	// whole and trimmed are what is read from the objects; before is what was read of whole ones before the change, after what is of trimmed ones.
	whole, trimmed func() any
	before, after  any
	// changed takes the change over to the trimmed object, and says whether that makes it another.
	changed func() bool
	// reads are the fields of which some value made a difference.
	reads map[string]bool
}

// sweepAll changes every object of a list, and has the trimmed one follow.
func sweepAll[T runtime.Object](s *sweep, whole, trimmed []T) {
	for i, object := range whole {
		s.changed = func() bool {
			before := trimmed[i]
			trimmed[i] = trimCopy(s.t, s.trim, object)
			return !reflect.DeepEqual(before, trimmed[i])
		}
		s.changed()
		s.before, s.after = s.whole(), s.trimmed()
		value := reflect.ValueOf(object).Elem()
		s.value(value, value.Type().Name())
		s.changed()
	}
}

// tried looks at what a change came to.
func (s *sweep) tried(path string, value any) {
	if s.changed() {
		s.after = s.trimmed()
	}
	whole := s.whole()
	if !reflect.DeepEqual(s.before, whole) {
		s.reads[path] = true
	}
	if !reflect.DeepEqual(whole, s.after) && !s.t.Failed() { // one is enough to see
		s.t.Errorf("%s = %v (-whole +trimmed):\n%s", path, value, cmp.Diff(whole, s.after, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmp.AllowUnexported(session{})))
	}
}

// value tries values in place of one that is part of an object, and then in place of its parts. The object is as before in the end.
func (s *sweep) value(v reflect.Value, path string) {
	before := reflect.New(v.Type()).Elem()
	before.Set(v)
	try := func(other reflect.Value) {
		v.Set(other)
		s.tried(path, other)
		v.Set(before)
	}
	switch is := v.Interface().(type) {
	case metav1.Time:
		for _, at := range []int64{1600000000, 1750000000} {
			try(reflect.ValueOf(metav1.NewTime(time.Unix(at, 0))))
		}
		return
	case metav1.MicroTime:
		try(reflect.ValueOf(metav1.NewMicroTime(time.Unix(1750000000, 0))))
		return
	case map[string]string:
		for _, changed := range mapsLike(is) {
			try(reflect.ValueOf(changed))
		}
		return
	case resource.Quantity, []byte, metav1.TypeMeta: // of no meaning to anybody here
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		try(reflect.ValueOf(!v.Bool()).Convert(v.Type()))
	case reflect.Int, reflect.Int32, reflect.Int64:
		for _, number := range []int{0, 1, 50} {
			try(reflect.ValueOf(number).Convert(v.Type()))
		}
	case reflect.String:
		for _, word := range words {
			try(reflect.ValueOf(word).Convert(v.Type()))
		}
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		if v.IsNil() {
			try(fresh)
		} else {
			try(reflect.Zero(v.Type()))
			fresh.Elem().Set(v.Elem())
		}
		s.within(v, fresh, func() { s.value(fresh.Elem(), path) })
	case reflect.Struct:
		for i := range v.NumField() {
			s.value(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		length := v.Len()
		for i := range length { // one left out
			try(reflect.AppendSlice(copied(v.Slice(0, i)), v.Slice(i+1, length)))
		}
		s.within(v, copied(v), func() {
			for i := range length {
				s.value(v.Index(i), path)
			}
		})
		more := reflect.Append(copied(v), reflect.Zero(v.Type().Elem()))
		try(more)
		s.within(v, more, func() { s.value(v.Index(length), path) })
	}
}

func copied(list reflect.Value) reflect.Value {
	return reflect.AppendSlice(reflect.MakeSlice(list.Type(), 0, list.Len()+1), list)
}

// within tries something while a value is another.
func (s *sweep) within(v, other reflect.Value, try func()) {
	value, before := reflect.New(v.Type()).Elem(), s.before
	value.Set(v)
	v.Set(other)
	s.before = s.whole()
	try()
	v.Set(value)
	s.before = before
}

// mapsLike are labels without one of them, with one that is another, and with one more.
func mapsLike(labels map[string]string) []map[string]string {
	var others []map[string]string
	other := func() map[string]string {
		others = append(others, maps.Clone(labels))
		if labels == nil {
			others[len(others)-1] = map[string]string{}
		}
		return others[len(others)-1]
	}
	for key := range labels {
		delete(other(), key)
		for _, word := range words {
			other()[key] = word
		}
	}
	for _, word := range words {
		other()[word] = "b"
	}
	return others
}

// wantReads fails the test unless just these fields made a difference.
func (s *sweep) wantReads(want []string) {
	s.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(s.reads))); diff != "" {
		s.t.Errorf("fields that matter (-want +got):\n%s", diff)
	}
}

func trimCopies[T runtime.Object](t *testing.T, list []T) []T {
	var copies []T
	for _, object := range list {
		copies = append(copies, trimCopy(t, trim, object))
	}
	return copies
}

func trimCopy[T runtime.Object](t *testing.T, trim func(any) (any, error), object T) T {
	trimmed, err := trim(object.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	return trimmed.(T)
}
