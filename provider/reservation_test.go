// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// TestPoolServesWhomItIsFor: one Service at a time asks for the pool by name.
func TestPoolServesWhomItIsFor(t *testing.T) {
	red := []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "red"}}}
	nobody := []metav1.LabelSelector{{MatchLabels: map[string]string{"team": "nobody"}}}
	for name, tt := range map[string]struct {
		allocation v1beta1.ServiceAllocation
		service    []edit
		want       string
	}{
		"V02 namespace by name":                     {v1beta1.ServiceAllocation{Namespaces: []string{"one"}, NamespaceSelectors: red}, []edit{in("one")}, "10.0.0.0"},
		"V02 namespace by label":                    {v1beta1.ServiceAllocation{Namespaces: []string{"one"}, NamespaceSelectors: red}, []edit{in("red")}, "10.0.0.0"},
		"V02 another namespace":                     {v1beta1.ServiceAllocation{Namespaces: []string{"one"}, NamespaceSelectors: red}, []edit{in("two")}, ""},
		"V02 selectors that match no namespace":     {v1beta1.ServiceAllocation{NamespaceSelectors: nobody}, []edit{in("red")}, ""},
		"V05 Service by label":                      {v1beta1.ServiceAllocation{ServiceSelectors: red}, []edit{labelled("team", "red")}, "10.0.0.0"},
		"V05 Service without the label":             {v1beta1.ServiceAllocation{ServiceSelectors: red}, nil, ""},
		"V05 one of two selectors":                  {v1beta1.ServiceAllocation{ServiceSelectors: append(red, nobody...)}, []edit{labelled("team", "red")}, "10.0.0.0"},
		"V05 the label of the namespace is no help": {v1beta1.ServiceAllocation{ServiceSelectors: red}, []edit{in("red")}, ""},
		"V07 priority only":                         {v1beta1.ServiceAllocation{Priority: 7}, []edit{in("two")}, "10.0.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := addressPool("a", "10.0.0.0/32")
			pool.Spec.AllocateTo = &tt.allocation
			svc := service("web", append(tt.service, poolAnnotation("a"))...)
			start := objects(pool, svc, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "two"}},
				&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "red", Labels: map[string]string{"team": "red"}}})
			play(t, Options{}, start, func(r *rig) { r.hasIn(svc.Namespace, "web", tt.want) })
		})
	}
}

// TestEntriesThatCannotBeRead are for API servers that let them pass: the pool says so, and gives out the rest.
func TestEntriesThatCannotBeRead(t *testing.T) {
	for name, entry := range map[string]string{
		"V10 no CIDR":         "100.200.300.400/24",
		"V11 prefix too long": "1.2.3.0/33",
		"V12 reversed range":  "1.2.3.10-1.2.3.4",
		"V12 reversed, IPv6":  "fd00::10-fd00::2",
		"mixed families":      "::1-1.2.3.4",
		"loopback":            "127.0.0.0/8",
		"nothing":             "",
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", entry, "10.0.0.0/32"), service("web")), func(r *rig) {
				time.Sleep(poolStatusPeriod)
				r.has("web", "10.0.0.0")
				condition := r.getPool("a").Status.Conditions[0]
				if condition.Status != metav1.ConditionFalse || condition.Reason != reasonInvalid || !strings.Contains(condition.Message, `"`+entry+`"`) {
					t.Errorf("%+v", condition)
				}
				r.wantTold("a", "Invalid: "+condition.Message)
			})
		})
	}
}
