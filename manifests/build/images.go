// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// component is one program that becomes one image.
type component struct {
	name    string // of the image
	binary  string // of the program: its folder in cmd/, and its place in the image
	user    string
	toolbox bool // with busybox beside the program
}

var components = []component{
	{name: "controller", binary: "l2-cloud-controller-manager", user: "65532:65532"},
	{name: "speaker", binary: "l2-speaker", user: "0:0", toolbox: true},
}

var architectures = []string{"amd64", "arm64"}

// release is what every image of one build has in common. The same release of the same sources, made by the same Go
// and with the same busybox, is the same image to the byte.
type release struct {
	root       string // of the repository
	out        string
	repository string
	version    string
	commit     string
	date       time.Time
}

func buildImages(ctx context.Context, args []string) error {
	r, arches, only, err := parseRelease(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	for _, c := range components {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		if err := r.build(ctx, c, arches); err != nil {
			return fmt.Errorf("image %s: %w", c.name, err)
		}
	}
	return nil
}

func parseRelease(args []string) (r release, arches, only []string, err error) {
	var arch, components, date string
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.StringVar(&r.root, "root", ".", "the repository's root")
	flags.StringVar(&r.out, "out", "out/images", "where images go")
	flags.StringVar(&r.repository, "repository", "localhost/cloud-provider-l2", "what image names begin with")
	flags.StringVar(&r.version, "version", "v0.0.0", "tag of the images, and what --version prints")
	flags.StringVar(&r.commit, "commit", "", "commit the sources are at")
	flags.StringVar(&date, "date", "", "the commit's date, RFC 3339; the time stamp of every file (default 1970)")
	flags.StringVar(&arch, "arches", strings.Join(architectures, " "), "architectures, separated by spaces or commas")
	flags.StringVar(&components, "components", "", "only these images (default all)")
	if err := flags.Parse(args); err != nil {
		return r, nil, nil, err
	}
	r.date = time.Unix(0, 0).UTC()
	if date != "" {
		if r.date, err = time.Parse(time.RFC3339, date); err != nil {
			return r, nil, nil, fmt.Errorf("-date: %w", err)
		}
		r.date = r.date.UTC()
	}
	arches = words(arch)
	for _, arch := range arches {
		if !slices.Contains(architectures, arch) {
			return r, nil, nil, fmt.Errorf("-arches: %q is none of %s", arch, strings.Join(architectures, ", "))
		}
	}
	if len(arches) == 0 {
		return r, nil, nil, errors.New("-arches is empty")
	}
	return r, arches, words(components), nil
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ',' })
}

// build makes a component's image tar for each architecture, and one OCI layout with all of them.
func (r release) build(ctx context.Context, c component, arches []string) error {
	tag, err := name.NewTag(r.repository+"/"+c.name+":"+r.version, name.StrictValidation)
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range arches {
		start := time.Now()
		image, err := r.image(ctx, c, arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		file := filepath.Join(r.out, c.name+"-"+arch+".tar")
		if err := tarball.WriteToFile(file+".part", tag, image); err != nil {
			return fmt.Errorf("%s: writing %s: %w", arch, file, err)
		}
		if err := os.Rename(file+".part", file); err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
		if err := report(file, tag, time.Since(start)); err != nil {
			return err
		}
	}
	return r.writeLayout(filepath.Join(r.out, c.name+"-oci"), tag, index)
}

func (r release) writeLayout(dir string, tag name.Tag, index v1.ImageIndex) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag.String(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}))
}

func report(file string, tag name.Tag, took time.Duration) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Printf("%-36s %s  %.1f MB  %.1f s\n", file, tag, float64(info.Size())/1e6, took.Seconds())
	return nil
}

// image is a component's image for one architecture: what rarely changes in the first layer, the program in the last.
func (r release) image(ctx context.Context, c component, arch string) (v1.Image, error) {
	binary, err := r.compile(ctx, c, arch)
	if err != nil {
		return nil, err
	}
	ground := accounts()
	labels := map[string]string{
		"org.opencontainers.image.title":    c.binary,
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.commit,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if c.toolbox {
		box, err := fetchBusybox(ctx, arch)
		if err != nil {
			return nil, fmt.Errorf("busybox: %w", err)
		}
		ground = append(ground, box.files()...)
		labels["org.opencontainers.image.licenses"] = "Apache-2.0 AND GPL-2.0-only"
		labels["busybox-static"] = box.version
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range [][]file{ground, {{path: c.binary, mode: 0o755, content: binary}}} {
		layer, err := newLayer(files, r.date)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: r.date}, CreatedBy: "make images"},
		}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: r.date}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + c.binary},
		User:       c.user,
		WorkingDir: "/",
		Env:        []string{"PATH=/bin:/"},
		Labels:     labels,
	}
	return mutate.ConfigFile(image, config)
}

// compile makes the static program, and returns it.
func (r release) compile(ctx context.Context, c component, arch string) ([]byte, error) {
	out, err := filepath.Abs(filepath.Join(r.out, "..", "bin", arch, c.binary))
	if err != nil {
		return nil, err
	}
	const version = "k8s.io/component-base/version."
	ldflags := []string{
		"-s", "-w",
		"-X", version + "gitVersion=" + r.version,
		"-X", version + "gitCommit=" + r.commit,
		"-X", version + "gitTreeState=",
		"-X", version + "buildDate=" + r.date.Format(time.RFC3339),
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " "), "-o", out, "./cmd/"+c.binary)
	command.Dir = r.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if text, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", command, err, text)
	}
	return os.ReadFile(out)
}
