// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/build"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/kube"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// node brings one node up, and returns when it is ready.
func (up *creation) node(ctx context.Context, node topology.Host) error {
	if err := up.layout.ConfigureNode(node, up.computer, build.PauseImage); err != nil {
		return err
	}
	if err := up.computer.AddCgroup(up.Name, node.Name); err != nil {
		return err
	}
	m, err := machine.Boot(up.layout.Machine(node, up.state.Programs))
	if err != nil {
		return err
	}
	defer m.Close()
	err = up.progress.Step("containerd on "+node.Name+" has its images", func() error {
		if err := m.Start(up.layout.Containerd(node)); err != nil {
			return err
		}
		err := up.until(ctx, node, 30*time.Second, "containerd answers", func() error { return answers(up.layout.ContainerdSocket(node.Name)) })
		if err != nil {
			return err
		}
		return up.importImages(ctx, node.Name, kube.Snapshotter(up.computer), up.builds.Images)
	})
	if err != nil {
		return err
	}
	if err := wait(ctx, up.apiReady); err != nil {
		return err
	}
	return up.progress.Step(node.Name+" is ready", func() error {
		for _, process := range []machine.Process{up.layout.Kubelet(node), up.layout.Proxy(node)} {
			if err := m.Start(process); err != nil {
				return err
			}
		}
		return up.until(ctx, node, time.Minute, node.Name+" is ready", func() error {
			ready, err := up.api.nodes(ctx)
			if err == nil && !ready[node.Name] {
				return errors.New("the API server says it is not")
			}
			return err
		})
	})
}

func answers(socket string) error {
	connection, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	return connection.Close()
}

// addNodes creates the nodes' objects; the kubelets find them there.
func (up *creation) addNodes(ctx context.Context) error {
	for _, node := range topology.Nodes(up.state.Nodes) {
		if err := up.api.apply(ctx, "/api/v1/nodes", node.Name, kube.Node(node)); err != nil {
			return fmt.Errorf("creating the object of %s: %w", node.Name, err)
		}
	}
	return nil
}

// dns installs CoreDNS, and returns when it serves.
func (up *creation) dns(ctx context.Context) error {
	if err := wait(ctx, up.apiReady); err != nil {
		return err
	}
	manifest, err := kube.DNS(up.builds.DNSImage)
	if err != nil {
		return err
	}
	return up.progress.Step("CoreDNS serves", func() error {
		apply := exec.CommandContext(ctx, up.Kubectl(), "--kubeconfig", up.Kubeconfig(), "create", "-f", "-")
		apply.Stdin = bytes.NewReader(manifest)
		if output, err := apply.CombinedOutput(); err != nil {
			return fmt.Errorf("installing CoreDNS: %w: %s", err, strings.TrimSpace(string(output)))
		}
		return up.until(ctx, topology.ControlPlaneHost(), 2*time.Minute, "CoreDNS serves", func() error {
			pods, err := up.api.available(ctx, "kube-system", "coredns")
			if err == nil && pods == 0 {
				return fmt.Errorf("no pod of it is ready; `%s --kubeconfig %s describe pods -n kube-system` tells more", up.Kubectl(), up.Kubeconfig())
			}
			return err
		})
	})
}

// LoadImages imports image archives into every node.
func (c Cluster) LoadImages(ctx context.Context, archives []string) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range topology.Nodes(s.Nodes) {
		group.Go(func() error { return c.importImages(ctx, node.Name, s.Snapshotter, archives) })
	}
	return group.Wait()
}

func (c Cluster) importImages(ctx context.Context, node, snapshotter string, archives []string) error {
	for _, archive := range archives {
		load := exec.CommandContext(ctx, "ctr", "--address", c.layout.ContainerdSocket(node), "--namespace", "k8s.io",
			"images", "import", "--snapshotter", snapshotter, archive)
		if output, err := load.CombinedOutput(); err != nil {
			return fmt.Errorf("importing %s on %s: %w: %s", archive, node, err, strings.TrimSpace(string(output)))
		}
	}
	return nil
}
