// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

var chartDir = filepath.Join(root, "manifests", "helm", "cloud-provider-l2")

func TestChartFilesAreCopies(t *testing.T) {
	want, err := chartContent(filepath.Join(root, "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	dir := os.DirFS(filepath.Join(chartDir, "files"))
	if err := fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		got[path], err = fs.ReadFile(dir, path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s/files has %v, want what the manifests have, %v: run `make manifests` and commit the result",
			chartDir, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestChartPassesHelmLint(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"without values":  {},
		"with everything": everything,
	} {
		t.Run(name, func(t *testing.T) {
			for _, message := range lint.RunAll(chartDir, values, "metallb-system").Messages {
				if message.Severity >= support.WarningSev {
					t.Error(message)
				}
			}
		})
	}
}

// everything turns on all that is off without values.
var everything = map[string]any{
	"loadBalancerClass": "cloud-provider-l2/l2", "serveClassless": false, "ignoreExcludeLB": true,
	"imagePullSecrets": []any{map[string]any{"name": "registry"}},
	"controller": map[string]any{
		"replicas": 3, "affinity": map[string]any{"nodeAffinity": map[string]any{}}, "podAnnotations": map[string]any{"a": "b"},
		"image": map[string]any{"repository": "registry.example.com/l2/controller", "digest": "sha256:" + strings.Repeat("0", 64)},
		"flags": map[string]any{"kube-api-qps": 0.5, "kube-api-burst": 2000000, "share-across-namespaces": false},
	},
	"speaker": map[string]any{
		"metricsPort": 17472, "heartbeatPort": 17946, "affinity": map[string]any{"nodeAffinity": map[string]any{}}, "podAnnotations": map[string]any{"a": "b"},
		"image": map[string]any{"repository": "registry.example.com/l2/speaker", "tag": "v9"},
		"flags": map[string]any{"failover": "fast", "exclude-interfaces": `^(lo|br-[0-9]{2}\.x)$`, "v": 4},
	},
	"monitoring":    map[string]any{"enabled": true, "labels": map[string]any{"release": "kps"}},
	"networkPolicy": map[string]any{"enabled": true, "monitoringNamespace": "prometheus"},
}

// helm renders the chart as `helm template` does.
func helm(t *testing.T, namespace string, values map[string]any) rendering {
	t.Helper()
	objects, err := helmTemplate(namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, objects)
}

func helmTemplate(namespace string, values map[string]any) (string, error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return "", err
	}
	release := common.ReleaseOptions{Name: "l2", Namespace: namespace, IsInstall: true}
	combined, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, combined)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			all.WriteString("---\n" + files[name] + "\n")
		}
	}
	return all.String(), nil
}

// alike puts what is the same to Kubernetes into the same form: keys sorted, styles and comments gone, Helm's own mark on CRDs left out.
func alike(t *testing.T, objects rendering) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for name, object := range objects {
		if object.GetKind() == "CustomResourceDefinition" {
			if err := object.PipeE(yaml.ClearAnnotation("helm.sh/resource-policy")); err != nil {
				t.Fatal(err)
			}
		}
		text, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		if text, err = json.MarshalIndent(value, "", " "); err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// hooks takes out what Helm makes at certain times only.
func hooks(objects rendering) rendering {
	found := rendering{}
	for name, object := range objects {
		if object.GetAnnotations()["helm.sh/hook"] != "" {
			found[name] = object
			delete(objects, name)
		}
	}
	return found
}

// Helm and kustomize install the same objects. The namespace is Helm's to make, with --create-namespace.
func TestChartGivesWhatKustomizeGives(t *testing.T) {
	for dir, values := range map[string]map[string]any{
		"base":                         {},
		"overlays/ha":                  {"controller": map[string]any{"replicas": 2}},
		"overlays/load-balancer-class": {"loadBalancerClass": "cloud-provider-l2/l2", "serveClassless": false},
		"overlays/monitoring":          {"monitoring": map[string]any{"enabled": true}},
		"overlays/network-policy":      {"networkPolicy": map[string]any{"enabled": true}},
	} {
		t.Run(dir, func(t *testing.T) {
			objects := helm(t, "metallb-system", values)
			hooks(objects)
			want, got := alike(t, rendered(t, dir)), alike(t, objects)
			delete(want, "Namespace/metallb-system")
			for name, text := range want {
				switch other, there := got[name]; {
				case !there:
					t.Errorf("%s is missing from the chart", name)
				case other != text:
					t.Errorf("%s differs (-kustomize +chart): change the chart's templates or values.yaml\n%s", name, lineDiff(text, other))
				}
				delete(got, name)
			}
			for name := range got {
				t.Errorf("%s is in the chart only", name)
			}
		})
	}
}

// lineDiff shows the lines that only one of two texts has.
func lineDiff(before, after string) string {
	var diff []string
	only := func(sign, text, other string) {
		there := map[string]int{}
		for line := range strings.Lines(other) {
			there[line]++
		}
		for line := range strings.Lines(text) {
			if there[line]--; there[line] < 0 {
				diff = append(diff, sign+line)
			}
		}
	}
	only("-", before, after)
	only("+", after, before)
	return strings.Join(diff, "")
}

func TestChartValues(t *testing.T) {
	objects := helm(t, "lb", everything)
	for name, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" && strings.Contains(object.MustString(), "metallb-system") {
			t.Errorf("%s names metallb-system, though the release is in another namespace", name)
		}
	}
	for name, paths := range map[string]map[string]string{
		"Deployment/controller": {
			"spec.replicas":                         "3",
			"spec.template.spec.containers.0.image": "registry.example.com/l2/controller@sha256:" + strings.Repeat("0", 64),
			"spec.template.metadata.annotations.a":  "b",
			"spec.template.spec.imagePullSecrets":   "- name: registry",
			"spec.template.spec.affinity":           "nodeAffinity: {}",
		},
		"DaemonSet/speaker": {
			"spec.template.spec.containers.0.image":                 "registry.example.com/l2/speaker:v9",
			"spec.template.spec.containers.0.ports.0.containerPort": "17472",
			"spec.template.spec.containers.0.ports.0.hostPort":      "17472",
			"spec.template.spec.containers.0.ports.1.hostPort":      "17946",
			"spec.template.spec.imagePullSecrets":                   "- name: registry",
		},
		"NetworkPolicy/controller": {
			"spec.ingress.0.from.0.namespaceSelector.matchLabels": "kubernetes.io/metadata.name: prometheus",
		},
		"ServiceMonitor/metallb-speaker":   {"metadata.labels.release": "kps"},
		"PrometheusRule/cloud-provider-l2": {"metadata.labels.release": "kps"},
	} {
		for path, want := range paths {
			if got := strings.Trim(value(t, objects[name], path), `"`); got != want {
				t.Errorf("%s: %s is %q, want %q", name, path, got, want)
			}
		}
	}
	for name, want := range map[string][]string{
		"Deployment/controller": {
			"--cloud-provider=l2", "--load-balancer-class=cloud-provider-l2/l2", "--serve-classless=false", "--ignore-exclude-lb",
			"--kube-api-burst=2000000", "--kube-api-qps=0.5", "--share-across-namespaces=false",
		},
		"DaemonSet/speaker": {
			"--load-balancer-class=cloud-provider-l2/l2", "--serve-classless=false", "--ignore-exclude-lb", "--metrics-bind-address=:17472",
			"--heartbeat-port=17946", `--exclude-interfaces=^(lo|br-[0-9]{2}\.x)$`, "--failover=fast", "--v=4",
		},
	} {
		if got := arguments(t, objects[name]); !slices.Equal(got, want) {
			t.Errorf("%s has the arguments\n%q, want\n%q", name, got, want)
		}
	}
}

// Uninstalling must not delete the CRDs, and with them all pools.
func TestChartKeepsCRDs(t *testing.T) {
	count := 0
	for name, object := range helm(t, "metallb-system", nil) {
		if object.GetKind() == "CustomResourceDefinition" {
			count++
			if got := object.GetAnnotations()["helm.sh/resource-policy"]; got != "keep" {
				t.Errorf("%s has the resource policy %q, want keep", name, got)
			}
		}
	}
	if count != 3 {
		t.Errorf("%d CRDs, want 3", count)
	}
	for name := range helm(t, "metallb-system", map[string]any{"crds": map[string]any{"enabled": false}}) {
		if strings.HasPrefix(name, "CustomResourceDefinition/") {
			t.Errorf("%s is there though crds.enabled is false", name)
		}
	}
}

// What cleans up is there after the release is uninstalled, and not before; and nothing of it stays, whether it succeeds or not.
func TestChartCleansUp(t *testing.T) {
	objects := helm(t, "lb", everything)
	found := hooks(objects)
	want := []string{"Job/cleanup", "Role/cleanup", "RoleBinding/cleanup", "ServiceAccount/cleanup"}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Fatalf("the hooks are %v, want %v", got, want)
	}
	for name, object := range found {
		for key, want := range map[string]string{
			"helm.sh/hook":               "post-delete",
			"helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded,hook-failed",
		} {
			if got := object.GetAnnotations()[key]; got != want {
				t.Errorf("%s has the annotation %s: %s, want %s", name, key, got, want)
			}
		}
	}
	job, controller := found["Job/cleanup"], objects["Deployment/controller"]
	if weight := job.GetAnnotations()["helm.sh/hook-weight"]; weight != "1" {
		t.Errorf("the Job has the weight %q, want 1: it must come after its role, which has none", weight)
	}
	for _, path := range []string{
		"spec.template.spec.securityContext", "spec.template.spec.containers.0.securityContext", "spec.template.spec.enableServiceLinks",
		"spec.template.spec.containers.0.image", "spec.template.spec.containers.0.imagePullPolicy", "spec.template.spec.imagePullSecrets",
		"spec.template.spec.nodeSelector", "spec.template.spec.tolerations",
	} {
		if got, want := value(t, job, path), value(t, controller, path); got != want || want == "" {
			t.Errorf("the Job has the %s\n%s\nwant the controller's\n%s", path, got, want)
		}
	}
	if labels := value(t, job, "spec.template.metadata.labels"); strings.Contains(labels, "metallb") {
		t.Errorf("the Job's pod waits for itself to end: it has the labels %s", labels)
	}
	without := helm(t, "lb", map[string]any{"cleanup": map[string]any{"enabled": false}})
	if found := hooks(without); len(found) > 0 {
		t.Errorf("with cleanup.enabled=false there is %v", slices.Sorted(maps.Keys(found)))
	}
}

func TestChartSchemaRefuses(t *testing.T) {
	set := func(section, key string, value any) map[string]any {
		return map[string]any{section: map[string]any{key: value}}
	}
	for name, tc := range map[string]struct {
		values map[string]any
		says   string
	}{
		"an unknown value":                   {map[string]any{"speakers": nil}, "speakers"},
		"an unknown flag":                    {set("speaker", "flags", map[string]any{"failovr": "fast"}), "failovr"},
		"a flag of the other program":        {set("controller", "flags", map[string]any{"failover": "fast"}), "failover"},
		"a value that the flag refuses":      {set("speaker", "flags", map[string]any{"failover": "quick"}), "/speaker/flags/failover"},
		"a duration without a unit":          {set("speaker", "flags", map[string]any{"leave-within": "20"}), "/speaker/flags/leave-within"},
		"a flag that has a value of its own": {set("speaker", "flags", map[string]any{"load-balancer-class": "a/b"}), "load-balancer-class"},
		"no class and no Services without":   {map[string]any{"serveClassless": false}, "/loadBalancerClass"},
		"a class that is none":               {map[string]any{"loadBalancerClass": "a/b/c"}, "/loadBalancerClass"},
		"no controller":                      {set("controller", "replicas", 0), "/controller/replicas"},
		"a port that is none":                {set("speaker", "heartbeatPort", 70000), "/speaker/heartbeatPort"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := helmTemplate("metallb-system", tc.values)
			if err == nil {
				t.Fatal("the chart takes it")
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error does not name %q: %v", tc.says, err)
			}
		})
	}
}

// elsewhere are flags that are not to be set among the others: other values set them, or the pod does.
var elsewhere = map[string][]string{
	"controller": {"cloud-config", "cloud-provider", "ignore-exclude-lb", "kubeconfig", "load-balancer-class", "master", "metrics-bind-address", "namespace", "serve-classless", "version"},
	"speaker":    {"heartbeat-port", "ignore-exclude-lb", "kubeconfig", "load-balancer-class", "metrics-bind-address", "namespace", "node-name", "serve-classless", "status-socket", "version"},
}

var flagInHelp = regexp.MustCompile(`(?m)^ +(?:-[a-z], )?--([a-z][a-z0-9-]*)`)

// Every flag of both programs can be set through the chart.
func TestChartKnowsEveryFlag(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct {
			Properties map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for component, program := range map[string]string{"controller": "l2-cloud-controller-manager", "speaker": "l2-speaker"} {
		command := exec.Command("go", "run", "./cmd/"+program, "--help")
		command.Dir = root
		help, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		flags := map[string]bool{}
		for _, match := range flagInHelp.FindAllStringSubmatch(string(help), -1) {
			flags[match[1]] = true
		}
		known := slices.Concat(slices.Collect(maps.Keys(schema.Properties[component].Properties["flags"].Properties)), elsewhere[component])
		for _, name := range known {
			if !flags[name] {
				t.Errorf("%s has no flag --%s: take it out of values.schema.json, or out of this test", program, name)
			}
			delete(flags, name)
		}
		for name := range flags {
			t.Errorf("--%s of %s is not in %s.flags of values.schema.json: add it", name, program, component)
		}
	}
}
