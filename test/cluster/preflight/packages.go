// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// need is a file that a cluster runs, and the Debian package that brings it. A file without a folder is looked for
// on the PATH and in the folders for administrators.
type need struct{ file, pkg string }

var needs = []need{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{CNIPlugins + "/ptp", "containernetworking-plugins"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"mount", "mount"},
}

// CNIPlugins is where Debian puts them.
const CNIPlugins = "/usr/lib/cni"

// MissingPackages lists what has to be installed.
func MissingPackages() []string {
	widenPath()
	var packages []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.file); err != nil && !slices.Contains(packages, n.pkg) {
			packages = append(packages, n.pkg)
		}
	}
	return packages
}

// widenPath adds the administrators' folders, which some shells of root lack.
func widenPath() {
	path := filepath.SplitList(os.Getenv("PATH"))
	for _, folder := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(path, folder) {
			path = append(path, folder)
		}
	}
	os.Setenv("PATH", strings.Join(path, string(filepath.ListSeparator)))
}

// Install installs packages with apt, without starting any service of theirs.
func Install(ctx context.Context, packages []string) error {
	manual := fmt.Sprintf("install the equivalents of these Debian packages yourself: %s", strings.Join(packages, " "))
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("packages are missing, and there is no apt-get: %s", manual)
	}
	allow, err := forbidServices()
	if err != nil {
		return err
	}
	defer allow()
	for _, arguments := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...),
	} {
		command := exec.CommandContext(ctx, "apt-get", arguments...)
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\n%s", strings.Join(arguments, " "), err, lastLines(string(output), 5), manual)
		}
	}
	if still := MissingPackages(); len(still) > 0 {
		return fmt.Errorf("apt-get installed %s, and yet what they should bring is missing", strings.Join(still, " "))
	}
	return nil
}

const (
	servicePolicy = "/usr/sbin/policy-rc.d"
	policyText    = "#!/bin/sh\n# Left by the test cluster of cloud-provider-l2 while it installs packages; safe to remove.\nexit 101\n"
)

// forbidServices keeps Debian from starting a containerd of the computer's own. A policy that is there already stays.
func forbidServices() (allow func(), err error) {
	present, err := os.ReadFile(servicePolicy)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.WriteFile(servicePolicy, []byte(policyText), 0o755); err != nil {
			return nil, fmt.Errorf("keeping packages from starting services: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("reading the policy on starting services: %w", err)
	case string(present) != policyText:
		return func() {}, nil
	}
	return func() { _ = os.Remove(servicePolicy) }, nil
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
