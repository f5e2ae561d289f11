// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// advertisement is an L2Advertisement with its selectors read. What is slow about it is worked out once: which pools it
// covers, and what it says of each node.
type advertisement struct {
	// broken is set when a selector cannot be read. The advertisement then covers nothing: half of it might announce what
	// its author meant to leave out.
	broken     bool
	pools      map[string]bool
	services   []labels.Selector
	interfaces []string
	// selects and score are indexed like the plan's nodes.
	selects []bool
	score   []int32
}

func readAdvertisement(object *v1beta1.L2Advertisement, pools []*v1beta1.IPAddressPool, nodes []node) advertisement {
	spec := object.Spec
	reader := selectorReader{}
	ad := advertisement{
		pools:      map[string]bool{},
		services:   reader.read(spec.ServiceSelectors),
		interfaces: spec.Interfaces,
		selects:    make([]bool, len(nodes)),
		score:      make([]int32, len(nodes)),
	}
	poolSelectors := reader.read(spec.IPAddressPoolSelectors)
	everyPool := len(spec.IPAddressPools) == 0 && len(spec.IPAddressPoolSelectors) == 0
	for _, pool := range pools {
		if everyPool || slices.Contains(spec.IPAddressPools, pool.Name) || anyMatches(poolSelectors, pool.Labels) {
			ad.pools[pool.Name] = true
		}
	}
	nodeSelectors := reader.read(spec.NodeSelectors)
	var preferences []labels.Selector
	for _, preferred := range spec.PreferredNodeSelectors {
		preferences = append(preferences, reader.readOne(&preferred.Preference))
	}
	for i, node := range nodes {
		ad.selects[i] = len(spec.NodeSelectors) == 0 || anyMatches(nodeSelectors, node.labels)
		if !ad.selects[i] {
			continue
		}
		for p, preference := range preferences {
			if preference.Matches(node.labels) {
				ad.score[i] += spec.PreferredNodeSelectors[p].Weight
			}
		}
	}
	ad.broken = reader.failed
	return ad
}

// covers tells whether the advertisement is for a Service with an address of the pool.
func (a *advertisement) covers(pool string, service labels.Set) bool {
	return a.pools[pool] && (len(a.services) == 0 || anyMatches(a.services, service))
}

// selectorReader reads selectors and remembers whether one failed; a selector that fails matches nothing.
type selectorReader struct{ failed bool }

func (r *selectorReader) read(selectors []metav1.LabelSelector) []labels.Selector {
	read := make([]labels.Selector, 0, len(selectors))
	for i := range selectors {
		read = append(read, r.readOne(&selectors[i]))
	}
	return read
}

func (r *selectorReader) readOne(selector *metav1.LabelSelector) labels.Selector {
	read, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		r.failed = true
		return labels.Nothing()
	}
	return read
}

func anyMatches(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}
