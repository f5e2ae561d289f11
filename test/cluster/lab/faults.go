// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/kube"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// StopAPI ends kube-apiserver as a crash does; everything else keeps running. Gracefully, it is told to stop first and
// takes itself out of the endpoints of the Service kubernetes, which each kube-proxy hears, and takes up to a minute to forget.
func (c Cluster) StopAPI(gracefully bool) error {
	if _, err := c.load(); err != nil {
		return err
	}
	m, err := machine.Dial(c.layout.Host(topology.ControlPlane))
	if err != nil {
		return err
	}
	defer m.Close()
	patience := time.Duration(0)
	if gracefully {
		patience = 10 * time.Second
	}
	return m.Stop(kube.APIServerName, patience)
}

// StartAPI starts kube-apiserver again, and returns when it is ready.
func (c Cluster) StartAPI(ctx context.Context) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	m, err := machine.Dial(c.layout.Host(topology.ControlPlane))
	if err != nil {
		return err
	}
	defer m.Close()
	processes, err := m.List()
	if err != nil {
		return err
	}
	runs := slices.ContainsFunc(processes, func(p machine.Status) bool { return p.Name == kube.APIServerName && p.Running })
	if !runs {
		if err := m.Start(c.layout.APIServer()); err != nil {
			return err
		}
	}
	server, err := c.api(s)
	if err != nil {
		return err
	}
	return c.waitForAPI(ctx, server)
}

// Exec replaces this process by a command in the network namespace of a host.
func (c Cluster) Exec(host string, command []string) error {
	if _, err := os.Stat(wire.Path(c.Name, host)); err != nil {
		hosts, listErr := wire.Namespaces(c.Name)
		if listErr != nil || len(hosts) == 0 {
			return c.notUp("")
		}
		return fmt.Errorf("cluster %q has no host %q: there are %v", c.Name, host, hosts)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("running a command on %s: %w", host, err)
	}
	return wire.Enter(c.Name, host, func() error { return replaceBy(path, command) })
}

// RunKubectl replaces this process by kubectl on this cluster.
func (c Cluster) RunKubectl(arguments []string) error {
	if _, err := c.load(); err != nil {
		return err
	}
	if err := os.Setenv("KUBECONFIG", c.Kubeconfig()); err != nil {
		return err
	}
	return replaceBy(c.Kubectl(), append([]string{"kubectl"}, arguments...))
}

func replaceBy(path string, command []string) error {
	err := unix.Exec(path, command, os.Environ())
	return fmt.Errorf("running %s: %w", path, err)
}
