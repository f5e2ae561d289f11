// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/report"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// Down removes everything of a cluster: processes, mounts, namespaces, cgroups and files, in this order, since each
// keeps the next in use. It needs no record of what was made, and what is gone already is no error.
func (c Cluster) Down(progress *report.Report) error {
	if err := preflight.RequireRoot(); err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	present, err := c.anythingLeft()
	if err != nil {
		return err
	}
	if !present {
		progress.Note("cluster %q is not up, and has left nothing", c.Name)
		return nil
	}
	return progress.Step(fmt.Sprintf("removed cluster %q", c.Name), c.remove)
}

func (c Cluster) anythingLeft() (bool, error) {
	hosts, err := wire.Namespaces(c.Name)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(c.layout.Folder)
	return len(hosts) > 0 || err == nil, nil
}

// remove goes over it again while something is left: what a killed run had just begun can appear a moment later.
func (c Cluster) remove() error {
	for range 3 {
		if err := c.removeOnce(); err != nil {
			return err
		}
		if left, err := c.anythingLeft(); err != nil || !left {
			return err
		}
	}
	return fmt.Errorf("something keeps bringing cluster %q back: is a command running that starts it?", c.Name)
}

func (c Cluster) removeOnce() error {
	if err := machine.KillAll(c.Name, c.layout.Folder, 20*time.Second); err != nil {
		return fmt.Errorf("ending the processes: %w", err)
	}
	if err := unmountBelow(c.layout.Folder); err != nil {
		return err
	}
	hosts, err := wire.Namespaces(c.Name)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := wire.DeleteNamespace(c.Name, host); err != nil {
			return err
		}
	}
	if err := c.removeCgroups(); err != nil {
		return err
	}
	if err := os.RemoveAll(c.layout.Folder); err != nil {
		return fmt.Errorf("removing the files: %w", err)
	}
	// Fails while another cluster's files are there, as it should.
	_ = os.Remove(Root)
	return nil
}

func (c Cluster) removeCgroups() error {
	var containers []string
	for _, node := range topology.Nodes(topology.MaxNodes) {
		found, err := c.layout.Containers(node.Name)
		if err != nil {
			return err
		}
		containers = append(containers, found...)
	}
	return preflight.RemoveCgroups(c.Name, containers)
}

// unmountBelow removes mounts that a machine killed half-way through its first moments can have left. A machine's
// own mounts are not visible here and have gone with it.
func unmountBelow(folder string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	points := mountPoints(string(table), folder)
	slices.Reverse(points) // the latest is the innermost
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	return nil
}

// mountPoints lists what is mounted below a folder, in the order of the kernel's table.
func mountPoints(table, folder string) []string {
	var points []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4])
		if strings.HasPrefix(point, filepath.Clean(folder)+"/") {
			points = append(points, point)
		}
	}
	return points
}
