// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// ComparePools puts the oldest pool first: where two overlap, it has the addresses.
func ComparePools(a, b *v1beta1.IPAddressPool) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// Overlap says which range a pool does not use, and why.
func Overlap(overlap ipam.Overlap) string {
	return fmt.Sprintf("%s is not used: the older pool %s has it", overlap.Range, overlap.With)
}

// Pool translates a pool, and says what in it cannot be understood. That is left out: the rest of the pool goes on, and nobody
// gets or loses an address because something could not be read.
func Pool(spec *v1beta1.IPAddressPool) (ipam.Pool, []string) {
	pool := ipam.Pool{
		Name:          spec.Name,
		AutoAssign:    spec.Spec.AutoAssign == nil || *spec.Spec.AutoAssign,
		AvoidBuggyIPs: spec.Spec.AvoidBuggyIPs,
	}
	var invalid []string
	for i, entry := range spec.Spec.Addresses {
		r, err := ipam.ParseRange(entry)
		if err != nil {
			invalid = append(invalid, fmt.Sprintf("pool %s: addresses[%d]: %v", spec.Name, i, err))
			continue
		}
		pool.Ranges = append(pool.Ranges, r)
	}
	if allocateTo := spec.Spec.AllocateTo; allocateTo != nil {
		namespaces, invalidNamespaces := selectorsOf(spec.Name, "namespaceSelectors", allocateTo.NamespaceSelectors)
		services, invalidServices := selectorsOf(spec.Name, "serviceSelectors", allocateTo.ServiceSelectors)
		invalid = append(append(invalid, invalidNamespaces...), invalidServices...)
		pool.Reservation = &ipam.Reservation{
			Priority:           int(allocateTo.Priority),
			Namespaces:         allocateTo.Namespaces,
			NamespaceSelectors: namespaces,
			ServiceSelectors:   services,
		}
	}
	pool.Unreadable = len(invalid) > 0
	return pool, invalid
}

// selector is a label selector as ipam wants it.
type selector struct{ labels.Selector }

func (s selector) Matches(set map[string]string) bool { return s.Selector.Matches(labels.Set(set)) }

func selectorsOf(pool, field string, specs []metav1.LabelSelector) (selectors []ipam.Selector, invalid []string) {
	for i := range specs {
		parsed, err := metav1.LabelSelectorAsSelector(&specs[i])
		if err != nil {
			invalid = append(invalid, fmt.Sprintf("pool %s: serviceAllocation.%s[%d] matches nothing: %s", pool, field, i, oneLine(err.Error())))
			parsed = labels.Nothing()
		}
		selectors = append(selectors, selector{parsed})
	}
	return selectors, invalid
}

// mostOfLine is how many characters of an error one line has: it becomes an event, and repeats what a user wrote.
const mostOfLine = 400

// oneLine makes one line of an error, and cuts what is too long to be read there.
func oneLine(text string) string {
	var line strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > mostOfLine {
			line.WriteRune('…')
			break
		}
		if unicode.IsControl(r) {
			r = ' '
		}
		line.WriteRune(r)
	}
	return line.String()
}
