// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

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
}

// CoverageOf says what an L2Advertisement matches in a cluster. It decides nothing: Compute does, by the same reading.
func CoverageOf(object *v1beta1.L2Advertisement, state State) Coverage {
	all := nodes(state)
	ad := readAdvertisement(object, state.Pools, all)
	coverage := Coverage{Err: CheckSelectors(object)}
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
	return coverage
}
