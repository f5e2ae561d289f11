// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	ownCgroup  = "cloud-provider-l2" // holds one cgroup a cluster, which holds one a node
	// criCgroup is where containerd puts the containers of a kubelet that keeps no cgroups for its pods.
	criCgroup = "k8s.io"
)

// Cgroup is where a node's pods are in the unified hierarchy.
func Cgroup(cluster, node string) string { return "/" + filepath.Join(ownCgroup, cluster, node) }

// AddCgroup makes a node's cgroup, and hands every controller down to it. With one hierarchy a controller there is
// nothing to prepare.
func (c Computer) AddCgroup(cluster, node string) error {
	if !c.CgroupV2 {
		return nil
	}
	folder := cgroupRoot
	for _, name := range []string{ownCgroup, cluster, node} {
		if err := handDownControllers(folder); err != nil {
			return err
		}
		folder = filepath.Join(folder, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("making a cgroup: %w", err)
		}
	}
	return nil
}

func handDownControllers(folder string) error {
	available, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("listing the controllers of a cgroup: %w", err)
	}
	for _, controller := range strings.Fields(string(available)) {
		if err := os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("handing the controller %s down from cgroup %s: %w", controller, folder, err)
		}
	}
	return nil
}

// RemoveCgroups removes the cgroups of a cluster whose processes have ended, and those of its containers, which are
// beside other clusters' where kubelet keeps no cgroups for its pods.
func RemoveCgroups(cluster string, containers []string) error {
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		own, cri := filepath.Join(hierarchy, ownCgroup), filepath.Join(hierarchy, criCgroup)
		if err := removeTree(filepath.Join(own, cluster)); err != nil {
			return err
		}
		for _, container := range containers {
			if err := removeTree(filepath.Join(cri, container)); err != nil {
				return err
			}
		}
		// Fails while another cluster has its own there, as it should.
		_ = os.Remove(own)
		if len(containers) > 0 {
			_ = os.Remove(cri)
		}
	}
	return nil
}

// hierarchies are the folders at which cgroups are mounted: one, or one a controller.
func hierarchies() ([]string, error) {
	unified, err := unifiedCgroups()
	if err != nil {
		return nil, err
	}
	if unified {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("listing the cgroup hierarchies: %w", err)
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() { // what is not is a second name of one that is
			folders = append(folders, filepath.Join(cgroupRoot, entry.Name()))
		}
	}
	return folders, nil
}

// removeTree removes cgroups from the leaves up. The kernel takes a moment to let go of one whose last process has
// just ended.
func removeTree(root string) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("listing cgroups: %w", err)
	}
	slices.Reverse(folders)
	deadline := time.Now().Add(5 * time.Second)
	for _, folder := range folders {
		for {
			err := os.Remove(folder)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("removing a cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}
