// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// A VIP Lease says what its VIP is for, in labels that the API server takes, and forgets what was so before.
func TestDescribeVIP(t *testing.T) {
	service := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "default", Name: name} }
	var many []types.NamespacedName
	var listed []string
	for i := range 60 {
		many = append(many, service(fmt.Sprintf("s%02d", i)))
		if i < 50 {
			listed = append(listed, fmt.Sprintf("default/s%02d", i))
		}
	}
	for name, test := range map[string]struct {
		pool        string
		services    []types.NamespacedName
		labels      map[string]string
		annotations map[string]string
	}{
		"one Service": {
			"lan", []types.NamespacedName{service("web")},
			map[string]string{LabelPool: "lan", LabelServiceNamespace: "default", LabelServiceName: "web"},
			map[string]string{AnnotationServices: "default/web"},
		},
		"two that share": {
			"lan", []types.NamespacedName{service("a"), service("b")},
			map[string]string{LabelPool: "lan", LabelServiceNamespace: "default", LabelServiceName: "a"},
			map[string]string{AnnotationServices: "default/a,default/b"},
		},
		"sixty that share": {
			"lan", many,
			map[string]string{LabelPool: "lan", LabelServiceNamespace: "default", LabelServiceName: "s00"},
			map[string]string{AnnotationServices: strings.Join(listed, ",") + ",+10"},
		},
		"a pool whose name is no label's value": {
			strings.Repeat("a", 64), []types.NamespacedName{service("web")},
			map[string]string{LabelServiceNamespace: "default", LabelServiceName: "web"},
			map[string]string{AnnotationServices: "default/web"},
		},
		"nothing known": {"", nil, map[string]string{}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			labels := map[string]string{LabelLease: LeaseVIP, LabelPool: "before", LabelServiceName: "before"}
			annotations := map[string]string{AnnotationEpoch: "node-1/x", AnnotationServices: "default/before"}
			DescribeVIP(labels, annotations, test.pool, test.services)
			test.labels[LabelLease], test.annotations[AnnotationEpoch] = LeaseVIP, "node-1/x"
			if diff := cmp.Diff(test.labels, labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.annotations, annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}
