// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyDependsOnSourcesAndWordsAlone(t *testing.T) {
	folder := tree(t, map[string]string{"go.mod": "module a", "a/a.go": "package a", "README.md": "text"})
	key := mustKey(t, folder, "go1.26")
	if clone := tree(t, map[string]string{"go.mod": "module a", "a/a.go": "package a", "a/a_test.go": "package a"}); mustKey(t, clone, "go1.26") != key {
		t.Error("another place, a README or a test changes the key")
	}
	if changed := tree(t, map[string]string{"go.mod": "module a", "a/a.go": "package b"}); mustKey(t, changed, "go1.26") == key {
		t.Error("a changed source does not change the key")
	}
	if mustKey(t, folder, "go1.27") == key {
		t.Error("another compiler does not change the key")
	}
}

func TestEnsureMakesAnEntryOnce(t *testing.T) {
	cache, made := Cache{root: t.TempDir()}, 0
	for range 2 {
		folder, err := cache.Ensure(context.Background(), "a", "key", func() {}, func(folder string) error {
			made++
			return os.WriteFile(filepath.Join(folder, "file"), nil, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !exists(filepath.Join(folder, "file")) {
			t.Error("the entry is not complete")
		}
	}
	if made != 1 {
		t.Errorf("made %d times", made)
	}
}

func TestEnsureLeavesNoEntryWhenBuildingFails(t *testing.T) {
	cache, broken := Cache{root: t.TempDir()}, errors.New("broken")
	_, err := cache.Ensure(context.Background(), "a", "key", func() {}, func(string) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	folder, err := cache.Ensure(context.Background(), "a", "key", func() {}, func(folder string) error {
		files, err := os.ReadDir(folder)
		if len(files) > 0 {
			t.Errorf("the next build starts in a folder with %v", files)
		}
		return err
	})
	if err != nil || !exists(folder) {
		t.Errorf("building again: %v", err)
	}
}

func TestRequiredVersion(t *testing.T) {
	folder := tree(t, map[string]string{"go.mod": "module a\n\nrequire (\n\tk8s.io/kubernetes v1.37.2\n)\nrequire one.line/b v1.2.3\n"})
	for module, want := range map[string]string{"k8s.io/kubernetes": "v1.37.2", "one.line/b": "v1.2.3"} {
		if got, err := requiredVersion(filepath.Join(folder, "go.mod"), module); err != nil || got != want {
			t.Errorf("%s: %q, %v", module, got, err)
		}
	}
	if _, err := requiredVersion(filepath.Join(folder, "go.mod"), "k8s.io/other"); err == nil {
		t.Error("a module that is not required has a version")
	}
}

func TestWatchTellsPackagesFromComplaints(t *testing.T) {
	output := "go: downloading a v1\nk8s.io/api/core/v1\nk8s.io/x\n# k8s.io/y\nfile.go:1:1: no such thing\n"
	complaints := watch(strings.NewReader(output), func(int) {}, false)
	if len(complaints) != 2 {
		t.Errorf("complaints %q", complaints)
	}
}

func mustKey(t *testing.T, folder string, words ...string) string {
	t.Helper()
	key, err := keyOf([]string{folder}, words...)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
