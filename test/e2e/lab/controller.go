// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Controller is the product's controller, run as a process beside the tests, so that it can be killed at a given moment.
type Controller struct {
	// Ended is closed when the process is gone, by itself or because of Kill.
	Ended   <-chan struct{}
	process *os.Process
}

// BuildController builds the controller's command as it is shipped, and returns its path.
func (c *Cluster) BuildController(ctx context.Context) (string, error) {
	binary := filepath.Join(c.Root, "bin", "l2-cloud-controller-manager")
	return binary, c.build(ctx, io.Discard, filepath.Join(c.Root, "cmd", "l2-cloud-controller-manager"), binary)
}

// StartController starts the command with flags; what it says goes to the file.
func StartController(binary string, said *os.File, flags ...string) (*Controller, error) {
	cmd := exec.Command(binary, flags...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the controller: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in what it says
		close(ended)
	}()
	return &Controller{Ended: ended, process: cmd.Process}, nil
}

// Kill ends it as a crash does, and returns when it is gone.
func (c *Controller) Kill() {
	_ = c.process.Kill() // an error says that it has ended
	<-c.Ended
}

// Leader is the name of the controller's pod that leads, "" while none does.
func (c *Cluster) Leader(ctx context.Context) (string, error) {
	lease, err := c.API.CoordinationV1().Leases(Namespace).Get(ctx, names.ControllerLease, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return pod, nil
}

// KillPod kills the first process of a pod that has a network of its own, which is told nothing.
func (c *Cluster) KillPod(pod string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Processes come and go: one that cannot be read is not the one.
		environment, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, environment...), []byte("\x00HOSTNAME="+pod+"\x00")) {
			return syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("no process of pod %s runs on this computer", pod)
}
