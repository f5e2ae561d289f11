// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// What an L2Advertisement covers is told by the same reading as the plan's: one that covers nothing announces nothing. Faults with
// a "!" silence it.
func TestCoverage(t *testing.T) {
	unreadable := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}
	for _, test := range []struct {
		name                   string
		spec                   v1beta1.L2AdvertisementSpec
		pools, nodes, services int
		interfaces             []string
		faults                 string
	}{
		{"everything", v1beta1.L2AdvertisementSpec{}, 1, 3, 1, nil, ""},
		{"no such pool", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"nan"}}, 0, 3, 1, nil, "SelectsNothing! it is for no pool that there is"},
		{"a pool too many", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"nan", "pool"}}, 1, 3, 1, nil, "NoSuchPool it names pools that there are not: nan"},
		{"one node", v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{selector("number", "2")}}, 1, 1, 1, nil, ""},
		{"no node", v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{selector("number", "9")}}, 1, 0, 1, nil, "NoNode! its nodeSelectors select no node"},
		{"no pool and no node, whatever interface", v1beta1.L2AdvertisementSpec{
			IPAddressPools: []string{"nan"}, NodeSelectors: []metav1.LabelSelector{selector("number", "9")}, Interfaces: []string{"eht0"},
		}, 0, 0, 1, nil, "SelectsNothing! it is for no pool that there is; NoNode! its nodeSelectors select no node"},
		{"no Service", v1beta1.L2AdvertisementSpec{ServiceSelectors: []metav1.LabelSelector{selector("number", "9")}}, 1, 3, 0, nil, "NoService its serviceSelectors match no Service"},
		{"an interface that nodes have", v1beta1.L2AdvertisementSpec{Interfaces: []string{"eth0", "eht0"}}, 1, 3, 1, []string{"eth0"}, ""},
		{"an interface that no node has", v1beta1.L2AdvertisementSpec{Interfaces: []string{"eht0"}}, 1, 3, 1, nil, "NoInterface! no node that it selects has any of its interfaces eht0"},
		{"unreadable", v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{unreadable}}, 1, 0, 1, nil,
			`Invalid! L2Advertisement metallb-system/ad: spec.nodeSelectors[0]: "Is" is not a valid label selector operator: correct it`},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "ad", Generation: 7}, Spec: test.spec}
			got := CoverageOf(object, cluster())
			if len(got.Pools) != test.pools || len(got.Nodes) != test.nodes || len(got.Services) != test.services || got.Generation != 7 {
				t.Errorf("%+v", got)
			}
			var faults []string
			for _, fault := range got.Faults {
				silences := ""
				if fault.Silences() {
					silences = "!"
				}
				faults = append(faults, string(fault.Reason)+silences+" "+fault.Saw)
			}
			if diff := cmp.Diff(test.faults, strings.Join(faults, "; ")); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.interfaces, got.Interfaces); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What speakers write is read; what somebody else wrote is left out; and only nothing at all is unknown.
func TestParseInterfaces(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "unknown",
		";":                                 "",
		"eth0=192.168.1.11/24,fd00::b/64":   "eth0 192.168.1.0/24 fd00::/64;",
		"eth0=192.168.1.11/24;eth1=":        "eth0 192.168.1.0/24;eth1;",
		"eth0=192.168.1.11;=10.0.0.1/8;lan": "eth0;",
	} {
		got := ""
		interfaces := ParseInterfaces(text)
		if interfaces == nil {
			got = "unknown"
		}
		for _, each := range interfaces {
			got += each.Name
			for _, subnet := range each.Subnets {
				got += " " + subnet.String()
			}
			got += ";"
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}
