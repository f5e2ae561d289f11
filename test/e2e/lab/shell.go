// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Kubectl runs kubectl against the cluster and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, "", args...)
}

// Apply applies YAML as `kubectl apply -f -` does.
func (c *Cluster) Apply(ctx context.Context, yaml string) error {
	_, err := c.kubectl(ctx, yaml, "apply", "-f", "-")
	return err
}

// Delete deletes what the YAML names and waits until it is gone.
func (c *Cluster) Delete(ctx context.Context, yaml string) error {
	_, err := c.kubectl(ctx, yaml, "delete", "--ignore-not-found", "--timeout=90s", "-f", "-")
	return err
}

func (c *Cluster) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.find("kubectl"), args...)
	cmd.Env, cmd.Stdin = c.environment, strings.NewReader(stdin)
	return output(cmd)
}

// find looks a command up in the user's PATH, which is not this process's.
func (c *Cluster) find(name string) string {
	for _, v := range c.environment {
		path, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
				return file
			}
		}
	}
	return name
}

// Shell runs a command line as a user types it, in bash: kubectl is the cluster's, and curl, arping and arp run on the client
// host. It returns everything printed. A command that has no end of its own is stopped after the limit, with all it started,
// and that is no error; zero means no limit.
func (c *Cluster) Shell(ctx context.Context, dir, line string, limit time.Duration) (string, error) {
	running := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		running, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	cmd := exec.CommandContext(running, "bash", "-c", line)
	cmd.Dir, cmd.Env = dir, c.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 2 * time.Second
	text, err := cmd.CombinedOutput()
	if running.Err() != nil && ctx.Err() == nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever did not care
		return string(text), nil
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return string(text), fmt.Errorf("%s: %w\n%s", line, err, text)
	}
	return string(text), nil
}

// shims makes a folder of commands that belong on the client host and run there when typed here.
func (c *Cluster) shims() (string, error) {
	first, err := c.Out("e2e", "shims-"+c.Name, "curl")
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(first)
	for name, command := range map[string]string{"curl": "curl", "arping": c.probe() + " arping", "arp": c.probe() + " arp"} {
		if name == "curl" {
			if command, err = exec.LookPath("curl"); err != nil {
				continue // only the guide needs it, and says so
			}
		}
		text := fmt.Sprintf("#!/bin/sh\nexec %s exec %s -- %s \"$@\"\n", c.command(), Client, command)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}
