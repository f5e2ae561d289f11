// SPDX-License-Identifier: Apache-2.0

// Package kube says how each program of a Kubernetes cluster is started and configured. It is pure: it knows flags
// and configuration files, and leaves running them to others.
package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// Layout is where a cluster keeps its files.
type Layout struct {
	Cluster string
	Folder  string
}

// PKI holds certificates, keys and the programs' kubeconfigs.
func (l Layout) PKI() string { return filepath.Join(l.Folder, "pki") }

// Host is the folder of one host.
func (l Layout) Host(name string) string { return filepath.Join(l.Folder, name) }

// Kubeconfig is what people use.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Folder, "kubeconfig") }

func (l Layout) certificate(name string) string { return filepath.Join(l.PKI(), name+".crt") }
func (l Layout) key(name string) string         { return filepath.Join(l.PKI(), name+".key") }

// KubeconfigOf is what a program uses.
func (l Layout) KubeconfigOf(program string) string {
	return filepath.Join(l.PKI(), program+".kubeconfig")
}

// program is a Process of one of Kubernetes' programs, which every machine finds in its own folder.
func (l Layout) program(host, name string, arguments ...string) machine.Process {
	return machine.Process{Name: name, Path: filepath.Join(l.Host(host), "programs", name), Arguments: arguments}
}

// Machine is the configuration of a host's machine. Programs is the folder with Kubernetes' programs.
func (l Layout) Machine(host topology.Host, programs string) machine.Config {
	folder := l.Host(host.Name)
	config := machine.Config{
		Cluster: l.Cluster,
		Host:    host.Name,
		Folder:  folder,
		Binds:   []machine.Bind{{Source: programs, Target: filepath.Join(folder, "programs")}},
	}
	if host.Node == 0 {
		return config
	}
	// Folders whose places are fixed in the programs, so that each node needs its own.
	for target, source := range map[string]string{"/run": "run", "/var/lib": "var-lib", "/var/log": "var-log"} {
		config.Binds = append(config.Binds, machine.Bind{Source: filepath.Join(folder, source), Target: target})
	}
	// What kubelet sets on the computer it finds itself on.
	config.Sysctls = map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
	return config
}

// Processes lists what runs on a host, in the order in which it is started.
func (l Layout) Processes(host topology.Host) []machine.Process {
	if host.Node == 0 {
		return []machine.Process{l.Etcd(), l.APIServer(), l.ControllerManager(), l.Scheduler()}
	}
	return []machine.Process{l.Containerd(host), l.Kubelet(host), l.Proxy(host)}
}

// writeJSON writes a configuration file; every program that reads YAML reads JSON.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return writeFile(path, append(text, '\n'))
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making a folder for configuration: %w", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("writing configuration: %w", err)
	}
	return nil
}
