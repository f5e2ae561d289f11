// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// applets are the tools that the speaker's image offers to whoever looks around in it.
var applets = strings.Fields(`arp arping cat clear cut date df dmesg du echo env find free grep head hostname id ifconfig ip kill less ls
	nc netstat nslookup ping ping6 ps route sed sh sleep sort tail top traceroute traceroute6 uname uptime wc wget which xargs`)

// busybox is Debian's static busybox for one architecture.
type busybox struct {
	version   string
	program   []byte
	copyright []byte
}

func (b busybox) files() []file {
	files := []file{
		{path: "bin/busybox", mode: 0o755, content: b.program},
		{path: "usr/share/doc/busybox-static/copyright", mode: 0o644, content: b.copyright},
	}
	for _, applet := range applets {
		files = append(files, file{path: "bin/" + applet, link: "busybox"})
	}
	return files
}

// fetchBusybox gets the package busybox-static of Debian for an architecture, from a cache folder or else from the
// machine's own Debian mirrors. apt checks signatures and hashes as always.
func fetchBusybox(ctx context.Context, arch string) (busybox, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return busybox{}, err
	}
	dir := filepath.Join(cache, "cloud-provider-l2", "busybox", arch)
	packages, err := filepath.Glob(filepath.Join(dir, "busybox-static_*.deb"))
	if err != nil {
		return busybox{}, err
	}
	if len(packages) == 0 {
		if err := download(ctx, dir, arch); err != nil {
			return busybox{}, err
		}
		if packages, _ = filepath.Glob(filepath.Join(dir, "busybox-static_*.deb")); len(packages) == 0 {
			return busybox{}, fmt.Errorf("apt-get download left no package in %s", dir)
		}
	}
	return unpack(ctx, packages[len(packages)-1])
}

// download has apt fetch the package with a configuration of its own, so that neither the machine's package lists nor
// the architectures its dpkg knows are touched.
func download(ctx context.Context, dir, arch string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("apt-get is missing: put Debian's busybox-static_*_%s.deb into %s and try again", arch, dir)
	}
	scratch, err := os.MkdirTemp("", "cloud-provider-l2-apt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	for _, folder := range []string{"state/lists/partial", "cache/archives/partial", "sources.list.d", "log"} {
		if err := os.MkdirAll(filepath.Join(scratch, folder), 0o755); err != nil {
			return err
		}
	}
	if err := copySources(filepath.Join(scratch, "sources.list.d")); err != nil {
		return err
	}
	configuration := fmt.Sprintf(`
#clear APT::Architectures;
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Log "%[1]s/log";
Dir::Etc::sourcelist "%[1]s/none";
Dir::Etc::sourceparts "%[1]s/sources.list.d";
`, scratch, arch)
	file := filepath.Join(scratch, "apt.conf")
	if err := errors.Join(os.WriteFile(file, []byte(configuration), 0o644), os.WriteFile(filepath.Join(scratch, "status"), nil, 0o644), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	for _, args := range [][]string{{"update"}, {"download", "busybox-static"}} {
		command := exec.CommandContext(ctx, "apt-get", append([]string{"-c", file, "-q"}, args...)...)
		command.Dir = dir
		if text, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, text)
		}
	}
	return nil
}

var distribution = regexp.MustCompile(`(?i)debian|ubuntu`)

// copySources copies apt's sources of the distribution itself: others seldom have every architecture.
func copySources(into string) error {
	sources, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return err
	}
	copied := false
	for _, source := range append(sources, "/etc/apt/sources.list") {
		text, err := os.ReadFile(source)
		if errors.Is(err, os.ErrNotExist) || err == nil && !distribution.Match(text) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(into, filepath.Base(source)), text, 0o644); err != nil {
			return err
		}
		copied = true
	}
	if !copied {
		return errors.New("no source of Debian or Ubuntu packages in /etc/apt: busybox-static comes from there")
	}
	return nil
}

// unpack reads the program out of a package, and checks that it has every applet that is promised.
func unpack(ctx context.Context, deb string) (busybox, error) {
	version, err := exec.CommandContext(ctx, "dpkg-deb", "--field", deb, "Version").Output()
	if err != nil {
		return busybox{}, fmt.Errorf("reading %s: %w", deb, err)
	}
	content, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		return busybox{}, fmt.Errorf("reading %s: %w", deb, err)
	}
	box := busybox{version: strings.TrimSpace(string(version))}
	archive := tar.NewReader(bytes.NewReader(content))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return busybox{}, fmt.Errorf("reading %s: %w", deb, err)
		}
		switch strings.TrimPrefix(header.Name, "./") {
		case "bin/busybox", "usr/bin/busybox":
			box.program, err = io.ReadAll(archive)
		case "usr/share/doc/busybox-static/copyright":
			box.copyright, err = io.ReadAll(archive)
		}
		if err != nil {
			return busybox{}, fmt.Errorf("reading %s: %w", deb, err)
		}
	}
	if len(box.program) == 0 || len(box.copyright) == 0 {
		return busybox{}, fmt.Errorf("%s has no bin/busybox or no copyright file", deb)
	}
	for _, applet := range applets {
		// The program may be of another architecture; the names of its applets stand in it one after the other.
		if !bytes.Contains(box.program, []byte("\x00"+applet+"\x00")) {
			return busybox{}, fmt.Errorf("%s has no applet %s", deb, applet)
		}
	}
	return box, nil
}
