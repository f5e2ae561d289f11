// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// ContainerdName is the process that has to answer before images are imported.
const ContainerdName = "containerd"

// As seen on the node.
const (
	containerdState  = "/run/containerd"
	containerdSocket = containerdState + "/containerd.sock"
)

// ContainerdSocket is the same as seen from the computer.
func (l Layout) ContainerdSocket(node string) string {
	return filepath.Join(l.Host(node), containerdSocket)
}

// Containers lists those that a node's containerd has, or had when the node was killed, without asking it.
func (l Layout) Containers(node string) ([]string, error) {
	folder := filepath.Join(l.Host(node), containerdState, "io.containerd.runtime.v2.task/k8s.io")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the containers of %s: %w", node, err)
	}
	var containers []string
	for _, entry := range entries {
		containers = append(containers, entry.Name())
	}
	return containers, nil
}

// Snapshotter keeps the containers' file systems.
func Snapshotter(computer preflight.Computer) string {
	if computer.Overlay {
		return "overlayfs"
	}
	return "native"
}

// ConfigureNode writes the configuration files of everything that runs on a node.
func (l Layout) ConfigureNode(node topology.Host, computer preflight.Computer, sandboxImage string) error {
	if err := writeFile(l.file(node, "containerd.toml"), l.containerdConfig(node, computer, sandboxImage)); err != nil {
		return err
	}
	if err := writeJSON(l.file(node, "cni/10-pods.conflist"), podNetwork(node)); err != nil {
		return err
	}
	if err := writeJSON(l.file(node, "kubelet.json"), l.kubeletConfig(node, computer)); err != nil {
		return err
	}
	return writeJSON(l.file(node, "kube-proxy.json"), l.proxyConfig(node, computer))
}

func (l Layout) Containerd(node topology.Host) machine.Process {
	return machine.Process{Name: ContainerdName, Path: "/usr/bin/containerd", Arguments: []string{"--config", l.file(node, "containerd.toml")}}
}

func (l Layout) Kubelet(node topology.Host) machine.Process {
	// --cloud-provider stays unset: no cloud initialises these nodes, and with it they would wait for one, tainted.
	return l.program(node.Name, "kubelet",
		"--config="+l.file(node, "kubelet.json"),
		"--kubeconfig="+l.KubeconfigOf("kubelet-"+node.Name),
		"--hostname-override="+node.Name,
		"--node-ip="+dual(node.IPv4, node.IPv6),
	)
}

func (l Layout) Proxy(node topology.Host) machine.Process {
	return l.program(node.Name, "kube-proxy", "--config="+l.file(node, "kube-proxy.json"))
}

func (l Layout) file(node topology.Host, name string) string {
	return filepath.Join(l.Host(node.Name), "etc", name)
}

func (l Layout) containerdConfig(node topology.Host, computer preflight.Computer, sandboxImage string) []byte {
	return fmt.Appendf(nil, `version = 2
root = "/var/lib/containerd"
state = %q

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # Without CAP_SYS_RESOURCE runc cannot start a container whose score is lower than its own.
  restrict_oom_score_adj = %t

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
`, containerdState, containerdSocket, sandboxImage, !computer.MayLowerOOMScore, preflight.CNIPlugins, filepath.Dir(l.file(node, "cni/10-pods.conflist")), Snapshotter(computer))
}

// podNetwork gives each pod a veth pair to its node, and addresses of both families from the node's ranges.
func podNetwork(node topology.Host) any {
	type object = map[string]any
	return object{
		"cniVersion": "0.4.0",
		"name":       "pods",
		"plugins": []any{
			object{
				"type":   "ptp",
				"ipMasq": false, // the node masquerades what leaves the cluster, and nothing else
				"ipam": object{
					"type": "host-local",
					"ranges": []any{
						[]any{object{"subnet": node.PodRange4()}},
						[]any{object{"subnet": node.PodRange6()}},
					},
					"routes": []any{object{"dst": "0.0.0.0/0"}, object{"dst": "::/0"}},
				},
			},
			object{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

func (l Layout) kubeletConfig(node topology.Host, computer preflight.Computer) map[string]any {
	type object = map[string]any
	config := object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": l.certificate("ca")},
		},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       l.certificate("kubelet-" + node.Name),
		"tlsPrivateKeyFile": l.key("kubelet-" + node.Name),
		"clusterDNS":        []any{topology.DNSService},
		"clusterDomain":     "cluster.local",
		"resolvConf":        "", // the computer's resolver cannot be reached from here
		"cgroupDriver":      "cgroupfs",
		"failSwapOn":        false,
		// Disk and memory are the computer's and not a node's to judge, which sees them all.
		"localStorageCapacityIsolation": false,
		"evictionHard":                  object{},
		"imageGCHighThresholdPercent":   100,
	}
	if computer.CgroupV2 {
		config["cgroupRoot"] = preflight.Cgroup(l.Cluster, node.Name)
	} else {
		config["failCgroupV1"] = false
		config["cgroupsPerQOS"] = false
		config["enforceNodeAllocatable"] = []string{}
	}
	if !computer.MayLowerOOMScore {
		config["oomScoreAdj"] = 0
	}
	return config
}

func (l Layout) proxyConfig(node topology.Host, computer preflight.Computer) map[string]any {
	type object = map[string]any
	config := object{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"mode":               "nftables",
		"clientConnection":   object{"kubeconfig": l.KubeconfigOf("kube-proxy")},
		"hostnameOverride":   node.Name,
		"clusterCIDR":        dual(topology.Pods4, topology.Pods6),
		"detectLocalMode":    "ClusterCIDR",
		"metricsBindAddress": "127.0.0.1:10249",
		// The size of the connection table is the computer's and cannot be set from here.
		"conntrack": object{"maxPerCore": 0, "min": 0},
	}
	if !computer.MayLowerOOMScore {
		config["oomScoreAdj"] = 0
	}
	return config
}
