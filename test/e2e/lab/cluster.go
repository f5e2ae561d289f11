// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Namespace is where the product runs.
const Namespace = "metallb-system"

// Cluster is one test cluster. Its methods may be called from several goroutines.
type Cluster struct {
	Name   string
	Root   string // of the repository
	Config *rest.Config
	API    kubernetes.Interface

	environment []string // of every command that is run for a user: kubectl and its kubeconfig, curl on the client host

	macsLock sync.Mutex
	macs     map[string]string // node by MAC, asked once
}

// Open finds the repository and makes sure the commands the lab drives are built. Nothing is started yet.
func Open(ctx context.Context, name string, progress io.Writer) (*Cluster, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, Root: root}
	if _, err := os.Stat(c.command()); errors.Is(err, os.ErrNotExist) {
		if err := c.build(ctx, progress, filepath.Join(root, "test/cluster"), c.command()); err != nil {
			return nil, err
		}
	}
	return c, c.build(ctx, progress, filepath.Join(root, "test/e2e/probe"), c.probe())
}

// Up brings the cluster up, or finds it up, and connects to it.
func (c *Cluster) Up(ctx context.Context, progress io.Writer) error {
	if err := c.drive(ctx, progress, "up"); err != nil {
		return err
	}
	return c.Connect(ctx)
}

// Down removes the cluster.
func (c *Cluster) Down(ctx context.Context, progress io.Writer) error {
	return c.drive(ctx, progress, "down")
}

// Running says whether everything of the cluster runs.
func (c *Cluster) Running(ctx context.Context) bool { return c.drive(ctx, io.Discard, "status") == nil }

// Cut pulls the cable of a node: its carrier is lost.
func (c *Cluster) Cut(ctx context.Context, node string) error { return c.drive(ctx, nil, "cut", node) }

// Isolate drops a node's frames at the switch while its carrier stays.
func (c *Cluster) Isolate(ctx context.Context, node string) error {
	return c.drive(ctx, nil, "isolate", node)
}

// Heal mends what Cut and Isolate broke.
func (c *Cluster) Heal(ctx context.Context, node string) error {
	return c.drive(ctx, nil, "heal", node)
}

// StopAPI stops the API server.
func (c *Cluster) StopAPI(ctx context.Context) error { return c.drive(ctx, nil, "stop-api") }

// StartAPI starts it again.
func (c *Cluster) StartAPI(ctx context.Context) error { return c.drive(ctx, nil, "start-api") }

// LoadImages imports archives into every node.
func (c *Cluster) LoadImages(ctx context.Context, files ...string) error {
	return c.drive(ctx, nil, append([]string{"load-image"}, files...)...)
}

// Exec runs a command in the network namespace of a host of the LAN and returns its standard output.
func (c *Cluster) Exec(ctx context.Context, host string, command ...string) (string, error) {
	return output(c.onHost(ctx, host, command...))
}

// Client is the host on the LAN that is no part of the cluster.
const Client = "client"

func (c *Cluster) onHost(ctx context.Context, host string, command ...string) *exec.Cmd {
	return c.cluster(ctx, append([]string{"exec", host, "--"}, command...)...)
}

// drive runs the cluster command. Without a writer its output is shown only when it fails.
func (c *Cluster) drive(ctx context.Context, progress io.Writer, args ...string) error {
	cmd := c.cluster(ctx, args...)
	if progress == nil {
		_, err := output(cmd)
		return err
	}
	cmd.Stdout, cmd.Stderr = progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cluster %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (c *Cluster) cluster(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.command(), args...)
	cmd.Dir = c.Root
	cmd.Env = append(os.Environ(), "L2_CLUSTER="+c.Name)
	return cmd
}

func (c *Cluster) command() string { return filepath.Join(c.Root, "bin", "cluster") }
func (c *Cluster) probe() string   { return filepath.Join(c.Root, "bin", "probe") }

// Out is a file among what a run leaves behind; its folder is made.
func (c *Cluster) Out(elements ...string) (string, error) {
	name := filepath.Join(append([]string{c.Root, "out"}, elements...)...)
	return name, os.MkdirAll(filepath.Dir(name), 0o755)
}

func (c *Cluster) build(ctx context.Context, progress io.Writer, folder, binary string) error {
	fmt.Fprintf(progress, "building %s\n", binary)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, ".")
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, progress, progress
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w", folder, err)
	}
	return nil
}

// Connect reads how to reach the cluster from the cluster command, as a user's shell does. The cluster must be up.
func (c *Cluster) Connect(ctx context.Context) error {
	shims, err := c.shims()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", `set -e; e=$("$0" env); eval "$e"; printf '%s\n%s\n' "$KUBECONFIG" "$PATH"`, c.command())
	cmd.Env = append(os.Environ(), "L2_CLUSTER="+c.Name)
	text, err := output(cmd)
	if err != nil {
		return fmt.Errorf("asking the cluster command for its environment: %w", err)
	}
	kubeconfig, path, ok := strings.Cut(strings.TrimSpace(text), "\n")
	if !ok || kubeconfig == "" {
		return fmt.Errorf("the cluster command's environment names no kubeconfig: %q", text)
	}
	c.environment = append(os.Environ(), "L2_CLUSTER="+c.Name, "KUBECONFIG="+kubeconfig, "PATH="+shims+":"+path)
	c.Config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kubeconfig %s: %w", kubeconfig, err)
	}
	c.Config.QPS, c.Config.Burst = 100, 200
	c.API, err = kubernetes.NewForConfig(c.Config)
	return err
}

// repository is the nearest folder upwards that holds the root module.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module github.com/cloud-provider-l2/cloud-provider-l2\n")) {
			return dir, nil
		}
	}
	return "", errors.New("not inside the repository: no go.mod of cloud-provider-l2 here or above")
}

// output runs a command; its error carries what the command said.
func output(cmd *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		words := append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...)
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, strings.TrimSpace(said.String()+out.String()))
	}
	return out.String(), nil
}
