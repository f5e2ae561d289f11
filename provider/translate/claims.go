// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"cmp"
	"fmt"

	v1 "k8s.io/api/core/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// CompareClaims puts the oldest Service first, and those that are being deleted last: what they had may have been
// released and given to another one.
func CompareClaims(a, b v1.Service) int {
	deleted := func(svc v1.Service) int {
		if svc.DeletionTimestamp != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(deleted(a), deleted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Conflict says who else uses an address, by the annotation on its Lease. One that cannot be read marks a conflict all the same.
func Conflict(annotation string) string {
	seen, err := names.ParseConflict(annotation)
	if err != nil {
		return "another host answers for it"
	}
	return fmt.Sprintf("%s on %s answers for it, seen from %s", seen.MAC, seen.Interface, seen.Node)
}
