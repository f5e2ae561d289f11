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
)

// BuildPlugin builds `kubectl l2` as users install it. Call it before Plugin.
func (c *Cluster) BuildPlugin(ctx context.Context) error {
	return c.build(ctx, io.Discard, filepath.Join(c.Root, "cmd", "kubectl-l2"), filepath.Join(c.Root, "bin", "kubectl-l2"))
}

// Plugin runs `kubectl l2` with arguments, with bin in the PATH as kubectl finds its plugins, and returns its standard output and its exit
// status. What it complains of is part of the error when it says nothing else.
func (c *Cluster) Plugin(ctx context.Context, args ...string) (said string, status int, err error) {
	cmd := exec.CommandContext(ctx, c.find("kubectl"), append([]string{"l2"}, args...)...)
	for _, variable := range c.environment {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			variable = "PATH=" + filepath.Join(c.Root, "bin") + string(os.PathListSeparator) + path
		}
		cmd.Env = append(cmd.Env, variable)
	}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && out.Len() > 0 {
		return out.String(), exit.ExitCode(), nil
	}
	if err != nil {
		return out.String(), -1, fmt.Errorf("kubectl l2 %s: %w: %s", strings.Join(args, " "), err, complaints.String())
	}
	return out.String(), 0, nil
}
