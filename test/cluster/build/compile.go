// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/report"
)

// program is one binary to compile.
type program struct {
	title   string
	module  string // folder of its go.mod
	path    string // package, relative to module
	ldflags string
	output  string
}

// compile builds a static binary and reports how many of its packages are done.
func compile(ctx context.Context, progress *report.Report, p program) error {
	total, err := countPackages(ctx, p)
	if err != nil {
		return err
	}
	build := goCommand(ctx, p.module, "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", p.ldflags, "-o", p.output, p.path)
	output, err := build.StderrPipe()
	if err != nil {
		return fmt.Errorf("reading what go build says: %w", err)
	}
	started := time.Now()
	if err := build.Start(); err != nil {
		return goMissing(err)
	}
	complaints := watch(output, func(compiled int) {
		progress.Progress("%s: %d of at most %d packages compiled, %s", p.title, compiled, total, time.Since(started).Round(time.Second))
	}, progress.Terminal())
	if err := build.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go build of %s: %w\n%s", p.title, err, strings.Join(complaints, "\n"))
	}
	return nil
}

// watch counts the package names that `go build -v` writes, and keeps the other lines, which are complaints.
func watch(output io.Reader, tell func(compiled int), often bool) (complaints []string) {
	interval := 15 * time.Second
	if often {
		interval = 500 * time.Millisecond
	}
	compiled, told := 0, time.Now()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		line := lines.Text()
		if strings.ContainsAny(line, " \t") {
			if !strings.HasPrefix(line, "go: downloading ") {
				complaints = append(complaints, line)
			}
		} else {
			compiled++
		}
		if time.Since(told) >= interval {
			tell(compiled)
			told = time.Now()
		}
	}
	return complaints
}

func countPackages(ctx context.Context, p program) (int, error) {
	list := goCommand(ctx, p.module, "list", "-deps", p.path)
	var complaints bytes.Buffer
	list.Stderr = &complaints
	output, err := list.Output()
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("listing the packages of %s: %w\n%s", p.title, goMissing(err), complaints.String())
	}
	return bytes.Count(output, []byte("\n")), nil
}

func goCommand(ctx context.Context, folder string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=-mod=readonly", "GOWORK=off")
	return command
}

// goVersion is part of every key: another compiler makes other binaries.
func goVersion(ctx context.Context, folder string) (string, error) {
	output, err := goCommand(ctx, folder, "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("asking Go for its version: %w", goMissing(err))
	}
	return strings.Join(strings.Fields(string(output)), " "), nil
}

func goMissing(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("the go command is not on the PATH: install Go 1.26 or later, from https://go.dev/dl/")
	}
	return err
}
