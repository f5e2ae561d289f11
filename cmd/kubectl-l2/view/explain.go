// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Explanation is what `kubectl l2 explain` tells of one address or Service.
type Explanation struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // Explanation
	// Subject is what was asked for: a Service's namespace and name, or an address.
	Subject string `json:"subject"`
	// Services that the subject is, or that are on it.
	Services []ServiceAllocation `json:"services"`
	// Addresses of those Services.
	Addresses []Announcement `json:"addresses"`
	// Verdict is the answer in a sentence; Mend, what to do, is empty when all is well.
	Verdict string   `json:"verdict"`
	Mend    []string `json:"mend,omitempty"`
	// Events on the Service, the latest last; none when several Services are on the address that was asked for.
	Events []Event           `json:"events,omitempty"`
	Unread []snapshot.Unread `json:"unread,omitempty"`
}

// ServiceAllocation says how a Service came by its addresses, or why it has none.
type ServiceAllocation struct {
	Service string `json:"service"`
	// Asks says what the Service asks for, in words.
	Asks      []string     `json:"asks"`
	Addresses []netip.Addr `json:"addresses"`
	// Served is false for a Service that is not ours; NotServed says why.
	Served    bool   `json:"served"`
	NotServed string `json:"notServed,omitempty"`
	// Refused is why it does not have what it asks for: the text of the event AllocationFailed.
	Refused string `json:"refused,omitempty"`
	// Unknown is why it cannot be told what the pools are to it.
	Unknown string `json:"unknown,omitempty"`
	// ReadyEndpoints counts the Service's, and ReadyOn are the nodes where they are.
	ReadyEndpoints        int           `json:"readyEndpoints"`
	ReadyOn               []string      `json:"readyOn,omitempty"`
	ExternalTrafficPolicy string        `json:"externalTrafficPolicy,omitempty"`
	Pools                 []PoolVerdict `json:"pools,omitempty"`
}

// Announcement says who announces an address, and what each node is to it.
type Announcement struct {
	VIP
	Advertisements []AdvertisementVerdict `json:"advertisements"`
	Nodes          []NodeVerdict          `json:"nodes"`
	// Answered is who answered on the LAN when asked just now, and Asked from where.
	Asked    []string `json:"asked,omitempty"`
	Answered []string `json:"answered,omitempty"`
}

// AdvertisementVerdict says what an L2Advertisement is to an address.
type AdvertisementVerdict struct {
	Name   string `json:"name"`
	Covers bool   `json:"covers"`
	Reason string `json:"reason,omitempty"`
}

// NodeVerdict says what a node is to an address.
type NodeVerdict struct {
	Node     string `json:"node"`
	Eligible bool   `json:"eligible"`
	Holder   bool   `json:"holder,omitempty"`
	// Rank among the candidates, from 1; 0 when it is none.
	Rank int `json:"rank,omitempty"`
	// Reason why it is not eligible, and Message, what that means.
	Reason   plan.Reason `json:"reason,omitempty"`
	Message  string      `json:"message,omitempty"`
	InSubnet bool        `json:"inSubnet"`
	Score    int32       `json:"score,omitempty"`
}

// Event is an event on a Service.
type Event struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
}

// Explainer explains Services and addresses of one snapshot.
type Explainer struct {
	Snapshot   *snapshot.Snapshot
	Allocation *Allocation
	Announcing Announcing
	// Heard is what the LAN said, by address; nothing of those that it was not asked for.
	Heard map[netip.Addr]Heard
}

// NewExplainer works out what all explanations have in common.
func NewExplainer(s *snapshot.Snapshot) *Explainer {
	return &Explainer{Snapshot: s, Allocation: Allocate(s), Announcing: Announce(s), Heard: hear(s)}
}

// Service explains one Service.
func (x *Explainer) Service(service *corev1.Service) Explanation {
	return x.explain(service.Namespace+"/"+service.Name, []*corev1.Service{service}, nil)
}

// Address explains an address, whether or not a Service has it.
func (x *Explainer) Address(address netip.Addr) Explanation {
	return x.explain(address.String(), x.ServicesWith(address), []netip.Addr{address})
}

// ServicesWith are the Services of ours that have an address.
func (x *Explainer) ServicesWith(address netip.Addr) (services []*corev1.Service) {
	for _, name := range x.Announcing.Plan[address].Services {
		if service := x.Snapshot.Service(name.Namespace, name.Name); service != nil {
			services = append(services, service)
		}
	}
	return services
}

func (x *Explainer) explain(subject string, services []*corev1.Service, addresses []netip.Addr) Explanation {
	s := x.Snapshot
	e := Explanation{APIVersion: APIVersion, Kind: "Explanation", Subject: subject, Services: []ServiceAllocation{}, Addresses: []Announcement{}, Unread: s.Unread}
	all := addresses == nil
	for _, service := range services {
		told := x.Allocation.explain(service)
		e.Services = append(e.Services, told)
		if all {
			addresses = append(addresses, told.Addresses...)
		}
	}
	for _, address := range addresses {
		e.Addresses = append(e.Addresses, x.announcement(address))
	}
	for _, event := range s.Events {
		e.Events = append(e.Events, Event{Time: snapshot.LastSeen(event), Type: event.Type, Reason: event.Reason, Message: event.Message})
	}
	x.conclude(&e)
	return e
}

func (a *Allocation) explain(service *corev1.Service) ServiceAllocation {
	told := ServiceAllocation{Service: service.Namespace + "/" + service.Name, Addresses: recorded(service)}
	settings := a.snapshot.Settings()
	if told.Served = settings.Controller.Serves(service); !told.Served {
		told.NotServed = notServed(settings, service)
		return told
	}
	told.ReadyEndpoints, told.ReadyOn = ReadyEndpoints(a.snapshot, service)
	told.ExternalTrafficPolicy = string(service.Spec.ExternalTrafficPolicy)
	request := a.request(service)
	told.Asks = asks(request)
	if missing := a.snapshot.Missing(snapshot.Pools, snapshot.Namespaces); missing != "" {
		told.Unknown = "what pools are to it cannot be told: could not read " + missing
		return told
	}
	if err, waits := a.Waiting[service]; waits {
		told.Refused = whyWaiting(err)
	}
	told.Pools = a.Pools(service)
	return told
}

func notServed(settings snapshot.Settings, service *corev1.Service) string {
	switch {
	case service.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return fmt.Sprintf("its type is %s: only Services of type LoadBalancer get an address", service.Spec.Type)
	case service.Spec.LoadBalancerClass != nil:
		return fmt.Sprintf("its loadBalancerClass is %q: it is left to the controller of that class (the controller's --load-balancer-class is %q)",
			*service.Spec.LoadBalancerClass, settings.Controller.LoadBalancerClass)
	}
	return "it has no loadBalancerClass, and the controller runs with --serve-classless=false"
}

// asks says a request in words.
func asks(request ipam.Request) (words []string) {
	if request.Invalid != nil {
		return []string{"what cannot be understood: " + request.Invalid.Error()}
	}
	families := make([]string, len(request.Families))
	for i, family := range request.Families {
		families[i] = "one " + family.String() + " address"
	}
	text := strings.Join(families, " and ")
	if request.Flexible && len(families) > 1 {
		text += ", or one of the two"
	}
	words = append(words, text)
	if len(request.Addresses) > 0 {
		words = append(words, "by name: "+joined(request.Addresses))
	}
	if request.Pool != "" {
		words = append(words, "from pool "+request.Pool)
	}
	if request.Sharing.Key != "" {
		words = append(words, fmt.Sprintf("shared with Services of the key %q", request.Sharing.Key))
	}
	return words
}

func joined(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		texts[i] = address.String()
	}
	return strings.Join(texts, ", ")
}

func (x *Explainer) announcement(address netip.Addr) Announcement {
	s, a := x.Snapshot, x.Announcing
	told := Announcement{Advertisements: []AdvertisementVerdict{}, Nodes: []NodeVerdict{}}
	planned, wanted := a.Plan[address]
	if !wanted {
		told.VIP = VIP{Address: address, Node: a.Held[address], Reason: "NoService", Message: "no LoadBalancer Service of ours has the address: nobody announces it"}
		told.Pool, _ = x.Allocation.PoolOf(address)
		if conflict, found := s.Conflict(address); found {
			told.Conflict = conflict
		}
		return told
	}
	told.VIP = a.vip(s, address)
	told.Advertisements = advertisementVerdicts(s, planned)
	for _, node := range nodesOf(s, planned) {
		verdict := planned.Verdict(node)
		each := NodeVerdict{
			Node: node, Eligible: verdict.Eligible, Holder: a.Held[address] == node, Reason: verdict.Reason, InSubnet: verdict.InSubnet, Score: verdict.Score,
			Rank: slices.Index(a.Candidates[address], node) + 1,
		}
		if !verdict.Eligible {
			each.Message = plan.Message(verdict.Reason)
		}
		told.Nodes = append(told.Nodes, each)
	}
	told.Asked, told.Answered = x.Heard[address].Asked, x.Heard[address].answered
	return told
}

// nodesOf lists the nodes of the cluster and of the plan.
func nodesOf(s *snapshot.Snapshot, planned plan.VIP) []string {
	all := map[string]bool{}
	for name := range planned.Nodes {
		all[name] = true
	}
	for _, node := range s.Nodes {
		all[node.Name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func advertisementVerdicts(s *snapshot.Snapshot, vip plan.VIP) []AdvertisementVerdict {
	verdicts := []AdvertisementVerdict{}
	state := s.State()
	for _, object := range s.Advertisements {
		coverage := plan.CoverageOf(object, state)
		verdict := AdvertisementVerdict{Name: object.Name}
		switch {
		case coverage.Err != nil:
			verdict.Reason = coverage.Err.Error()
		case !slices.Contains(coverage.Pools, vip.Pool):
			verdict.Reason = "it is not for pool " + vip.Pool
		case !slices.Contains(coverage.Services, vip.Services[0]) && len(vip.Services) == 1:
			verdict.Reason = "its serviceSelectors do not match the Service"
		case len(coverage.Nodes) == 0:
			verdict.Covers, verdict.Reason = true, "its nodeSelectors select no node"
		case len(object.Spec.Interfaces) > 0 && len(coverage.Interfaces) == 0:
			verdict.Covers, verdict.Reason = true, "no node has any of its interfaces "+strings.Join(object.Spec.Interfaces, ", ")
		default:
			verdict.Covers = true
		}
		verdicts = append(verdicts, verdict)
	}
	slices.SortFunc(verdicts, func(a, b AdvertisementVerdict) int { return strings.Compare(a.Name, b.Name) })
	return verdicts
}

// ReadyEndpoints counts the ready endpoints of a Service, and on which nodes they are.
func ReadyEndpoints(s *snapshot.Snapshot, service *corev1.Service) (count int, onNodes []string) {
	for _, slice := range s.SlicesOf(service) {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				count++
				if endpoint.NodeName != nil && !slices.Contains(onNodes, *endpoint.NodeName) {
					onNodes = append(onNodes, *endpoint.NodeName)
				}
			}
		}
	}
	slices.Sort(onNodes)
	return count, onNodes
}

// conclude says the answer in a sentence, and what to do.
func (x *Explainer) conclude(e *Explanation) {
	s := x.Snapshot
	var verdicts []string
	for _, service := range e.Services {
		switch {
		case !service.Served:
			verdicts = append(verdicts, fmt.Sprintf("Service %s is not served: %s", service.Service, service.NotServed))
		case service.Unknown != "":
			verdicts = append(verdicts, service.Unknown)
		case service.Refused != "":
			verdicts = append(verdicts, fmt.Sprintf("Service %s waits: %s", service.Service, service.Refused))
			e.Mend = append(e.Mend, mendWaiting(s, service)...)
		}
	}
	for _, address := range e.Addresses {
		switch {
		case address.Node != "" && address.Successor != "":
			verdicts = append(verdicts, fmt.Sprintf("%s is announced by %s, which hands it over to %s", address.Address, address.Node, address.Successor))
		case address.Node != "":
			verdicts = append(verdicts, fmt.Sprintf("%s is announced by %s", address.Address, address.Node))
		case address.Reason == ReasonUnknown:
			verdicts = append(verdicts, fmt.Sprintf("%s: %s", address.Address, address.Message))
		default:
			verdicts = append(verdicts, fmt.Sprintf("%s is not announced: %s", address.Address, address.Message))
			e.Mend = append(e.Mend, Mend(s, plan.Reason(address.Reason), address)...)
		}
		if address.Node != "" && len(address.Asked) > 0 && len(address.Answered) == 0 {
			verdicts = append(verdicts, fmt.Sprintf("%s hears no answer for it on the LAN", strings.Join(address.Asked, ", ")))
			e.Mend = append(e.Mend, fmt.Sprintf("see that %s and %s are on one LAN, and that nothing filters ARP there (ARP inspection, port security, anti-spoofing of the hypervisor)",
				address.Node, strings.Join(address.Asked, ", ")))
		}
		if address.Node != "" && address.Conflict != "" {
			verdicts = append(verdicts, fmt.Sprintf("%s is used by another host too: %s", address.Address, address.Conflict))
		}
		heard := x.Heard[address.Address]
		if nodes := heard.Nodes; len(nodes) > 1 {
			verdicts = append(verdicts, fmt.Sprintf("%s is answered for by %d nodes: %s", address.Address, len(nodes), strings.Join(nodes, ", ")))
			e.Mend = append(e.Mend, MendSeveralNodes)
		}
		for i, other := range heard.Strangers {
			if i > 0 && other.MAC == heard.Strangers[i-1].MAC {
				continue // on another interface
			}
			verdicts = append(verdicts, fmt.Sprintf("%s is answered for by %s, which is no speaker", address.Address, other.MAC))
			e.Mend = append(e.Mend, fmt.Sprintf("find the host with the hardware address %s and give it another address, or take %s out of the pool", other.MAC, address.Address))
		}
	}
	if len(verdicts) == 0 {
		verdicts = []string{"nothing is known of " + e.Subject}
	}
	e.Verdict = strings.Join(verdicts, "; ")
	seen := map[string]bool{}
	e.Mend = slices.DeleteFunc(e.Mend, func(text string) bool {
		defer func() { seen[text] = true }()
		return seen[text]
	})
}

// MendSeveralNodes is what to do when several nodes of ours answer for an address.
const MendSeveralNodes = "ask again in some seconds, for it may have been handed over just now; if they still answer, and kube-proxy runs in IPVS mode, set its ipvs.strictARP: true " +
	"(kubectl edit configmap -n kube-system kube-proxy, then kubectl rollout restart -n kube-system daemonset kube-proxy)"
