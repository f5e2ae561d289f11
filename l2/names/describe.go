// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Labels and annotation by which users find VIP Leases: `kubectl get leases -l cloud-provider-l2/service-name=web`. They say what
// was so when the VIP was last taken; nothing decides by them.
const (
	// LabelPool is the VIP's pool. It is missing when the pool's name, which may be longer, is not a label's value.
	LabelPool = "cloud-provider-l2/pool"
	// LabelServiceNamespace and LabelServiceName are the Service on the VIP; of several that share it, the first by name.
	LabelServiceNamespace = "cloud-provider-l2/service-namespace"
	LabelServiceName      = "cloud-provider-l2/service-name"
	// AnnotationServices lists the Services on the VIP: `default/a,default/b`; of more than 50 the first 50, and `+N` for the rest.
	AnnotationServices = "cloud-provider-l2/services"
)

const maxServices = 50

// DescribeVIP writes on a VIP Lease's labels and annotations what the VIP is for, in place of what they said of it before. Neither may be
// nil. Services are in order of name.
func DescribeVIP(labels, annotations map[string]string, pool string, services []types.NamespacedName) {
	for _, key := range []string{LabelPool, LabelServiceNamespace, LabelServiceName} {
		delete(labels, key)
	}
	delete(annotations, AnnotationServices)
	label(labels, LabelPool, pool)
	if len(services) == 0 {
		return
	}
	label(labels, LabelServiceNamespace, services[0].Namespace)
	label(labels, LabelServiceName, services[0].Name)
	listed := services[:min(len(services), maxServices)]
	parts := make([]string, 0, len(listed)+1)
	for _, each := range listed {
		parts = append(parts, each.String())
	}
	if more := len(services) - len(listed); more > 0 {
		parts = append(parts, fmt.Sprintf("+%d", more))
	}
	annotations[AnnotationServices] = strings.Join(parts, ",")
}

// label sets a label whose value the API server takes; a value that says half of a name would mislead.
func label(labels map[string]string, key, value string) {
	if value != "" && len(validation.IsValidLabelValue(value)) == 0 {
		labels[key] = value
	}
}
