// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// poolChecks look at the configuration.
var poolChecks = []Check{
	{
		Name:  "pools",
		Why:   "a pool that cannot be read, or whose addresses an older pool has, gives out less than it says",
		Needs: []string{snapshot.Pools},
		Run:   pools,
	},
	{
		Name:  "pool-addresses",
		Why:   "an address that a node, a gateway or a cluster IP has already would be answered for by two",
		Needs: []string{snapshot.Pools, snapshot.Nodes, snapshot.Services, snapshot.Leases},
		Run:   poolAddresses,
	},
	{
		Name:  "pool-subnets",
		Why:   "hosts on the LAN ask with ARP only for addresses of their own subnet: for others there must be a route to this LAN",
		Needs: []string{snapshot.Pools, snapshot.Leases},
		Run:   poolSubnets,
	},
	{
		Name:  "pool-capacity",
		Why:   "the next Service that asks for an address waits until one is free",
		Needs: []string{snapshot.Pools, snapshot.Services},
		Run:   poolCapacity,
	},
	{
		Name:  "pool-advertisements",
		Why:   "addresses of a pool that no L2Advertisement is for are given out and never announced",
		Needs: []string{snapshot.Pools, snapshot.Advertisements},
		Run:   poolAdvertisements,
	},
	{
		Name:  "advertisements",
		Why:   "an L2Advertisement that matches nothing announces nothing, which is rarely what was meant",
		Needs: []string{snapshot.Pools, snapshot.Advertisements, snapshot.Nodes, snapshot.Leases, snapshot.Services},
		Run:   advertisements,
	},
}

func edit(f *facts, pool string) string {
	return fmt.Sprintf("kubectl edit ipaddresspool -n %s %s", f.Namespace, pool)
}

func pools(f *facts) (string, []Finding) {
	if len(f.Pools) == 0 {
		return "no pool", []Finding{{
			Severity: Error, Saw: "there is no IPAddressPool in namespace " + f.Namespace,
			Mend: "create one with addresses of the LAN that nobody else uses, and an L2Advertisement for it: see docs/configuration.md",
		}}
	}
	var findings []Finding
	for _, object := range f.Pools {
		for _, problem := range f.allocation.Invalid[object.Name] {
			findings = append(findings, Finding{Severity: Error, Object: "IPAddressPool " + object.Name, Saw: problem, Mend: "correct it: " + edit(f, object.Name)})
		}
	}
	for _, overlap := range f.allocation.Overlaps {
		findings = append(findings, Finding{
			Severity: Warning, Object: "IPAddressPool " + overlap.Pool, Saw: translate.Overlap(overlap),
			Mend: fmt.Sprintf("take %s out of one of the two: %s", overlap.Range, edit(f, overlap.Pool)),
		})
	}
	return count(len(f.Pools), "pool"), findings
}

// ranges are those of a pool that can be read.
func ranges(object *v1beta1.IPAddressPool) []ipam.Range {
	pool, _ := translate.Pool(object)
	return pool.Ranges
}

// taken is an address or a subnet that is not to be in a pool.
type taken struct {
	ipam.Range
	by string
}

func (f *facts) taken() (all []taken) {
	seen := map[taken]bool{}
	add := func(first, last netip.Addr, by string) {
		each := taken{ipam.Range{First: first, Last: last}, by}
		if first.IsValid() && !seen[each] {
			seen[each] = true
			all = append(all, each)
		}
	}
	prefix := func(text, by string) {
		if r, err := ipam.ParseRange(text); err == nil {
			add(r.First, r.Last, by)
		}
	}
	for _, node := range f.Nodes {
		for _, address := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(address.Address); err == nil {
				add(addr, addr, "node "+node.Name)
			}
		}
		for _, cidr := range node.Spec.PodCIDRs {
			prefix(cidr, "the pods of node "+node.Name)
		}
	}
	for _, session := range f.sessions {
		for _, addr := range session.Addresses {
			add(addr, addr, "node "+session.Node)
		}
	}
	for _, status := range f.Speakers {
		if status.Gateway != nil {
			add(status.Gateway.Address, status.Gateway.Address, "the gateway")
		}
	}
	for _, each := range f.ServiceRanges {
		prefix(each.Masked().String(), "cluster IPs, whose range is "+each.String())
	}
	for _, service := range f.Services {
		for _, ip := range service.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil && !slices.ContainsFunc(f.ServiceRanges, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				add(addr, addr, "Service "+service.Namespace+"/"+service.Name+" as its cluster IP")
			}
		}
	}
	return all
}

func poolAddresses(f *facts) (string, []Finding) {
	var findings []Finding
	taken := f.taken()
	for _, object := range f.Pools {
		for _, r := range ranges(object) {
			for _, each := range taken {
				if !r.Overlaps(each.Range) {
					continue
				}
				what := each.First.String()
				if each.First != each.Last {
					what = each.Range.String()
				}
				findings = append(findings, Finding{
					Severity: Error, Object: "IPAddressPool " + object.Name, Saw: fmt.Sprintf("its range %s has %s, which is for %s", r, what, each.by),
					Mend: fmt.Sprintf("take %s out of it: %s", what, edit(f, object.Name)),
				})
			}
		}
	}
	none := "no pool has an address of a node, a gateway, a pod or a cluster IP"
	if len(f.ServiceRanges) == 0 {
		none = "no pool has an address of a node, a gateway or a pod; the range of the Services is not known here"
	}
	return ifNone(findings, none, count(len(findings), "range")+" with addresses that something else has"), findings
}

func poolSubnets(f *facts) (string, []Finding) {
	var subnets []ipam.Range
	var texts []string
	known := false
	for _, session := range f.sessions {
		for _, each := range session.Interfaces {
			known = true
			for _, subnet := range each.Subnets {
				r, err := ipam.ParseRange(subnet.Masked().String())
				if err == nil && !subnet.Addr().IsLinkLocalUnicast() && !slices.Contains(texts, subnet.String()) {
					subnets, texts = append(subnets, r), append(texts, subnet.String())
				}
			}
		}
	}
	if !known {
		return "no speaker says which subnets it is in", nil
	}
	slices.Sort(texts)
	var findings []Finding
	for _, object := range f.Pools {
		for _, r := range ranges(object) {
			outside := []string{}
			for _, part := range without(r, subnets) {
				outside = append(outside, part.String())
			}
			if len(outside) == 0 {
				continue
			}
			what := someOf(outside)
			finding := Finding{
				Severity: Warning, Object: "IPAddressPool " + object.Name, Saw: fmt.Sprintf("its range %s is outside every node's subnet (%s)", r, someOf(texts)),
				Mend: fmt.Sprintf("give the pool free addresses of a node's subnet (%s), or let the router have a route for %s to this LAN", edit(f, object.Name), what),
			}
			if what != r.String() {
				finding.Saw = fmt.Sprintf("a part of its range %s is outside every node's subnet (%s): %s", r, someOf(texts), what)
			}
			findings = append(findings, finding)
		}
	}
	return "subnets of the nodes: " + someOf(texts), findings
}

// without is what is left of a range when others are taken out, in order.
func without(r ipam.Range, others []ipam.Range) []ipam.Range {
	left := []ipam.Range{r}
	for _, other := range others {
		var rest []ipam.Range
		for _, part := range left {
			rest = append(rest, part.Subtract(other)...)
		}
		left = rest
	}
	return left
}

func poolCapacity(f *facts) (string, []Finding) {
	var findings []Finding
	usage := f.allocation.Usage()
	free := int64(0)
	for _, object := range f.Pools {
		use := usage[object.Name]
		for _, each := range []struct {
			family           ipam.Family
			inUse, available int64
		}{{ipam.IPv4, use.InUseIPv4, use.AvailableIPv4}, {ipam.IPv6, use.InUseIPv6, use.AvailableIPv6}} {
			if free += each.available; free < 0 { // more than can be counted
				free = each.available
			}
			if each.inUse > 0 && each.available == 0 {
				findings = append(findings, Finding{
					Severity: Warning, Object: "IPAddressPool " + object.Name, Saw: fmt.Sprintf("all of its %d %s addresses are in use", each.inUse, each.family),
					Mend: "add addresses: " + edit(f, object.Name),
				})
			}
		}
	}
	return view.FormatCount(free) + " addresses are free", findings
}

func poolAdvertisements(f *facts) (string, []Finding) {
	var findings []Finding
	usage, advertised := f.allocation.Usage(), view.Advertisements(f.Snapshot)
	for _, object := range f.Pools {
		if len(advertised[object.Name]) > 0 {
			continue
		}
		severity, used := Warning, usage[object.Name].InUseIPv4+usage[object.Name].InUseIPv6
		if used > 0 {
			severity = Error
		}
		findings = append(findings, Finding{
			Severity: severity, Object: "IPAddressPool " + object.Name, Saw: fmt.Sprintf("no L2Advertisement is for it, and %d of its addresses are in use", used),
			Mend: fmt.Sprintf("create an L2Advertisement in namespace %s with spec.ipAddressPools: [%s]", f.Namespace, object.Name),
		})
	}
	return count(len(f.Pools)-len(findings), "pool") + " advertised", findings
}

func advertisements(f *facts) (string, []Finding) {
	var findings []Finding
	for _, object := range f.Advertisements {
		coverage := plan.CoverageOf(object, f.state)
		edit := fmt.Sprintf("kubectl edit l2advertisement -n %s %s", f.Namespace, object.Name)
		spec := object.Spec
		for _, fault := range coverage.Faults {
			severity, mend := Error, "correct the selector: "+edit
			switch fault.Reason {
			case plan.SelectsNothing:
				severity = Warning
				mend = fmt.Sprintf("correct spec.ipAddressPools or spec.ipAddressPoolSelectors (%s); the pools are %s", edit, someOf(f.poolNames()))
			case plan.NoSuchPool:
				severity, mend = Warning, "correct spec.ipAddressPools: "+edit
			case plan.NoNode:
				mend = fmt.Sprintf("label a node as they want it (%s), or correct them: %s", formatSelectors(spec.NodeSelectors), edit)
			case plan.NoInterface:
				mend = "correct spec.interfaces: " + edit
			case plan.NoService:
				severity = Warning
				mend = fmt.Sprintf("label a Service as they want it (%s), or correct them: %s", formatSelectors(spec.ServiceSelectors), edit)
			}
			findings = append(findings, Finding{Severity: severity, Object: "L2Advertisement " + object.Name, Saw: fault.Saw, Mend: mend})
		}
	}
	return count(len(f.Advertisements), "L2Advertisement"), findings
}

func (f *facts) poolNames() (names []string) {
	for _, object := range f.Pools {
		names = append(names, object.Name)
	}
	return names
}
