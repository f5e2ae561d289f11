// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// rendering is what kustomize makes of a directory: each object by kind and name.
type rendering map[string]*yaml.RNode

func rendered(t *testing.T, dir string) rendering {
	t.Helper()
	var text bytes.Buffer
	if err := render([]string{filepath.Join(root, "manifests", dir)}, &text); err != nil {
		t.Fatal(err)
	}
	return parse(t, text.String())
}

func parse(t *testing.T, text string) rendering {
	t.Helper()
	objects, err := (&kio.ByteReader{Reader: strings.NewReader(text), OmitReaderAnnotations: true}).Read()
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	all := rendering{}
	for _, object := range objects {
		name := object.GetKind() + "/" + object.GetName()
		if all[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		all[name] = object
	}
	return all
}

// changed lists what two renderings do not have alike, sorted, with a sign: + only in after, - only in before, ~ in both.
func changed(t *testing.T, before, after rendering) []string {
	t.Helper()
	var signs []string
	for name, object := range after {
		switch old := before[name]; {
		case old == nil:
			signs = append(signs, "+"+name)
		case old.MustString() != object.MustString():
			signs = append(signs, "~"+name)
		}
	}
	for name := range before {
		if after[name] == nil {
			signs = append(signs, "-"+name)
		}
	}
	slices.Sort(signs)
	return signs
}

// Each overlay changes what it is about, and nothing else.
func TestOverlaysChangeWhatTheySay(t *testing.T) {
	base := rendered(t, "base")
	cases := map[string][]string{
		"ha":                  {"+PodDisruptionBudget/controller", "~Deployment/controller"},
		"load-balancer-class": {"~DaemonSet/speaker", "~Deployment/controller"},
		"monitoring": {
			"+ConfigMap/cloud-provider-l2-dashboard", "+PrometheusRule/cloud-provider-l2", "+Service/metallb-controller",
			"+Service/metallb-speaker", "+ServiceMonitor/metallb-controller", "+ServiceMonitor/metallb-speaker",
		},
		"network-policy": {"+NetworkPolicy/controller"},
	}
	dirs, err := os.ReadDir(filepath.Join(root, "manifests", "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		t.Run(dir.Name(), func(t *testing.T) {
			want, known := cases[dir.Name()]
			if !known {
				t.Fatal("this test does not say what the overlay is for")
			}
			if got := changed(t, base, rendered(t, filepath.Join("overlays", dir.Name()))); !slices.Equal(got, want) {
				t.Errorf("beside the base it has %v, want %v", got, want)
			}
		})
	}
	if len(dirs) != len(cases) {
		t.Errorf("%d overlays, this test knows %d", len(dirs), len(cases))
	}
}

// What overlays are made of can be had together, with other images, as docs/install.md shows.
func TestOverlaysCombine(t *testing.T) {
	dir := t.TempDir()
	manifests, err := filepath.Abs(filepath.Join(root, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Rel(dir, manifests) // kustomize takes no absolute ones
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(`
resources: [DIR, DIR/monitoring]
components: [DIR/components/ha, DIR/components/load-balancer-class, DIR/components/network-policy]
images:
  - {name: localhost/cloud-provider-l2/controller, newName: registry.example.com/l2/controller, newTag: v9}
`, "DIR", path)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var combined bytes.Buffer
	if err := render([]string{dir}, &combined); err != nil {
		t.Fatal(err)
	}
	objects := parse(t, combined.String())
	want := []string{
		"+ConfigMap/cloud-provider-l2-dashboard", "+NetworkPolicy/controller", "+PodDisruptionBudget/controller", "+PrometheusRule/cloud-provider-l2",
		"+Service/metallb-controller", "+Service/metallb-speaker", "+ServiceMonitor/metallb-controller", "+ServiceMonitor/metallb-speaker",
		"~DaemonSet/speaker", "~Deployment/controller",
	}
	if got := changed(t, rendered(t, "base"), objects); !slices.Equal(got, want) {
		t.Errorf("beside the base there are %v, want %v", got, want)
	}
	if got, want := value(t, objects["Deployment/controller"], "spec.template.spec.containers.0.image"), "registry.example.com/l2/controller:v9"; got != want {
		t.Errorf("the controller's image is %s, want %s", got, want)
	}
}

// The patch of speakers sets their arguments as a whole: those of the base must not get lost.
func TestOverlayKeepsArguments(t *testing.T) {
	base, overlay := rendered(t, "base"), rendered(t, "overlays/load-balancer-class")
	for _, workload := range []string{"Deployment/controller", "DaemonSet/speaker"} {
		before, after := arguments(t, base[workload]), arguments(t, overlay[workload])
		want := append(before, "--load-balancer-class=cloud-provider-l2/l2", "--serve-classless=false")
		if !slices.Equal(after, want) {
			t.Errorf("%s has the arguments %q, want %q", workload, after, want)
		}
	}
}

func arguments(t *testing.T, workload *yaml.RNode) []string {
	t.Helper()
	list, err := workload.Pipe(yaml.Lookup("spec", "template", "spec", "containers", "0", "args"))
	if err != nil {
		t.Fatal(err)
	}
	if list == nil {
		return nil
	}
	elements, err := list.Elements()
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, element := range elements {
		args = append(args, element.YNode().Value)
	}
	return args
}

// Everything whose name or namespace the product's own objects must agree on is where the namespace is.
func TestObjectsAreInTheNamespace(t *testing.T) {
	const namespace = "metallb-system"
	for _, dir := range []string{"overlays/ha", "overlays/monitoring", "overlays/network-policy"} {
		for name, object := range rendered(t, dir) {
			kind, _, _ := strings.Cut(name, "/")
			if slices.Contains([]string{"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "FlowSchema"}, kind) {
				continue
			}
			if got := object.GetNamespace(); got != namespace {
				t.Errorf("%s of %s is in namespace %q, want %q", name, dir, got, namespace)
			}
		}
	}
}
