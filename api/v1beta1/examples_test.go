// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"sigs.k8s.io/yaml"
)

var example = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// The examples of the documentation are taken by the API server, and show every field that there is.
func TestExamplesOfTheDocumentation(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string][]string{}
	for _, page := range append(pages, filepath.Join("..", "..", "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range example.FindAllStringSubmatch(string(text), -1) {
			for _, document := range strings.Split(block[1], "\n---\n") {
				var head struct{ Kind string }
				if err := yaml.Unmarshal([]byte(document), &head); err != nil {
					t.Fatalf("%s: %v, in\n%s", page, err, document)
				}
				examples[head.Kind] = append(examples[head.Kind], document)
			}
		}
	}
	for resource, kind := range map[string]string{"ipaddresspools": "IPAddressPool", "l2advertisements": "L2Advertisement"} {
		server := newServer(t, resource)
		for _, document := range examples[kind] {
			if errs := server.errors(t, document); errs != "" {
				t.Errorf("refused: %s\n%s", errs, document)
			}
		}
		spec := server.structural.Properties["spec"]
		wantFields(t, kind+".spec", &spec, strings.Join(examples[kind], "\n"))
	}
}

// wantFields looks for the fields of our own types in examples; those of label selectors are Kubernetes'.
func wantFields(t *testing.T, path string, s *schema.Structural, examples string) {
	t.Helper()
	for name := range s.Properties {
		if !regexp.MustCompile(`\b` + name + `:`).MatchString(examples) {
			t.Errorf("no example has %s.%s", path, name)
		}
		inner := s.Properties[name]
		if name == "serviceAllocation" || name == "preferredNodeSelectors" {
			if inner.Items != nil {
				inner = *inner.Items
			}
			wantFields(t, path+"."+name, &inner, examples)
		}
	}
}
