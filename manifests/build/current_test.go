// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const root = "../.."

func TestInstallYAMLIsWhatKustomizeRenders(t *testing.T) {
	var rendered bytes.Buffer
	if err := render([]string{filepath.Join(root, "manifests")}, &rendered); err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(root, "manifests", "install.yaml"), rendered.Bytes())
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	out := t.TempDir()
	command := exec.Command("go", "tool", "controller-gen", "crd", "object", "paths=./api/v1beta1",
		"output:crd:dir="+out, "output:object:dir="+out)
	command.Dir = root
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, text)
	}
	crds, err := filepath.Glob(filepath.Join(out, "*.yaml"))
	if err != nil || len(crds) == 0 {
		t.Fatalf("controller-gen made no CRD: %v", err)
	}
	if err := tightenSelectors(crds); err != nil {
		t.Fatal(err)
	}
	for _, crd := range crds {
		sameFile(t, filepath.Join(root, "manifests", "crds", filepath.Base(crd)), crd)
	}
	sameFile(t, filepath.Join(root, "api", "v1beta1", "zz_generated.deepcopy.go"), filepath.Join(out, "zz_generated.deepcopy.go"))
}

func sameFile(t *testing.T, file, generated string) {
	t.Helper()
	text, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	same(t, file, text)
}

func same(t *testing.T, file string, generated []byte) {
	t.Helper()
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, generated) {
		t.Errorf("%s is not what its sources give: run `make generate manifests` and commit the result", file)
	}
}

// Guides wait for pods with the label app=metallb, and a waiter waits for all it finds.
func TestOnlyControllerAndSpeakerAreLabelledMetalLB(t *testing.T) {
	var labelled []string
	for _, object := range installed(t) {
		if object.GetLabels()["app"] == "metallb" {
			labelled = append(labelled, object.GetKind()+"/"+object.GetName())
		}
	}
	if got, want := strings.Join(labelled, " "), "Deployment/controller DaemonSet/speaker"; got != want {
		t.Errorf("objects with app=metallb: %s, want %s", got, want)
	}
}

// What the pods may do is what the design says they need, and no more.
func TestPodSecurity(t *testing.T) {
	for _, object := range installed(t) {
		if kind := object.GetKind(); kind != "Deployment" && kind != "DaemonSet" {
			continue
		}
		t.Run(object.GetName(), func(t *testing.T) {
			want := map[string]string{
				"spec.template.spec.securityContext.seccompProfile.type":                   "RuntimeDefault",
				"spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation": "false",
				"spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem":   "true",
				"spec.template.spec.containers.0.securityContext.capabilities.drop":        "- ALL",
				"spec.template.spec.containers.0.securityContext.capabilities.add":         "",
				"spec.template.spec.containers.0.securityContext.privileged":               "",
				"spec.template.spec.volumes":                                               "",
				"spec.template.spec.hostPID":                                               "",
				"spec.template.spec.hostNetwork":                                           "",
				"spec.template.spec.securityContext.runAsUser":                             "65532",
				"spec.template.spec.securityContext.runAsNonRoot":                          "true",
				"spec.template.spec.priorityClassName":                                     "system-cluster-critical",
				"spec.template.spec.enableServiceLinks":                                    "false",
				"spec.template.spec.containers.0.resources.limits.cpu":                     "",
				"spec.template.spec.containers.0.resources.limits.memory":                  "512Mi",
				"spec.template.spec.containers.0.resources.requests.memory":                "64Mi",
				"spec.template.spec.containers.0.env.2.name":                               "MEMORY_LIMIT",
				"spec.template.spec.containers.0.env.2.valueFrom.resourceFieldRef":         "resource: limits.memory",
			}
			if object.GetName() == "speaker" {
				want["spec.template.spec.hostNetwork"] = "true"
				want["spec.template.spec.dnsPolicy"] = "ClusterFirstWithHostNet"
				want["spec.template.spec.securityContext.runAsUser"] = "0"
				want["spec.template.spec.securityContext.runAsNonRoot"] = ""
				want["spec.template.spec.containers.0.securityContext.capabilities.add"] = "- NET_RAW"
				want["spec.template.spec.priorityClassName"] = "system-node-critical"
				want["spec.template.spec.terminationGracePeriodSeconds"] = "30"
				want["spec.template.spec.volumes"] = "- emptyDir:\n    medium: Memory\n    sizeLimit: 1Mi\n  name: run"
			}
			for path, want := range want {
				if got := value(t, object, path); got != want {
					t.Errorf("%s is %q, want %q", path, got, want)
				}
			}
		})
	}
}

func installed(t *testing.T) []*yaml.RNode {
	t.Helper()
	objects, err := kio.LocalPackageReader{PackagePath: filepath.Join(root, "manifests", "install.yaml"), OmitReaderAnnotations: true}.Read()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func value(t *testing.T, object *yaml.RNode, path string) string {
	t.Helper()
	node, err := object.Pipe(yaml.Lookup(strings.Split(path, ".")...))
	if err != nil {
		t.Fatal(err)
	}
	text, err := node.String()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}
