// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroups = "/sys/fs/cgroup"

// mountAll gives the machine its view of the file system. None of it is seen outside, and the kernel undoes it when
// the machine's last process ends.
func mountAll(config Config) error {
	// Cut off from the computer's mounts, and then shared again, so that volumes can propagate within the machine.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("making the mounts its own: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := mountSys(filepath.Join(config.Folder, "cgroup")); err != nil {
		return err
	}
	for path, value := range config.Sysctls {
		if err := pretend(filepath.Join(config.Folder, "sysctl"), path, value); err != nil {
			return err
		}
	}
	for _, bind := range config.Binds {
		for _, folder := range []string{bind.Source, bind.Target} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return fmt.Errorf("making a folder to mount: %w", err)
			}
		}
		if err := unix.Mount(bind.Source, bind.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mounting %s at %s: %w", bind.Source, bind.Target, err)
		}
	}
	return nil
}

// mountSys shows the interfaces of this machine in /sys, and keeps the cgroups that are mounted below it.
func mountSys(aside string) error {
	if err := os.MkdirAll(aside, 0o755); err != nil {
		return fmt.Errorf("making a folder to put the cgroups aside: %w", err)
	}
	if err := unix.Mount(cgroups, aside, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("putting the cgroups aside: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := unix.Mount(aside, cgroups, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("putting the cgroups back: %w", err)
	}
	// Detaching a shared mount would propagate to its peer, which is the one just put back.
	if err := unix.Mount("", aside, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separating the two views of the cgroups: %w", err)
	}
	if err := unix.Unmount(aside, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("dropping the cgroups put aside: %w", err)
	}
	return nil
}

// pretend covers a setting of the whole computer with a file, so that kubelet finds what it wants and sets nothing.
func pretend(folder, path, value string) error {
	target := filepath.Join("/proc/sys", path)
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making a folder for settings: %w", err)
	}
	source := filepath.Join(folder, strings.ReplaceAll(path, "/", "."))
	if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing a setting: %w", err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("covering %s: %w", target, err)
	}
	return nil
}
