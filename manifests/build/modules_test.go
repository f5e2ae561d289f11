// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var requirement = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`)

// requirements are the versions that a go.mod asks for, by module.
func requirements(t *testing.T, elements ...string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, elements...)...))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, match := range requirement.FindAllSubmatch(text, -1) {
		versions[string(match[1])] = string(match[2])
	}
	return versions
}

// A package of another version is compiled once more, and so is all that imports it: the modules of this repository ask for the same ones.
func TestModulesAskForTheSameVersions(t *testing.T) {
	want := requirements(t, "go.mod")
	for _, module := range []string{"manifests/build", "test/cluster"} {
		shared := 0
		for path, version := range requirements(t, module, "go.mod") {
			if want[path] == "" {
				continue
			}
			shared++
			if version != want[path] {
				t.Errorf("%s/go.mod asks for %s %s, go.mod for %s: take the later one in both, and run go mod tidy", module, path, version, want[path])
			}
		}
		if shared == 0 {
			t.Errorf("%s/go.mod shares no module with go.mod: this test does not read them right", module)
		}
	}
}
