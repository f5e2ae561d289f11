// SPDX-License-Identifier: Apache-2.0

// Package image packs static binaries into container images, as archives that `docker load` and
// `ctr images import` take. Every image is one layer and, for the same input, the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Image is what to pack.
type Image struct {
	// Tags are the full names under which a runtime will know the image.
	Tags []string
	// Binary is the file that the image runs; it lands in the root folder as Name.
	Binary, Name string
	Arguments    []string
	Architecture string
}

// Write packs the image into w.
func (i Image) Write(w io.Writer) error {
	binary, err := os.ReadFile(i.Binary)
	if err != nil {
		return fmt.Errorf("packing image %s: %w", i.Tags[0], err)
	}
	layer, err := pack(
		entry{name: "tmp/", mode: 0o1777},
		entry{name: "etc/", mode: 0o755},
		entry{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n")},
		entry{name: i.Name, mode: 0o755, content: binary},
	)
	if err != nil {
		return fmt.Errorf("packing the layer of image %s: %w", i.Tags[0], err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": i.Architecture,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": append([]string{"/" + i.Name}, i.Arguments...), "Env": []string{"PATH=/"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return fmt.Errorf("describing image %s: %w", i.Tags[0], err)
	}
	layerName, configName := digest(layer)+"/layer.tar", digest(config)+".json"
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": i.Tags, "Layers": []string{layerName},
	}})
	if err != nil {
		return fmt.Errorf("listing image %s: %w", i.Tags[0], err)
	}
	archive, err := pack(
		entry{name: configName, mode: 0o644, content: config},
		entry{name: layerName, mode: 0o644, content: layer},
		entry{name: "manifest.json", mode: 0o644, content: manifest},
	)
	if err != nil {
		return fmt.Errorf("packing image %s: %w", i.Tags[0], err)
	}
	if _, err := w.Write(archive); err != nil {
		return fmt.Errorf("writing image %s: %w", i.Tags[0], err)
	}
	return nil
}

// entry is a file, or a folder when its name ends in a slash.
type entry struct {
	name    string
	mode    int64
	content []byte
}

func pack(entries ...entry) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, entry := range entries {
		header := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     entry.name,
			Mode:     entry.mode,
			Size:     int64(len(entry.content)),
			ModTime:  time.Unix(0, 0),
		}
		if strings.HasSuffix(entry.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(entry.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
