// SPDX-License-Identifier: Apache-2.0

// Package preflight looks at the computer before a cluster is put on it: what it lacks is installed when it is a
// Debian package, and told otherwise, and what differs from computer to computer is detected.
package preflight

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Computer is what a cluster's configuration depends on.
type Computer struct {
	// CgroupV2 says that the unified hierarchy is in use; else there is one for each controller.
	CgroupV2 bool
	// MayLowerOOMScore is CAP_SYS_RESOURCE: without it no process can be made less likely to be killed.
	MayLowerOOMScore bool
	// Overlay says that the folder's file system can carry overlay mounts.
	Overlay bool
}

func (c Computer) String() string {
	cgroup, capability, snapshots := "v1", "without", "copies"
	if c.CgroupV2 {
		cgroup = "v2"
	}
	if c.MayLowerOOMScore {
		capability = "with"
	}
	if c.Overlay {
		snapshots = "overlay"
	}
	return fmt.Sprintf("cgroup %s, %s CAP_SYS_RESOURCE, containers on %s", cgroup, capability, snapshots)
}

// RequireRoot is asked first, since everything else fails less clearly without.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root, to make network namespaces: run it with sudo")
	}
	return nil
}

// Look detects what this computer is. Folder is where the cluster will keep its files.
func Look(folder string) (Computer, error) {
	unified, err := unifiedCgroups()
	if err != nil {
		return Computer{}, err
	}
	capable, err := hasCapability(unix.CAP_SYS_RESOURCE)
	if err != nil {
		return Computer{}, err
	}
	return Computer{CgroupV2: unified, MayLowerOOMScore: capable, Overlay: overlayWorks(folder)}, nil
}

func unifiedCgroups() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &stat); err != nil {
		return false, fmt.Errorf("looking at the cgroups: %w", err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return true, nil
	}
	for _, controller := range []string{"cpu", "memory"} {
		if _, err := os.Stat(filepath.Join(cgroupRoot, controller, "cgroup.procs")); err != nil {
			return false, fmt.Errorf("no cgroup controller %q is mounted below %s: containers need it", controller, cgroupRoot)
		}
	}
	return false, nil
}

func hasCapability(capability int) (bool, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	return effective(status, capability)
}

// effective reads one bit of the line CapEff in /proc/self/status.
func effective(status []byte, capability int) (bool, error) {
	for line := range bytes.Lines(status) {
		if mask, ok := strings.CutPrefix(string(line), "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err != nil {
				return false, fmt.Errorf("reading this process's capabilities: %w", err)
			}
			return bits&(1<<capability) != 0, nil
		}
	}
	return false, errors.New("/proc/self/status tells no capabilities")
}

// overlayWorks tries it, for on some file systems, an overlay itself among them, it does not.
func overlayWorks(folder string) bool {
	trial, err := os.MkdirTemp(folder, "overlay-trial-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(trial)
	paths := map[string]string{}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		paths[name] = filepath.Join(trial, name)
		if err := os.Mkdir(paths[name], 0o755); err != nil {
			return false
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", paths["lower"], paths["upper"], paths["work"])
	if err := unix.Mount("overlay", paths["merged"], "overlay", 0, options); err != nil {
		return false
	}
	return unix.Unmount(paths["merged"], 0) == nil
}

// limit is a setting of the whole computer that a cluster's programs use up together.
type limit struct {
	path string
	need int
}

var limits = []limit{
	{"fs/inotify/max_user_instances", 8192}, // each kubelet, containerd and pod takes a few, of 128 by default
	{"fs/inotify/max_user_watches", 524288},
}

// RaiseLimits raises what is too low, never lowers anything, and tells what it raised.
func RaiseLimits(tell func(format string, arguments ...any)) error {
	for _, l := range limits {
		file := filepath.Join("/proc/sys", l.path)
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a limit: %w", err)
		}
		present, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("reading the limit %s: %w", l.path, err)
		}
		if present >= l.need {
			continue
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(l.need)), 0); err != nil {
			return fmt.Errorf("raising the limit %s from %d to %d: %w", l.path, present, l.need, err)
		}
		tell("raised the computer's limit %s from %d to %d, until it is restarted", l.path, present, l.need)
	}
	return nil
}
