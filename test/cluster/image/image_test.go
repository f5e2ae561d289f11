// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestArchiveIsConsistent(t *testing.T) {
	files := unpack(t, write(t))

	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || manifest[0].RepoTags[0] != "localhost/a:1" {
		t.Fatalf("manifest %+v", manifest)
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
		Config struct{ Entrypoint []string }
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	if want := "sha256:" + digest(layer); config.RootFS.DiffIDs[0] != want {
		t.Errorf("the configuration names layer %s, the archive holds %s", config.RootFS.DiffIDs[0], want)
	}
	if got := config.Config.Entrypoint; len(got) != 2 || got[0] != "/program" || got[1] != "serve" {
		t.Errorf("entry point %v", got)
	}
	if got := string(unpack(t, layer)["program"]); got != "binary" {
		t.Errorf("the layer's program is %q", got)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	if !bytes.Equal(write(t), write(t)) {
		t.Error("two archives of one program differ")
	}
}

func write(t *testing.T) []byte {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(binary, []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	image := Image{Tags: []string{"localhost/a:1"}, Binary: binary, Name: "program", Arguments: []string{"serve"}, Architecture: "amd64"}
	if err := image.Write(&archive); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}
