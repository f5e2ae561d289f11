// SPDX-License-Identifier: Apache-2.0

// Package wire is the cabling of a test cluster: a network namespace for each host, and a bridge in one of its own
// that joins them, as a switch would. Nothing is joined to the namespace of the machine itself, so no frame of the
// cluster can leave it. The kernel's state is the only record: everything here can be asked again after a crash.
package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

const namespaceFolder = "/run/netns" // where `ip netns` keeps them

// Path is the file that stands for the network namespace of a cluster's host.
func Path(cluster, host string) string {
	return filepath.Join(namespaceFolder, topology.Namespace(cluster, host))
}

// Namespaces lists the hosts of this cluster that have a namespace now.
func Namespaces(cluster string) ([]string, error) {
	entries, err := os.ReadDir(namespaceFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	var hosts []string
	for _, entry := range entries {
		if host, ok := topology.HostOf(cluster, entry.Name()); ok {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

// Enter runs f on a thread of its own inside a host's network namespace. What f starts or opens belongs there.
func Enter(cluster, host string, f func() error) error {
	namespace, err := netns.GetFromPath(Path(cluster, host))
	if err != nil {
		return fmt.Errorf("opening the network namespace of %s: %w", host, err)
	}
	defer namespace.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine and is not used for anything else
		if err := netns.Set(namespace); err != nil {
			done <- fmt.Errorf("entering the network namespace of %s: %w", host, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// addNamespace leaves the naming to ip(8), which sets the folder up so that its own commands see the name.
func addNamespace(cluster, host string) error {
	return run("ip", "netns", "add", topology.Namespace(cluster, host))
}

// DeleteNamespace takes a host off the machine, with its interfaces. Processes in it keep it alive, nameless.
func DeleteNamespace(cluster, host string) error {
	path := Path(cluster, host)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err == nil {
			continue // a crash between two mounts can have left more than one
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
		break
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the name of a namespace: %w", err)
	}
	return nil
}

// handle speaks netlink inside a host's namespace.
func handle(cluster, host string) (*netlink.Handle, error) {
	namespace, err := netns.GetFromPath(Path(cluster, host))
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace of %s: %w", host, err)
	}
	defer namespace.Close()
	handle, err := netlink.NewHandleAt(namespace, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("speaking netlink in the namespace of %s: %w", host, err)
	}
	return handle, nil
}

// setting is a sysctl of the network namespace, by its path below /proc/sys/net.
type setting struct{ path, value string }

func configure(cluster, host string, settings []setting) error {
	return Enter(cluster, host, func() error {
		for _, s := range settings {
			err := os.WriteFile(filepath.Join("/proc/sys/net", s.path), []byte(s.value), 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a kernel built without what it configures
			}
			if err != nil {
				return fmt.Errorf("setting net/%s to %s on %s: %w", s.path, s.value, host, err)
			}
		}
		return nil
	})
}

func run(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
