// SPDX-License-Identifier: Apache-2.0

package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// keyOf hashes what a build depends on: the sources and module files under the folders, and everything else that is
// given in words. The folders' own place does not count, so two clones share a cache.
func keyOf(folders []string, words ...string) (string, error) {
	hash := sha256.New()
	for _, word := range words {
		fmt.Fprintf(hash, "%d:%s\n", len(word), word)
	}
	for _, folder := range folders {
		files, err := sources(folder)
		if err != nil {
			return "", fmt.Errorf("reading the sources in %s: %w", folder, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(folder, file))
			if err != nil {
				return "", fmt.Errorf("reading a source: %w", err)
			}
			fmt.Fprintf(hash, "%d:%s %d:%s\n", len(file), file, len(content), content)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func sources(folder string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := entry.Name()
		source := name == "go.mod" || name == "go.sum" || strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if !source {
			return nil
		}
		relative, err := filepath.Rel(folder, path)
		files = append(files, relative)
		return err
	})
	slices.Sort(files)
	return files, err
}

// requiredVersion reads from a go.mod which version of a module it requires, so that versions stand in one place.
func requiredVersion(goMod, module string) (string, error) {
	text, err := os.ReadFile(goMod)
	if err != nil {
		return "", fmt.Errorf("reading the version of %s: %w", module, err)
	}
	pattern := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + `\s+(v\S+)`)
	match := pattern.FindSubmatch(text)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", goMod, module)
	}
	return string(match[1]), nil
}
