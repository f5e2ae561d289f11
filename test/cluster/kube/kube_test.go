// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// With one, kubelet's node would wait for a cloud to initialise it; kube-controller-manager has had no use for one since 1.31.
func TestNobodyIsToldOfACloudProvider(t *testing.T) {
	layout := Layout{Cluster: "l2", Folder: "/x"}
	for _, program := range []machine.Process{layout.ControllerManager(), layout.Kubelet(topology.Nodes(1)[0])} {
		for _, argument := range program.Arguments {
			if strings.HasPrefix(argument, "--cloud-provider") {
				t.Errorf("%s has %s", program.Name, argument)
			}
		}
	}
}

// A policy that names another group of accounts, or another file than the API server reads, would leave the log empty.
func TestAuditPolicyIsTheOneTheAPIServerReads(t *testing.T) {
	layout := Layout{Cluster: "l2", Folder: t.TempDir()}
	if err := layout.ConfigureAPIServer(); err != nil {
		t.Fatal(err)
	}
	const flag = "--audit-policy-file="
	for _, argument := range layout.APIServer().Arguments {
		if file, ok := strings.CutPrefix(argument, flag); ok {
			if text := string(read(t, file)); !strings.Contains(text, "system:serviceaccounts:metallb-system") {
				t.Errorf("the audit policy is %s", text)
			}
			return
		}
	}
	t.Errorf("the API server has no %s", flag)
}

func TestKubeletFollowsTheComputer(t *testing.T) {
	layout, node := Layout{Cluster: "l2", Folder: t.TempDir()}, topology.Nodes(1)[0]
	for name, test := range map[string]struct {
		computer      preflight.Computer
		has, hasNot   []string
		wantRestrict  string
		wantSnapshots string
	}{
		"cgroup v1, without the capability": {
			preflight.Computer{}, []string{"failCgroupV1", "cgroupsPerQOS", "oomScoreAdj"}, []string{"cgroupRoot"}, "restrict_oom_score_adj = true", `"native"`,
		},
		"cgroup v2, with the capability": {
			preflight.Computer{CgroupV2: true, MayLowerOOMScore: true, Overlay: true}, []string{"cgroupRoot"},
			[]string{"failCgroupV1", "cgroupsPerQOS", "oomScoreAdj"}, "restrict_oom_score_adj = false", `"overlayfs"`,
		},
	} {
		if err := layout.ConfigureNode(node, test.computer, "pause"); err != nil {
			t.Fatal(err)
		}
		var kubelet map[string]any
		if err := json.Unmarshal(read(t, layout.file(node, "kubelet.json")), &kubelet); err != nil {
			t.Fatal(err)
		}
		for _, key := range test.has {
			if _, ok := kubelet[key]; !ok {
				t.Errorf("%s: kubelet has no %s", name, key)
			}
		}
		for _, key := range test.hasNot {
			if _, ok := kubelet[key]; ok {
				t.Errorf("%s: kubelet has %s", name, key)
			}
		}
		containerd := string(read(t, layout.file(node, "containerd.toml")))
		for _, want := range []string{test.wantRestrict, test.wantSnapshots} {
			if !strings.Contains(containerd, want) {
				t.Errorf("%s: containerd has no %s", name, want)
			}
		}
	}
}

func TestContainersOfANodeThatIsNoMore(t *testing.T) {
	layout := Layout{Folder: t.TempDir()}
	if got, err := layout.Containers("node-1"); err != nil || len(got) != 0 {
		t.Errorf("a node that never was: %q, %v", got, err)
	}
	folder := filepath.Join(layout.Host("node-1"), "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := layout.Containers("node-1"); err != nil || !slices.Equal(got, []string{"abc"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPodsGetBothFamilies(t *testing.T) {
	layout, node := Layout{Folder: t.TempDir()}, topology.Nodes(2)[1]
	if err := layout.ConfigureNode(node, preflight.Computer{}, "pause"); err != nil {
		t.Fatal(err)
	}
	network := string(read(t, layout.file(node, "cni/10-pods.conflist")))
	for _, subnet := range []string{"10.244.2.0/24", "fd00:244:2::/64"} {
		if !strings.Contains(network, subnet) {
			t.Errorf("no %s in %s", subnet, network)
		}
	}
}

func TestSocketsFitTheirAddress(t *testing.T) {
	const limit = 107 // what a Unix socket's address holds
	layout := Layout{Folder: filepath.Join("/var/tmp/cloud-provider-l2", strings.Repeat("x", 20))}
	if socket := layout.ContainerdSocket("node-9"); len(socket) > limit {
		t.Errorf("%s is %d bytes", socket, len(socket))
	}
}

func TestDNSManifestIsFilledIn(t *testing.T) {
	manifest, err := DNS("an/image:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"image: an/image:1", "clusterIP: 10.96.0.10"} {
		if !strings.Contains(string(manifest), want) {
			t.Errorf("no %q", want)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
