// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// crd reads a generated CRD and does to it what the API server does on create: defaulting and conversion.
func crd(t *testing.T, resource string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "manifests", "crds", "metallb.io_"+resource+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &external); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&external)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	for i := range external.Spec.Versions {
		if external.Spec.Versions[i].Storage {
			external.Status.StoredVersions = append(external.Status.StoredVersions, external.Spec.Versions[i].Name)
		}
	}
	internal := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&external, internal, nil); err != nil {
		t.Fatal(err)
	}
	return internal
}

// server validates objects of one kind as an API server with this CRD does.
type server struct {
	structural *schema.Structural
	syntax     schemavalidation.SchemaValidator
	rules      *cel.Validator
}

func newServer(t *testing.T, resource string) server {
	t.Helper()
	definition := crd(t, resource)
	versioned, err := apiextensions.GetSchemaForVersion(definition, "v1beta1")
	if err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(versioned.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	syntax, _, err := schemavalidation.NewSchemaValidator(versioned.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return server{structural, syntax, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// errors returns what the API server would answer to the creation of the object, nothing when it would take it.
func (s server) errors(t *testing.T, manifest string) string {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]interface{}
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	defaulting.Default(object, s.structural)
	errs := schemavalidation.ValidateCustomResource(nil, object, s.syntax)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if len(errs) == 0 {
		rules, _ := s.rules.Validate(context.Background(), field.NewPath("object"), s.structural, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, rules...)
	}
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// An API server refuses a CRD whose rules might cost too much, and one whose rules it cannot compile: 1.31 is the
// oldest that we support.
func TestAPIServerAcceptsTheCRDs(t *testing.T) {
	for _, resource := range []string{"ipaddresspools", "l2advertisements"} {
		t.Run(resource, func(t *testing.T) {
			if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), crd(t, resource)); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
			oldest := environment.MustBaseEnvSet(version.MajorMinor(1, 31))
			compileAll(t, newServer(t, resource).structural, oldest, resource)
		})
	}
}

// compileAll compiles the rules of a schema, and of all schemas inside it, as one version of the API server does.
func compileAll(t *testing.T, s *schema.Structural, env *environment.EnvSet, path string) {
	t.Helper()
	if len(s.XValidations) > 0 {
		results, err := cel.Compile(s, model.SchemaDeclType(s, false), celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, result := range results {
			if result.Error != nil {
				t.Errorf("%s: %v", path, result.Error)
			}
			if result.MessageExpressionError != nil {
				t.Errorf("%s: message: %v", path, result.MessageExpressionError)
			}
		}
	}
	if s.Items != nil {
		compileAll(t, s.Items, env, path+"[]")
	}
	for name := range s.Properties {
		inner := s.Properties[name]
		compileAll(t, &inner, env, path+"."+name)
	}
}

func TestAddresses(t *testing.T) {
	const takes = ""
	pools := newServer(t, "ipaddresspools")
	for _, test := range []struct{ addresses, want string }{
		{`["192.168.1.240-192.168.1.255"]`, takes},
		{`["192.168.1.100-192.168.1.150", "192.168.1.200-192.168.1.220", "10.0.0.0/28"]`, takes},
		{`[" 192.168.1.240 - 192.168.1.250 "]`, takes},
		{`["192.168.1.240"]`, takes},
		{`["192.168.1.240/32"]`, takes},
		{`["fd00:1::/64", "fd00:2::10-fd00:2::20", "fd00:3::1"]`, takes},
		{`["192.168.1.240-192.168.1.240"]`, takes},
		{`["8.0.0.0-9.255.255.255"]`, takes},

		{`[]`, `spec.addresses`},
		{`[""]`, `spec.addresses[0]`},
		{`["fd00::/64", "fd00::/64"]`, `spec.addresses[1]: Duplicate value: "fd00::/64"`},
		{`["pool"]`, `"pool" is not a CIDR, a range or an address: write for example`},
		{`["1.2.3.0/33"]`, `"1.2.3.0/33" is not a CIDR, a range or an address`},
		{`["001.2.3.4"]`, `"001.2.3.4" is not a CIDR`},
		{`["1.2.3.4-"]`, `"1.2.3.4-" is not a CIDR`},
		{`["1.2.3.4-1.2.3.5-1.2.3.6"]`, `is not a CIDR`},
		{`["1.2.3.0/24-1.2.4.0/24"]`, `is not a CIDR`},
		{`["fe80::1%eth0"]`, `is not a CIDR`},
		{`["::ffff:1.2.3.4/120"]`, `"::ffff:1.2.3.4/120" has an IPv4-mapped IPv6 address: write the IPv4 form, without ::ffff:`},
		{`["::ffff:102:304"]`, `"::ffff:102:304" has an IPv4-mapped IPv6 address`},
		{`["0:0:0:0:0:ffff:1.2.3.4"]`, `has an IPv4-mapped IPv6 address`},
		{`["::1-::ffff:1.2.3.4"]`, `has an IPv4-mapped IPv6 address`},
		{`["fd00::ffff:102:304", "0:0:0:1::ffff:1:2"]`, takes},
		{`["1.2.3.4-fd00::1"]`, `begins in one IP family and ends in the other: write one range for each family`},
		{`["fd00::1-1.2.3.4"]`, `begins in one IP family and ends in the other`},
		{`["1.2.3.10-1.2.3.4"]`, `"1.2.3.10-1.2.3.4" ends before it begins: write 1.2.3.4-1.2.3.10`},
		{`["192.168.1.5/24"]`, `"192.168.1.5/24" has host bits set: write 192.168.1.5 for that one address, or begin with the first address of the network for all of the /24`},
		{`["fd00::5/64"]`, `"fd00::5/64" has host bits set: write fd00::5 for that one address`},
		{`["0.0.0.0/0"]`, `cannot be given to Services: leave them out`},
		{`["::/0"]`, `cannot be given to Services`},
		{`["127.0.0.0/8"]`, `cannot be given to Services`},
		{`["127.0.0.1"]`, `cannot be given to Services`},
		{`["224.0.0.0/4"]`, `cannot be given to Services`},
		{`["255.255.255.255"]`, `cannot be given to Services`},
		{`["fe80::/64"]`, `cannot be given to Services`},
		{`["ff02::1"]`, `cannot be given to Services`},
		{`["169.254.1.1-169.254.1.9"]`, `cannot be given to Services`},
		{`["126.0.0.0-128.0.0.0"]`, `"126.0.0.0-128.0.0.0" contains unspecified, loopback, link-local, multicast or broadcast addresses`},
	} {
		t.Run(test.addresses, func(t *testing.T) {
			check(t, pools.errors(t, "spec: {addresses: "+test.addresses+"}"), test.want)
		})
	}
}

func TestPoolFields(t *testing.T) {
	const takes = ""
	pools := newServer(t, "ipaddresspools")
	for _, test := range []struct{ name, spec, want string }{
		{"everything", `serviceAllocation: {priority: 50, namespaces: [a, b], namespaceSelectors: [{matchLabels: {foo: bar}}],
			serviceSelectors: [{matchExpressions: [{key: app, operator: In, values: [x]}]}]}`, takes},
		{"priority only", `serviceAllocation: {priority: 0}`, takes},
		{"negative priority", `serviceAllocation: {priority: -1}`, `Invalid value: -1: spec.serviceAllocation.priority in body should be greater than or equal to 0`},
		{"namespace twice", `serviceAllocation: {namespaces: [a, a]}`, `Duplicate value: "a"`},
		{"selector twice, which changes nothing", `serviceAllocation: {serviceSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]}`, takes},
		{"value twice", `serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: app, operator: In, values: [x, x]}]}]}`, `values[1]: Duplicate value: "x"`},
		{"unknown operator", `serviceAllocation: {namespaceSelectors: [{matchExpressions: [{key: app, operator: Equals, values: [x]}]}]}`,
			`Unsupported value: "Equals": supported values: "In", "NotIn", "Exists", "DoesNotExist"`},
		{"In without values", `serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: app, operator: In}]}]}`,
			`operator In of key "app" needs values: add at least one`},
		{"Exists with values", `serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: app, operator: Exists, values: [x]}]}]}`,
			`operator Exists of key "app" takes no values: remove them, or use In or NotIn`},
		{"addresses missing", `addresses: null`, `spec.addresses: Required value`},
	} {
		t.Run(test.name, func(t *testing.T) {
			manifest := "spec:\n  addresses: [10.0.0.0/28]\n  " + strings.ReplaceAll(test.spec, "\t", " ")
			if strings.HasPrefix(test.spec, "addresses:") {
				manifest = "spec: {autoAssign: true}"
			}
			check(t, pools.errors(t, manifest), test.want)
		})
	}
}

func TestAdvertisementFields(t *testing.T) {
	const takes = ""
	advertisements := newServer(t, "l2advertisements")
	for _, test := range []struct{ name, manifest, want string }{
		{"nothing: all pools from all nodes", `{}`, takes},
		{"everything", `spec: {ipAddressPools: [a, b], ipAddressPoolSelectors: [{matchLabels: {x: z}}], interfaces: [eth0, bond0.100],
			nodeSelectors: [{matchLabels: {node-role.kubernetes.io/edge: "true"}}, {matchExpressions: [{key: zone, operator: In, values: [a, b]}]}],
			preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {rack: "1"}}}], serviceSelectors: [{matchLabels: {a: b}}]}`, takes},
		{"interface with a space", `spec: {interfaces: ["eth 0"]}`, `"eth 0" cannot be the name of a network interface`},
		{"interface too long", `spec: {interfaces: [abcdefghijklmnop]}`, `"abcdefghijklmnop" cannot be the name of a network interface, which has 1 to 15 characters`},
		{"interface empty", `spec: {interfaces: [""]}`, `"" cannot be the name of a network interface`},
		{"interface twice", `spec: {interfaces: [eth0, eth0]}`, `Duplicate value: "eth0"`},
		{"pool twice", `spec: {ipAddressPools: [a, a]}`, `Duplicate value: "a"`},
		{"value twice", `spec: {nodeSelectors: [{matchExpressions: [{key: zone, operator: In, values: [a, a]}]}]}`, `values[1]: Duplicate value: "a"`},
		{"weight 0", `spec: {preferredNodeSelectors: [{weight: 0, preference: {}}]}`, `weight in body should be greater than or equal to 1`},
		{"weight 101", `spec: {preferredNodeSelectors: [{weight: 101, preference: {}}]}`, `weight in body should be less than or equal to 100`},
		{"unknown operator", `spec: {nodeSelectors: [{matchExpressions: [{key: app, operator: Gt, values: ["1"]}]}]}`, `Unsupported value: "Gt"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, advertisements.errors(t, strings.ReplaceAll(test.manifest, "\t", " ")), test.want)
		})
	}
}

// check wants nothing said when want is empty, and else one complaint that contains it.
func check(t *testing.T, got, want string) {
	t.Helper()
	switch {
	case want == "" && got != "":
		t.Errorf("refused: %s", got)
	case want != "" && !strings.Contains(got, want):
		t.Errorf("answer %q does not contain %q", got, want)
	case strings.Count(got, "\n") > 0:
		t.Errorf("more than one complaint about one mistake:\n%s", got)
	}
}
