// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// KillAll ends every process of a cluster. It finds them by what the kernel knows: those in the network namespaces
// of its hosts, and those whose command line names the cluster's folder. The first processes of the machines are
// among the former, and the kernel ends everything else on a machine with its first process.
func KillAll(cluster, folder string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids, err := processesOf(cluster, folder)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end, even when killed", pids)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
	}
}

func processesOf(cluster, folder string) ([]int, error) {
	namespaces, err := namespaceIDs(cluster)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	spared := ancestors()
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || spared[pid] {
			continue
		}
		if id, err := os.Readlink(filepath.Join("/proc", entry.Name(), "ns/net")); err == nil && namespaces[id] || runsFrom(pid, folder) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// namespaceIDs are the kernel's names, as in net:[4026532000].
func namespaceIDs(cluster string) (map[string]bool, error) {
	hosts, err := wire.Namespaces(cluster)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, host := range hosts {
		path := wire.Path(cluster, host)
		var system unix.Statfs_t
		if err := unix.Statfs(path, &system); err != nil {
			return nil, fmt.Errorf("looking at the network namespace of %s: %w", host, err)
		}
		if system.Type != unix.NSFS_MAGIC {
			continue // a name that is not, or no longer, mounted on a namespace
		}
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			return nil, fmt.Errorf("looking at the network namespace of %s: %w", host, err)
		}
		ids[fmt.Sprintf("net:[%d]", stat.Ino)] = true
	}
	return ids, nil
}

// runsFrom says whether a process is a program of the cluster's folder, or one of containerd's that serves it. A shell
// or an editor that has the folder among its arguments is neither.
func runsFrom(pid int, folder string) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	arguments := bytes.Split(command, []byte{0})
	program := string(arguments[0])
	if strings.HasPrefix(program, folder+"/") {
		return true
	}
	name := filepath.Base(program)
	return (name == "ctr" || strings.HasPrefix(name, "containerd")) && bytes.Contains(command, []byte(folder+"/"))
}

// ancestors are this process and those it descends from, which are not to be killed wherever they run.
func ancestors() map[int]bool {
	spared := map[int]bool{}
	for pid := os.Getpid(); pid > 0; pid = parent(pid) {
		spared[pid] = true
	}
	return spared
}

func parent(pid int) int {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "PPid:"); ok {
			ppid, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return ppid
		}
	}
	return 0
}
