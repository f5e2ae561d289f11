// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	cloudprovider "k8s.io/cloud-provider"
)

const configHead = "apiVersion: cloud-provider-l2/v1\nkind: CloudConfig\n"

func TestConfig(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	for name, tt := range map[string]struct {
		file string
		want Options
	}{
		"nothing set is as without a file": {configHead, DefaultOptions()},
		"all set to the defaults":          {configHead + "namespace: metallb-system\nloadBalancerClass: \"\"\nserveClassless: true\nshareAcrossNamespaces: true\nignoreExcludeLB: false\n", DefaultOptions()},
		"all set to something else": {configHead + "namespace: lb\nloadBalancerClass: example.com/l2\nserveClassless: false\nshareAcrossNamespaces: false\nignoreExcludeLB: true\n",
			Options{Namespace: "lb", LoadBalancerClass: "example.com/l2", HideClassless: true, SeparateNamespaces: true, IgnoreExcludeLabel: true}},
		"in one document that begins with a line": {"# ours\n---\n" + configHead + "namespace: lb\n", Options{Namespace: "lb"}},
		"JSON": {`{"apiVersion": "cloud-provider-l2/v1", "kind": "CloudConfig", "serveClassless": false}`, Options{Namespace: "metallb-system", HideClassless: true}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud, err := cloudprovider.GetCloudProvider("l2", strings.NewReader(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, cloud.(*Cloud).Options()); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigIsStrict(t *testing.T) {
	for name, tt := range map[string]struct {
		file io.Reader
		want []string
	}{
		"empty":            {strings.NewReader(""), []string{`apiVersion ""`, "write apiVersion: cloud-provider-l2/v1 and kind: CloudConfig"}},
		"another version":  {strings.NewReader("apiVersion: cloud-provider-l2/v2\nkind: CloudConfig\nnew: 1\n"), []string{`apiVersion "cloud-provider-l2/v2"`, "write apiVersion"}},
		"another kind":     {strings.NewReader("apiVersion: v1\nkind: ConfigMap\n"), []string{`kind "ConfigMap"`, "kind: CloudConfig"}},
		"an unknown field": {strings.NewReader(configHead + "class: x\n"), []string{`unknown field "class"`, "correct or remove it", "loadBalancerClass"}},
		"in other case":    {strings.NewReader(configHead + "Namespace: lb\n"), []string{`unknown field "Namespace"`}},
		"given twice":      {strings.NewReader(configHead + "namespace: a\nnamespace: b\n"), []string{`"namespace"`, "already"}},
		"of another type":  {strings.NewReader(configHead + "serveClassless: sometimes\n"), []string{"serveClassless", "bool"}},
		"not a namespace":  {strings.NewReader(configHead + "namespace: Kube System\n"), []string{`namespace "Kube System"`, "as in metallb-system"}},
		"an empty name":    {strings.NewReader(configHead + "namespace: \"\"\n"), []string{`namespace ""`, "as in metallb-system"}},
		"not a class":      {strings.NewReader(configHead + "loadBalancerClass: a/b/c\n"), []string{`loadBalancerClass "a/b/c"`, "as in example.com/l2"}},
		"two documents":    {strings.NewReader(configHead + "---\n" + configHead), []string{"more than one YAML document"}},
		"not YAML":         {strings.NewReader("[Global\nnamespace = lb\n"), []string{"not the YAML of a CloudConfig"}},
		"not an object":    {strings.NewReader("- a\n"), []string{"not a CloudConfig"}},
		"not readable":     {iotest.ErrReader(errors.New("is a directory")), []string{"reading the file: is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud, err := cloudprovider.GetCloudProvider("l2", tt.file)
			if err == nil || cloud != nil {
				t.Fatalf("%v, %v: want an error", cloud, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// FuzzConfig: whatever is read is usable.
func FuzzConfig(f *testing.F) {
	f.Add(configHead + "namespace: lb\nserveClassless: false\n")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, file string) {
		if options, err := ReadConfig(strings.NewReader(file)); err == nil && options.Validate() != nil {
			t.Errorf("read %+v", options)
		}
	})
}
