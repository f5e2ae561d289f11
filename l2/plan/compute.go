// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// Compute says of every VIP which nodes may announce it.
func Compute(state State) map[netip.Addr]VIP {
	p := newPlanner(state)
	vips := make(map[netip.Addr]VIP, len(p.services))
	for addr, services := range p.services {
		vips[addr] = p.vip(addr, services)
	}
	return vips
}

// planner holds the state, read once, and the verdicts found so far. A cluster has many VIPs but few kinds of them: those
// that the same L2Advertisements cover, with the same local endpoints and in the same subnets, share their verdicts.
type planner struct {
	nodes     []node
	pools     []pool
	ads       []advertisement
	services  map[netip.Addr][]*corev1.Service
	endpoints map[endpointsKey]*endpoints
	// subnets of all speakers, without repetition.
	subnets []netip.Prefix
	// own are the nodes' own addresses.
	own   map[netip.Addr]bool
	kinds map[string]*kind
	// verdicts are what kinds have in common that differ in local endpoints only; indexed like nodes, cordons left out.
	verdicts map[string][]judged
}

// judged is a verdict that does not depend on other nodes and endpoints.
type judged struct {
	Verdict
	// cutOff is set when the node's interface in the VIP's subnet is down.
	cutOff bool
}

// kind is what VIPs have in common.
type kind struct {
	nodes  map[string]Verdict
	reason Reason
	local  bool
}

type pool struct {
	name   string
	ranges []ipam.Range
}

func newPlanner(state State) *planner {
	p := &planner{
		nodes:    nodes(state),
		pools:    readPools(state.Pools),
		services: map[netip.Addr][]*corev1.Service{},
		kinds:    map[string]*kind{},
		verdicts: map[string][]judged{},
		own:      ownAddresses(state),
	}
	index := make(map[string]int32, len(p.nodes))
	subnets := map[netip.Prefix]bool{}
	for i, node := range p.nodes {
		index[node.name] = int32(i)
		for _, each := range node.speaker.Interfaces {
			for _, subnet := range each.Subnets {
				subnets[subnet.Masked()] = true
			}
		}
	}
	for subnet := range subnets {
		p.subnets = append(p.subnets, subnet)
	}
	for _, object := range state.Advertisements {
		p.ads = append(p.ads, readAdvertisement(object, state.Pools, p.nodes))
	}
	wanted := map[types.NamespacedName]bool{}
	for _, service := range state.Services {
		if !serves(state, service) {
			continue
		}
		for _, addr := range addresses(service) {
			wanted[nameOf(service)] = true
			p.services[addr] = append(p.services[addr], service)
		}
	}
	p.endpoints = readEndpoints(state.EndpointSlices, wanted, index)
	return p
}

// serves tells whether a Service is ours and wants its addresses announced.
func serves(state State, service *corev1.Service) bool {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil {
		return false
	}
	if service.Spec.LoadBalancerClass == nil {
		return state.ServeClassless
	}
	return *service.Spec.LoadBalancerClass == state.LoadBalancerClass
}

// addresses are the VIPs in a Service's status, each once. What is no address of a VIP is left out.
func addresses(service *corev1.Service) []netip.Addr {
	var list []netip.Addr
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(ingress.IP)
		if addr = addr.Unmap(); err == nil && addr.Zone() == "" && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list
}

func nameOf(service *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
}

// readPools reads the pools in the order in which they have a right to an address: where two overlap, the older has it.
// Entries that are no ranges are the controller's to complain about.
func readPools(objects []*v1beta1.IPAddressPool) []pool {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b *v1beta1.IPAddressPool) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	pools := make([]pool, 0, len(objects))
	for _, object := range objects {
		p := pool{name: object.Name}
		for _, entry := range object.Spec.Addresses {
			if r, err := ipam.ParseRange(entry); err == nil {
				p.ranges = append(p.ranges, r)
			}
		}
		pools = append(pools, p)
	}
	return pools
}

func (p *planner) poolOf(addr netip.Addr) (name string, ok bool) {
	for i := range p.pools {
		for _, r := range p.pools[i].ranges {
			if r.Contains(addr) {
				return p.pools[i].name, true
			}
		}
	}
	return "", false
}

func (p *planner) vip(addr netip.Addr, services []*corev1.Service) VIP {
	vip := VIP{Addr: addr, Services: make([]types.NamespacedName, 0, len(services))}
	for _, service := range services {
		vip.Services = append(vip.Services, nameOf(service))
	}
	slices.SortFunc(vip.Services, func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	var kind *kind
	vip.Pool, kind = p.kindOf(addr, services)
	vip.Nodes, vip.Reason, vip.Local = kind.nodes, kind.reason, kind.local
	return vip
}

// kindOf finds which kind of VIP an address is.
func (p *planner) kindOf(addr netip.Addr, services []*corev1.Service) (pool string, _ *kind) {
	pool, ok := p.poolOf(addr)
	if !ok {
		return "", p.refused(NoPool)
	}
	if p.own[addr] {
		return pool, p.refused(AddressOfNode)
	}
	covering, reason := p.covering(pool, services)
	if reason != Eligible {
		return pool, p.refused(reason)
	}
	local, restricted, ok := p.localNodes(addr, services)
	if !ok {
		return pool, p.refused(NoReadyEndpoints)
	}

	var key []byte
	for _, ads := range covering {
		key = appendList(key, ads)
	}
	key = append(key, '/')
	for i, subnet := range p.subnets {
		if subnet.Contains(addr) {
			key = binary.BigEndian.AppendUint32(key, uint32(i))
		}
	}
	verdicts := p.verdicts[string(key)]
	if verdicts == nil {
		verdicts = make([]judged, len(p.nodes))
		for i := range p.nodes {
			verdicts[i] = p.verdict(i, addr, covering)
		}
		p.verdicts[string(key)] = verdicts
	}
	if restricted {
		key = appendList(append(key, '/'), local)
	}
	known := p.kinds[string(key)]
	if known == nil {
		known = p.judge(verdicts, local, restricted)
		p.kinds[string(key)] = known
	}
	return pool, known
}

func appendList(key []byte, list []int32) []byte {
	key = binary.BigEndian.AppendUint32(key, uint32(len(list)))
	for _, n := range list {
		key = binary.BigEndian.AppendUint32(key, uint32(n))
	}
	return key
}

// refused is the kind of VIP that every node refuses for the same reason.
func (p *planner) refused(reason Reason) *kind {
	key := "refused " + string(reason)
	known := p.kinds[key]
	if known == nil {
		known = &kind{nodes: make(map[string]Verdict, len(p.nodes)), reason: reason}
		for i := range p.nodes {
			known.nodes[p.nodes[i].name] = Verdict{Reason: reason}
		}
		p.kinds[key] = known
	}
	return known
}

// covering lists, for each Service on a VIP, the advertisements that cover it, without repetition. Every Service must be
// covered: to announce the address is to announce all that is on it.
func (p *planner) covering(pool string, services []*corev1.Service) (sets [][]int32, reason Reason) {
	covered, broken := 0, false
	for _, service := range services {
		var ads []int32
		for i := range p.ads {
			switch {
			case p.ads[i].broken:
				broken = broken || p.ads[i].mightCover(pool)
			case p.ads[i].covers(pool, service.Labels):
				ads = append(ads, int32(i))
			}
		}
		if len(ads) > 0 {
			covered++
		}
		if !slices.ContainsFunc(sets, func(set []int32) bool { return slices.Equal(set, ads) }) {
			sets = append(sets, ads)
		}
	}
	switch {
	case covered == len(services):
		slices.SortFunc(sets, slices.Compare[[]int32])
		return sets, Eligible
	case broken:
		return nil, InvalidSelector
	case covered > 0:
		return nil, SharedNotAdvertised
	}
	return nil, NoAdvertisement
}

// localNodes lists the nodes to which externalTrafficPolicy Local restricts a VIP, if it does. ok is false when nothing at all
// would answer. A Service without any endpoint restricts nothing: no node could serve it, and others may share its VIP.
func (p *planner) localNodes(addr netip.Addr, services []*corev1.Service) (local []int32, restricted, ok bool) {
	for _, service := range services {
		of := p.endpoints[keyFor(nameOf(service), addr)]
		if !of.any() {
			continue
		}
		ok = true
		if service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			continue
		}
		if !restricted {
			local, restricted = of.nodes(), true
			continue
		}
		var both []int32
		for _, n := range local {
			if _, found := slices.BinarySearch(of.nodes(), n); found {
				both = append(both, n)
			}
		}
		local = both
	}
	return local, restricted, ok
}

// judge gives the verdict of every node for one kind of VIP: to those that do not depend on other nodes and endpoints, it adds
// what does.
func (p *planner) judge(verdicts []judged, local []int32, restricted bool) *kind {
	isLocal := func(i int) bool {
		_, found := slices.BinarySearch(local, int32(i))
		return found || !restricted
	}
	inSubnet := slices.ContainsFunc(verdicts, func(each judged) bool { return each.Eligible && each.InSubnet })
	if restricted {
		inSubnet = slices.ContainsFunc(local, func(i int32) bool { return verdicts[i].Eligible && verdicts[i].InSubnet })
	}
	// Who was in the subnet, and no longer is, makes place at once for who is: nobody there would hear it.
	cutOff := func(i int) bool { return verdicts[i].cutOff && inSubnet }
	spare := false // an eligible node that is not cordoned
	for i := range verdicts {
		spare = spare || verdicts[i].Eligible && !cutOff(i) && !p.nodes[i].cordoned && isLocal(i)
	}
	k := &kind{nodes: map[string]Verdict{}, reason: NoEligibleNode, local: restricted}
	elsewhere := func(i int) bool { // without an endpoint, and that is the only reason against it
		return !isLocal(i) && p.nodes[i].reason == Eligible && verdicts[i].Reason != NotSelected
	}
	for i := range verdicts {
		verdict := verdicts[i].Verdict
		switch {
		case elsewhere(i):
			continue
		case verdict.Eligible && cutOff(i):
			verdict = Verdict{Reason: InterfaceDown}
		case verdict.Eligible && p.nodes[i].cordoned && spare:
			verdict.Eligible, verdict.Reason = false, Cordoned
		case verdict.Eligible:
			k.reason = Eligible
		}
		k.nodes[p.nodes[i].name] = verdict
	}
	if k.reason != Eligible {
		for i := range verdicts {
			if elsewhere(i) {
				k.nodes[p.nodes[i].name] = Verdict{Reason: NoLocalEndpoint}
			}
		}
	}
	return k
}

// verdict is that of one node, but for local endpoints and cordons.
func (p *planner) verdict(i int, addr netip.Addr, covering [][]int32) judged {
	if reason := p.nodes[i].reason; reason != Eligible {
		return judged{Verdict: Verdict{Reason: reason}}
	}
	var allowed []string // nil: all
	var score int32
	counted := map[int32]bool{}
	for _, ads := range covering {
		interfaces, everywhere, selected := []string{}, false, false
		for _, a := range ads {
			ad := &p.ads[a]
			if !ad.selects[i] {
				continue
			}
			selected = true
			everywhere = everywhere || len(ad.interfaces) == 0
			interfaces = append(interfaces, ad.interfaces...)
			if !counted[a] {
				counted[a] = true
				score += ad.score[i]
			}
		}
		if !selected {
			return judged{Verdict: Verdict{Reason: NotSelected}}
		}
		if !everywhere {
			allowed = intersect(allowed, interfaces)
		}
	}
	interfaces, inSubnet, reason := p.nodes[i].reach(addr, allowed)
	if reason != Eligible {
		return judged{Verdict: Verdict{Reason: reason}}
	}
	return judged{
		Verdict: Verdict{Eligible: true, Interfaces: interfaces, Score: score, InSubnet: inSubnet},
		cutOff:  !inSubnet && p.nodes[i].cutOff(addr, allowed),
	}
}

// intersect narrows the interfaces allowed so far; nil allows all. The result is never nil.
func intersect(allowed, interfaces []string) []string {
	both := []string{}
	for _, name := range interfaces {
		if (allowed == nil || slices.Contains(allowed, name)) && !slices.Contains(both, name) {
			both = append(both, name)
		}
	}
	slices.Sort(both)
	return both
}
