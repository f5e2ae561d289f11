// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// advertisement is an L2Advertisement with its selectors read. What is slow about it is worked out once: which pools it
// covers, and what it says of each node.
type advertisement struct {
	// broken is set when a selector cannot be read, anyPool when that is one of pools. The advertisement then covers nothing:
	// half of it might announce what its author meant to leave out.
	broken, anyPool bool

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
	poolSelectors := reader.read("ipAddressPoolSelectors", spec.IPAddressPoolSelectors)
	ad := advertisement{
		anyPool:    reader.failed != nil,
		pools:      map[string]bool{},
		services:   reader.read("serviceSelectors", spec.ServiceSelectors),
		interfaces: spec.Interfaces,
		selects:    make([]bool, len(nodes)),
		score:      make([]int32, len(nodes)),
	}
	everyPool := len(spec.IPAddressPools) == 0 && len(spec.IPAddressPoolSelectors) == 0
	for _, pool := range pools {
		if everyPool || slices.Contains(spec.IPAddressPools, pool.Name) || anyMatches(poolSelectors, pool.Labels) {
			ad.pools[pool.Name] = true
		}
	}
	nodeSelectors := reader.read("nodeSelectors", spec.NodeSelectors)
	preferences := reader.preferences(spec.PreferredNodeSelectors)
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
	ad.broken = reader.failed != nil
	return ad
}

// CheckSelectors says which selector of an L2Advertisement cannot be read, if any: the reason InvalidSelector in full.
func CheckSelectors(object *v1beta1.L2Advertisement) error {
	reader := selectorReader{}
	reader.read("ipAddressPoolSelectors", object.Spec.IPAddressPoolSelectors)
	reader.read("nodeSelectors", object.Spec.NodeSelectors)
	reader.read("serviceSelectors", object.Spec.ServiceSelectors)
	reader.preferences(object.Spec.PreferredNodeSelectors)
	if reader.failed != nil {
		return fmt.Errorf("L2Advertisement %s/%s: spec.%w: correct it", object.Namespace, object.Name, reader.failed)
	}
	return nil
}

// covers tells whether the advertisement is for a Service with an address of the pool.
func (a *advertisement) covers(pool string, service labels.Set) bool {
	return a.pools[pool] && (len(a.services) == 0 || anyMatches(a.services, service))
}

// mightCover tells whether a broken advertisement, once it is corrected, could be for an address of the pool.
func (a *advertisement) mightCover(pool string) bool { return a.broken && (a.anyPool || a.pools[pool]) }

// selectorReader reads selectors and remembers the first that failed; a selector that fails matches nothing.
type selectorReader struct{ failed error }

func (r *selectorReader) read(field string, selectors []metav1.LabelSelector) []labels.Selector {
	read := make([]labels.Selector, 0, len(selectors))
	for i := range selectors {
		read = append(read, r.readOne(&selectors[i], "%s[%d]", field, i))
	}
	return read
}

func (r *selectorReader) preferences(preferred []v1beta1.PreferredNodeSelector) []labels.Selector {
	read := make([]labels.Selector, 0, len(preferred))
	for i := range preferred {
		read = append(read, r.readOne(&preferred[i].Preference, "preferredNodeSelectors[%d].preference", i))
	}
	return read
}

func (r *selectorReader) readOne(selector *metav1.LabelSelector, format string, position ...any) labels.Selector {
	read, err := metav1.LabelSelectorAsSelector(selector)
	if err == nil {
		return read
	}
	if r.failed == nil {
		r.failed = fmt.Errorf("%s: %w", fmt.Sprintf(format, position...), err)
	}
	return labels.Nothing()
}

func anyMatches(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}
