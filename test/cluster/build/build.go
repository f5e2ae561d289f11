// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/image"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/report"
)

// Programs that the one binary of Kubernetes is, by the name it is called by.
var Programs = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
}

// Names of the images that every node has. The first stands in for the real one, which cannot be pulled here.
const (
	WebImage   = "docker.io/library/nginx:1.25"
	PauseImage = "localhost/cloud-provider-l2/pause:1"
	dnsImage   = "localhost/cloud-provider-l2/coredns:"
)

// Builds is everything that a cluster runs.
type Builds struct {
	Programs string   // the folder that holds Programs
	Images   []string // archives
	DNSImage string
}

// All builds what is not in the cache yet.
func All(ctx context.Context, progress *report.Report) (Builds, error) {
	module, err := moduleFolder()
	if err != nil {
		return Builds{}, err
	}
	cache, err := OpenCache()
	if err != nil {
		return Builds{}, err
	}
	compiler, err := goVersion(ctx, module)
	if err != nil {
		return Builds{}, err
	}
	b := builder{cache: cache, module: module, compiler: compiler, progress: progress}
	programs, err := b.kubernetes(ctx)
	if err != nil {
		return Builds{}, err
	}
	images, dns, err := b.images(ctx)
	if err != nil {
		return Builds{}, err
	}
	return Builds{Programs: programs, Images: images, DNSImage: dns}, nil
}

type builder struct {
	cache    Cache
	module   string
	compiler string
	progress *report.Report
}

func (b builder) kubernetes(ctx context.Context) (string, error) {
	module := filepath.Join(b.module, "kubernetes")
	version, err := requiredVersion(filepath.Join(module, "go.mod"), "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	flags := versionFlags(version)
	key, err := keyOf([]string{module}, b.compiler, flags, strings.Join(Programs, " "))
	if err != nil {
		return "", err
	}
	return b.cache.Ensure(ctx, "kubernetes", key, b.waiting("Kubernetes"), func(folder string) error {
		b.progress.Note("building Kubernetes %s with etcd, once: about 6 minutes on 2 cores", version)
		err := b.compile(ctx, program{
			title: "Kubernetes", module: module, path: ".", ldflags: flags, output: filepath.Join(folder, "kubernetes"),
		})
		if err != nil {
			return err
		}
		for _, name := range Programs {
			if err := os.Symlink("kubernetes", filepath.Join(folder, name)); err != nil {
				return fmt.Errorf("naming %s: %w", name, err)
			}
		}
		return nil
	})
}

// versionFlags tells the binary which Kubernetes it is; a plain build calls itself v0.0.0.
func versionFlags(version string) string {
	const variables = "k8s.io/component-base/version."
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s -X %[1]sgitTreeState=clean",
		variables, version, parts[0], parts[1])
}

func (b builder) images(ctx context.Context) (archives []string, dns string, err error) {
	coredns := filepath.Join(b.module, "coredns")
	version, err := requiredVersion(filepath.Join(coredns, "go.mod"), "github.com/coredns/coredns")
	if err != nil {
		return nil, "", err
	}
	dns = dnsImage + version
	programs := []struct {
		program
		tag string
	}{
		{program{title: "coredns", module: coredns, path: "."}, dns},
		{program{title: "pause", module: b.module, path: "./programs/pause"}, PauseImage},
		{program{title: "web", module: b.module, path: "./programs/web"}, WebImage},
	}
	folders := []string{coredns, filepath.Join(b.module, "programs"), filepath.Join(b.module, "image")}
	key, err := keyOf(folders, b.compiler, dns, PauseImage, WebImage)
	if err != nil {
		return nil, "", err
	}
	entry, err := b.cache.Ensure(ctx, "images", key, b.waiting("the images"), func(folder string) error {
		b.progress.Note("building the images of CoreDNS %s, pause and the web server, once: about 1 minute on 2 cores", version)
		for _, p := range programs {
			if err := b.makeImage(ctx, folder, p.program, p.tag); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	for _, p := range programs {
		archives = append(archives, filepath.Join(entry, p.title+".tar"))
	}
	return archives, dns, nil
}

func (b builder) makeImage(ctx context.Context, folder string, p program, tag string) error {
	p.output = filepath.Join(folder, p.title)
	p.ldflags = "-s -w"
	if err := b.compile(ctx, p); err != nil {
		return err
	}
	archive, err := os.Create(p.output + ".tar")
	if err != nil {
		return fmt.Errorf("making image %s: %w", tag, err)
	}
	defer archive.Close()
	packed := image.Image{Tags: []string{tag}, Binary: p.output, Name: p.title, Architecture: runtime.GOARCH}
	if err := packed.Write(archive); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("making image %s: %w", tag, err)
	}
	return os.Remove(p.output)
}

func (b builder) compile(ctx context.Context, p program) error {
	return b.progress.Step("compiled "+p.title, func() error { return compile(ctx, b.progress, p) })
}

func (b builder) waiting(what string) func() {
	return func() { b.progress.Note("another command is building %s: waiting for it", what) }
}

// moduleFolder finds the sources of this command, which hold the sources of what it builds: where they were when
// it was compiled, unless -trimpath left that out, or beside the clone's bin folder.
func moduleFolder() (string, error) {
	var candidates []string
	if given := os.Getenv("L2_CLUSTER_SOURCE"); given != "" {
		candidates = append(candidates, given)
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		candidates = append(candidates, filepath.Dir(filepath.Dir(file)))
	}
	if executable, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(filepath.Dir(executable)), "test", "cluster"))
	}
	for _, candidate := range candidates {
		if exists(filepath.Join(candidate, "kubernetes", "go.mod")) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("the sources of the test cluster are in none of %s: set L2_CLUSTER_SOURCE to the folder test/cluster of a clone",
		strings.Join(candidates, ", "))
}
