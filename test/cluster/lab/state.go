// SPDX-License-Identifier: Apache-2.0

// Package lab brings a test cluster up and takes it down. The files it keeps are there for people and for speed;
// what is cleaned up is decided by what the kernel knows (packages wire and machine), so that a run that was
// killed at any point leaves nothing that the next cannot remove.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/kube"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// Root is the folder of all clusters' files.
const Root = "/var/tmp/cloud-provider-l2"

// Cluster is one by its name, whether it is up or not.
type Cluster struct {
	Name   string
	layout kube.Layout
}

// Named is a cluster of that name.
func Named(name string) (Cluster, error) {
	if err := topology.CheckName(name); err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: name, layout: kube.Layout{Cluster: name, Folder: filepath.Join(Root, name)}}, nil
}

// Kubeconfig is what people use to reach the API server.
func (c Cluster) Kubeconfig() string { return c.layout.Kubeconfig() }

// ProgramFolder holds kubectl and nothing else, fit for a PATH.
func (c Cluster) ProgramFolder() string { return filepath.Join(c.layout.Folder, "bin") }

// Kubectl is the kubectl of the cluster's own version.
func (c Cluster) Kubectl() string { return filepath.Join(c.ProgramFolder(), "kubectl") }

// state is what `up` was told and chose; the other commands need it.
type state struct {
	Nodes    int
	APIPort  int
	Programs string // folder of Kubernetes' programs
	// Snapshotter is where the nodes unpack images.
	Snapshotter string
	// BootID tells a cluster that runs from one that ran before the computer was restarted.
	BootID string
	// Complete is set when `up` has come to its end.
	Complete bool
}

// ErrNotUp is returned by commands that need a cluster which is up.
var ErrNotUp = errors.New("not up")

// load reads the state of a cluster that is up.
func (c Cluster) load() (state, error) {
	var s state
	text, err := os.ReadFile(c.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, c.notUp("")
	}
	if err != nil {
		return s, fmt.Errorf("reading the state of cluster %q: %w", c.Name, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("reading the state of cluster %q: %w (remove it with `cluster down`)", c.Name, err)
	}
	boot, err := bootID()
	if err != nil {
		return s, err
	}
	switch {
	case s.BootID != boot:
		return s, c.notUp(": the computer was restarted since")
	case !s.Complete:
		return s, c.notUp(": a `cluster up` did not come to its end")
	}
	return s, nil
}

func (c Cluster) notUp(why string) error {
	return fmt.Errorf("cluster %q is %w%s; `cluster up --name %s` starts it", c.Name, ErrNotUp, why, c.Name)
}

func (c Cluster) save(s state) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the state of cluster %q: %w", c.Name, err)
	}
	unfinished := c.stateFile() + ".new"
	if err := os.WriteFile(unfinished, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the state of cluster %q: %w", c.Name, err)
	}
	if err := os.Rename(unfinished, c.stateFile()); err != nil {
		return fmt.Errorf("writing the state of cluster %q: %w", c.Name, err)
	}
	return nil
}

func (c Cluster) stateFile() string { return filepath.Join(c.layout.Folder, "state.json") }

// hosts are those that run processes: the control plane's and the nodes.
func (s state) hosts() []topology.Host {
	return append([]topology.Host{topology.ControlPlaneHost()}, topology.Nodes(s.Nodes)...)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("asking the kernel which boot this is: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// lock keeps two commands from changing one cluster at a time. It is a socket without a file: the kernel drops it
// with the process that holds it, and tells who that is. One that has just been killed takes a moment to be gone.
func (c Cluster) lock() (unlock func(), err error) {
	address := &net.UnixAddr{Net: "unix", Name: "@cloud-provider-l2/" + c.Name}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		listener, err := net.ListenUnix("unix", address)
		switch {
		case err == nil:
			return func() { listener.Close() }, nil
		case !errors.Is(err, unix.EADDRINUSE):
			return nil, fmt.Errorf("locking cluster %q: %w", c.Name, err)
		case time.Now().After(deadline):
			return nil, fmt.Errorf("another command (process %s) is changing cluster %q: wait until it is done, or end it", owner(address), c.Name)
		}
	}
}

func owner(address *net.UnixAddr) string {
	connection, err := net.DialUnix("unix", nil, address)
	if err != nil {
		return "unknown"
	}
	defer connection.Close()
	raw, err := connection.SyscallConn()
	if err != nil {
		return "unknown"
	}
	name := "unknown"
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			name = fmt.Sprint(peer.Pid)
		}
	})
	return name
}
