// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// LoadSpeakerAs imports the speaker's image into every node under other names, for pods that stand in for those of another product: it has a
// shell and `ip`.
func (c *Cluster) LoadSpeakerAs(ctx context.Context, names ...string) (err error) {
	archives, err := filepath.Glob(filepath.Join(c.Root, "out", "images", "speaker-*.tar"))
	if err != nil {
		return err
	}
	archives = forThisMachine(archives)
	if len(archives) == 0 {
		return errors.New("out/images holds no archive of the speaker: run `make images` first")
	}
	name, err := c.Out("e2e", "stand-in-"+c.Name+".tar")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	if err := renameImage(archives[0], name, names); err != nil {
		return fmt.Errorf("renaming the image of %s: %w", archives[0], err)
	}
	return c.LoadImages(ctx, name)
}

// renameImage copies an archive of one image, as `docker save` writes them, and gives the image other names.
func renameImage(from, to string, names []string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	in, out := tar.NewReader(source), tar.NewWriter(target)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if header.Name == "manifest.json" {
			if content, err = renamed(content, names); err != nil {
				return err
			}
			header.Size = int64(len(content))
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
	}
}

func renamed(manifest []byte, names []string) ([]byte, error) {
	var images []map[string]any
	if err := json.Unmarshal(manifest, &images); err != nil {
		return nil, fmt.Errorf("reading manifest.json: %w", err)
	}
	for _, image := range images {
		image["RepoTags"] = names
	}
	return json.Marshal(images)
}
