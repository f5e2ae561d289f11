// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// What MetalLB's speakers write is taken, what ours add is checked, and what an object is about cannot change.
func TestServiceL2Status(t *testing.T) {
	const head = "apiVersion: metallb.io/v1beta1\nkind: ServiceL2Status\nmetadata: {name: default.web.node-1, namespace: metallb-system}\n"
	s := newServer(t, "servicel2statuses")
	for _, test := range []struct{ name, status, want string }{
		{"just created", "", ""},
		{"as MetalLB writes it, all interfaces", "status: {node: node-1, serviceName: web, serviceNamespace: default}", ""},
		{"as MetalLB writes it, some interfaces", "status: {node: node-1, serviceName: web, serviceNamespace: default, interfaces: [{name: eth0}, {name: eth1}]}", ""},
		{"with addresses", "status: {node: node-1, addresses: [192.168.1.240, 'fd00::240']}", ""},
		{"an address twice", "status: {addresses: [192.168.1.240, 192.168.1.240]}", "status.addresses[1]: Duplicate value"},
		{"an interface twice", "status: {interfaces: [{name: eth0}, {name: eth0}]}", "status.interfaces[1]: Duplicate value"},
		{"an interface without a name", "status: {interfaces: [{}]}", "status.interfaces[0].name: Required value"},
	} {
		if got := s.errors(t, head+test.status); test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}

	parse := func(status string) (object map[string]any) {
		t.Helper()
		if err := yaml.Unmarshal([]byte(head+status), &object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	before := parse("status: {node: node-1, serviceName: web, serviceNamespace: default, addresses: [192.168.1.240]}")
	for status, want := range map[string]string{
		"status: {node: node-1, serviceName: web, serviceNamespace: default, addresses: [192.168.1.241], interfaces: [{name: eth0}]}": "",
		"status: {node: node-2, serviceName: web, serviceNamespace: default}":                                                         `status.node: Invalid value: "node-2": the node is immutable: there is an object for each node`,
		"status: {node: node-1, serviceName: other, serviceNamespace: default}":                                                       `status.serviceName: Invalid value: "other": the Service is immutable`,
		"status: {node: node-1, serviceName: web, serviceNamespace: other}":                                                           `status.serviceNamespace: Invalid value: "other": the Service is immutable`,
	} {
		errs, _ := s.rules.Validate(t.Context(), field.NewPath("object"), s.structural, parse(status), before, celconfig.RuntimeCELCostBudget)
		got := ""
		if err := errs.ToAggregate(); err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("update to %s: %q, want %q", status, got, want)
		}
	}
}

// The first columns are MetalLB's, in its order: people and scripts read them.
func TestServiceL2StatusColumns(t *testing.T) {
	definition := crd(t, "servicel2statuses")
	var columns []string
	for _, column := range definition.Spec.AdditionalPrinterColumns {
		if column.Priority == 0 {
			columns = append(columns, column.Name+" "+column.JSONPath)
		}
	}
	want := []string{
		"Allocated Node .status.node", "Service Name .status.serviceName", "Service Namespace .status.serviceNamespace", "Addresses .status.addresses",
	}
	if diff := cmp.Diff(want, columns); diff != "" {
		t.Errorf("columns -want +got:\n%s", diff)
	}
}
