// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// Coverage is what the selectors of an L2Advertisement match, each for itself, by name.
type Coverage struct {
	Pools, Nodes []string
	// Services are those of ours that serviceSelectors match.
	Services []types.NamespacedName
	// Interfaces named, of which some matched node has one.
	Interfaces []string
	// Err says which selector cannot be read; the L2Advertisement then announces nothing.
	Err error
	// Faults are what is wrong with that, the worst first.
	Faults []Fault
	// Generation of the L2Advertisement that this is of.
	Generation int64
}

// Fault is one way in which an L2Advertisement matches less than was meant.
type Fault struct {
	Reason FaultReason
	// Saw is it in words for users, of the L2Advertisement as "it".
	Saw string
}

// FaultReason names a Fault. It is the reason of the L2Advertisement's condition, if it Silences it.
type FaultReason string

// Reasons of faults.
const (
	// Invalid: a selector cannot be read.
	Invalid FaultReason = "Invalid"
	// SelectsNothing: it is for no pool that there is.
	SelectsNothing FaultReason = "SelectsNothing"
	// NoSuchPool: some of the pools that it names are not there.
	NoSuchPool FaultReason = "NoSuchPool"
	// NoNode: its nodeSelectors select no node.
	NoNode FaultReason = "NoNode"
	// NoInterface: no node that it selects has any of its interfaces.
	NoInterface FaultReason = "NoInterface"
	// NoService: its serviceSelectors match no Service that there is yet.
	NoService FaultReason = "NoService"
)

// Silences tells whether nothing at all can be announced by an L2Advertisement with this fault, whichever Services there are.
func (f Fault) Silences() bool { return f.Reason != NoSuchPool && f.Reason != NoService }

// CoverageOf says what an L2Advertisement matches in a cluster. It decides nothing: Compute does, by the same reading.
func CoverageOf(object *v1beta1.L2Advertisement, state State) Coverage {
	all := nodes(state)
	ad := readAdvertisement(object, state.Pools, all)
	coverage := Coverage{Err: CheckSelectors(object), Generation: object.Generation}
	for _, pool := range state.Pools {
		if ad.pools[pool.Name] {
			coverage.Pools = append(coverage.Pools, pool.Name)
		}
	}
	for i, node := range all {
		if !ad.selects[i] || node.reason == NodeDeleted {
			continue
		}
		coverage.Nodes = append(coverage.Nodes, node.name)
		for _, name := range ad.interfaces {
			has := func(each Interface) bool { return each.Name == name }
			if (node.speaker.Interfaces == nil || slices.ContainsFunc(node.speaker.Interfaces, has)) && !slices.Contains(coverage.Interfaces, name) {
				coverage.Interfaces = append(coverage.Interfaces, name)
			}
		}
	}
	for _, service := range state.Services {
		if serves(state, service) && (len(ad.services) == 0 || anyMatches(ad.services, service.Labels)) {
			coverage.Services = append(coverage.Services, nameOf(service))
		}
	}
	slices.Sort(coverage.Pools)
	coverage.Faults = coverage.faults(object.Spec)
	return coverage
}

func (c Coverage) faults(spec v1beta1.L2AdvertisementSpec) (faults []Fault) {
	if c.Err != nil {
		return []Fault{{Invalid, c.Err.Error()}}
	}
	find := func(reason FaultReason, saw string) { faults = append(faults, Fault{reason, bounded(saw)}) }
	missing := slices.DeleteFunc(slices.Clone(spec.IPAddressPools), func(name string) bool { return slices.Contains(c.Pools, name) })
	if len(c.Pools) == 0 {
		find(SelectsNothing, "it is for no pool that there is")
	}
	if len(c.Nodes) == 0 {
		find(NoNode, "its nodeSelectors select no node")
	} else if len(spec.Interfaces) > 0 && len(c.Interfaces) == 0 {
		find(NoInterface, "no node that it selects has any of its interfaces "+strings.Join(spec.Interfaces, ", "))
	}
	if len(missing) > 0 && len(c.Pools) > 0 {
		find(NoSuchPool, "it names pools that there are not: "+strings.Join(missing, ", "))
	}
	if len(spec.ServiceSelectors) > 0 && len(c.Services) == 0 {
		find(NoService, "its serviceSelectors match no Service")
	}
	return faults
}
