// SPDX-License-Identifier: Apache-2.0

package election

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// line is what a speaker logs when it stops answering for a VIP.
type line struct {
	speaker                                string
	Msg, VIP, Node, Reason, From, To, Took string
	at                                     time.Time
}

// planned is a world whose plan is computed from a cluster: what happens to that is what users do.
type planned struct {
	*world
	state plan.State

	logMu sync.Mutex
	lines []line // those that begin with "withdraw"
}

// inPlanned runs a test with three nodes that may announce six VIPs, of Services with externalTrafficPolicy Local and endpoints everywhere.
func inPlanned(t *testing.T, test func(*planned)) {
	t.Helper()
	p := &planned{}
	inWorldWith(t, 3, 6, func(w *world) {
		p.world, w.logged = w, p.log
		p.state = plan.State{
			Pools:          []*v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "pool"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.168.1.0/24"}}}},
			Advertisements: []*v1beta1.L2Advertisement{{}},
			Speakers:       map[string]plan.Speaker{},
			ServeClassless: true,
		}
		for _, n := range w.all() {
			p.state.Nodes = append(p.state.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{corev1.LabelHostname: n.name}}})
			p.state.Speakers[n.name] = plan.Speaker{Interfaces: ParseInterfaces(FormatInterfaces(n.interfaces()))}
		}
		for i := range 6 {
			service := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("service-%d", i)},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal},
				Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: w.vip(i).String()}}}},
			}
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: service.Name}},
				AddressType: discoveryv1.AddressTypeIPv4,
			}
			for _, n := range w.all() {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{NodeName: ptr.To(n.name)})
			}
			p.state.Services, p.state.EndpointSlices = append(p.state.Services, service), append(p.state.EndpointSlices, slice)
		}
		w.vips = plan.Compute(p.state)
	}, func(*world) { test(p) })
}

// replan tells all what the cluster is now.
func (p *planned) replan() {
	vips := plan.Compute(p.state)
	p.mu.Lock()
	p.vips = vips
	p.mu.Unlock()
	p.tellPlan()
}

func (p *planned) log(speaker, text string) {
	each := line{speaker: speaker, at: time.Now()}
	if err := json.Unmarshal([]byte(text), &each); err != nil {
		p.t.Errorf("%s logs %s: %v", speaker, text, err)
	}
	p.logMu.Lock()
	defer p.logMu.Unlock()
	if strings.HasPrefix(each.Msg, "withdraw") {
		p.lines = append(p.lines, each)
	}
}

func (p *planned) kubernetes(node string) *corev1.Node {
	return p.state.Nodes[slices.IndexFunc(p.state.Nodes, func(n *corev1.Node) bool { return n.Name == node })]
}

// interfacesOf changes the interfaces of a node, as its kernel does, and what its session says of them.
func (p *planned) interfacesOf(node string, interfaces ...LocalInterface) {
	p.node(node).speaker.SetInterfaces(interfaces)
	p.state.Speakers[node] = plan.Speaker{Interfaces: ParseInterfaces(FormatInterfaces(interfaces))}
}

// by selects a node by its name.
func by(operator metav1.LabelSelectorOperator, node string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelHostname, Operator: operator, Values: []string{node}}}}
}

// E8: each hand-over is one log line of the speaker that had the VIP, and no other line of anybody tells of the same: why, from where, to which node, and how
// long it took from the request to the successor until the VIP was no longer answered for. Only who has no interface left has stopped answering before,
// and has said so.
func TestE8EachHandOverIsOneLogLine(t *testing.T) {
	const all, one, some = 6, 1, -1 // how many of the node's VIPs move
	for _, test := range []struct {
		name, reason string
		// change happens to a node, and makes VIPs leave it; before is what there was first.
		before func(p *planned)
		change func(p *planned, node string)
		moves  int
		// waits is how long VIPs may stay where they are, because nothing presses.
		waits time.Duration
	}{
		{"SIGTERM", SpeakerStops, nil, func(p *planned, node string) {
			if err := p.node(node).leave(); err != nil {
				p.t.Error(err)
			}
		}, all, 0},
		{"cordon", string(plan.Cordoned), nil, func(p *planned, node string) { p.kubernetes(node).Spec.Unschedulable = true }, all, 0},
		{"exclude label", string(plan.ExcludeLabel), nil, func(p *planned, node string) { p.kubernetes(node).Labels[corev1.LabelNodeExcludeBalancers] = "" }, all, 0},
		{"advertisement change", string(plan.NotSelected), nil, func(p *planned, node string) {
			p.state.Advertisements[0].Spec.NodeSelectors = []metav1.LabelSelector{by(metav1.LabelSelectorOpNotIn, node)}
		}, all, 0},
		{"selector change: the node's label goes", string(plan.NotSelected), func(p *planned) {
			p.state.Advertisements[0].Spec.NodeSelectors = []metav1.LabelSelector{by(metav1.LabelSelectorOpExists, "")}
			p.state.Advertisements[0].Spec.NodeSelectors[0].MatchExpressions[0].Values = nil
		}, func(p *planned, node string) { delete(p.kubernetes(node).Labels, corev1.LabelHostname) }, all, 0},
		{"lost interface: the only one", LinkDown, nil, func(p *planned, node string) { p.interfacesOf(node) }, all, 0},
		{"lost interface: the one that is advertised on is down", string(plan.InterfaceDown), func(p *planned) {
			p.state.Advertisements[0].Spec.Interfaces = []string{"eth0"}
		}, func(p *planned, node string) {
			interfaces := append(p.node(node).interfaces(), LocalInterface{Name: "eth1", MAC: "02:00:00:00:01:00"})
			interfaces[0].Down = true
			p.interfacesOf(node, interfaces...)
		}, all, 0},
		{"lost interface: the one that is advertised on is gone", string(plan.NoSuchInterface), func(p *planned) {
			p.state.Advertisements[0].Spec.Interfaces = []string{"eth0"}
		}, func(p *planned, node string) {
			p.interfacesOf(node, LocalInterface{Name: "eth1", MAC: p.node(node).mac(), Addresses: p.node(node).interfaces()[0].Addresses})
		}, all, 0},
		{"lost local endpoint", string(plan.NoLocalEndpoint), nil, func(p *planned, node string) {
			for _, vip := range p.heldBy(node)[:one] {
				at := slices.IndexFunc(p.state.Services, func(s *corev1.Service) bool { return s.Status.LoadBalancer.Ingress[0].IP == vip })
				slice := p.state.EndpointSlices[at]
				slice.Endpoints = slices.DeleteFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return *e.NodeName == node })
			}
		}, one, 0},
		{"rebalance", Rebalance, func(p *planned) {
			p.kubernetes("node-2").Spec.Unschedulable, p.kubernetes("node-3").Spec.Unschedulable = true, true
		}, func(p *planned, node string) {
			p.kubernetes("node-2").Spec.Unschedulable, p.kubernetes("node-3").Spec.Unschedulable = false, false
		}, some, time.Minute},
		{"preferred node", PreferredNode, nil, func(p *planned, node string) {
			other := map[string]string{"node-1": "node-2", "node-2": "node-3", "node-3": "node-1"}[node]
			p.state.Advertisements[0].Spec.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 10, Preference: by(metav1.LabelSelectorOpIn, other)}}
		}, all, time.Minute},
		{"two preferred nodes", PreferredNode, nil, func(p *planned, node string) {
			p.state.Advertisements[0].Spec.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 10, Preference: by(metav1.LabelSelectorOpNotIn, node)}}
		}, all, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			inPlanned(t, func(p *planned) {
				if test.before != nil {
					test.before(p)
					p.replan()
				}
				p.pass(atRest + settled)
				before := p.settled()
				node := before[p.vip(0)]
				held := p.heldBy(node)
				from := time.Now()
				p.logMu.Lock()
				p.lines = nil
				p.logMu.Unlock()
				test.change(p, node)
				p.replan()
				p.pass(10*time.Second + test.waits)
				after := p.settled()

				p.logMu.Lock()
				defer p.logMu.Unlock()
				told, stopped := map[string]int{}, map[string]int{}
				for _, each := range p.lines {
					vip, err := netip.ParseAddr(each.VIP)
					if err != nil {
						t.Errorf("%+v: %v", each, err)
					}
					if test.reason == LinkDown && each.To == "" && told[each.VIP] == 0 && each.Reason == "no interface to announce on" {
						stopped[each.VIP]++
						continue
					}
					told[each.VIP]++
					took, err := time.ParseDuration(each.Took)
					if err != nil || took <= 0 || took > time.Second || took > each.at.Sub(from)+time.Millisecond {
						t.Errorf("took %q, %v after the change: %v", each.Took, each.at.Sub(from), err)
					}
					if had := before[vip]; !strings.HasPrefix(each.Msg, "withdraw: handed over") || each.Reason != test.reason || each.speaker != had || each.Node != had ||
						each.From != had || each.To == had || each.To != after[vip] {
						t.Errorf("%s is on %s, and was on %s; %s says %+v, want %s", vip, after[vip], had, each.speaker, each, test.reason)
					}
				}
				moved, left := map[string]int{}, 0
				for vip := range after {
					if after[vip] != before[vip] {
						moved[vip.String()] = 1
					}
					if before[vip] == node && after[vip] != node {
						left++
					}
				}
				if !maps.Equal(told, moved) || test.reason == LinkDown && !maps.Equal(stopped, moved) {
					t.Errorf("lines by VIP %v, of those that stopped before %v, moves %v", told, stopped, moved)
				}
				if left == 0 || test.moves == one && left != one || test.moves == all && left != len(held) {
					t.Errorf("%d of %d VIPs of %s moved", left, len(held), node)
				}
			})
		})
	}
}

// heldBy are the VIPs that a node holds, in order.
func (p *planned) heldBy(node string) []string {
	var held []string
	for vip, holder := range p.settled() {
		if holder == node {
			held = append(held, vip.String())
		}
	}
	slices.Sort(held)
	return held
}
