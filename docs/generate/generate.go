// SPDX-License-Identifier: Apache-2.0

// Package generate keeps those parts of the documentation that the programs themselves know in step with them: flags and metrics.
// It is for tests, each of which renders one section and compares it with the file; with UPDATE_DOCS=1 in the environment (make docs) the
// section is written instead.
package generate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Section compares text with the section of that name in a file below docs/, or writes it. A section stands between the lines
// `<!-- generated: name -->` and `<!-- end -->`.
func Section(t *testing.T, file, name, text string) {
	t.Helper()
	path := filepath.Join(root(t), "docs", filepath.FromSlash(file))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, is, after, err := cut(string(content), name)
	if err != nil {
		t.Fatalf("docs/%s: %v", file, err)
	}
	if is == text {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Errorf("docs/%s is out of step with the program, section %q (-is +should be): run make docs\n%s", file, name, cmp.Diff(is, text))
		return
	}
	if err := os.WriteFile(path, []byte(before+text+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// cut finds a section; before and after include the lines around it.
func cut(content, name string) (before, section, after string, err error) {
	begin, end := fmt.Sprintf("<!-- generated: %s -->\n", name), "<!-- end -->"
	at := strings.Index(content, begin)
	if at < 0 {
		return "", "", "", fmt.Errorf("there is no line %q", strings.TrimSpace(begin))
	}
	at += len(begin)
	length := strings.Index(content[at:], end)
	if length < 0 {
		return "", "", "", fmt.Errorf("there is no line %q after %q", end, strings.TrimSpace(begin))
	}
	return content[:at], content[at : at+length], content[at+length:], nil
}

// root is the folder of go.mod, above the package whose test runs.
func root(t *testing.T) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		above := filepath.Dir(folder)
		if above == folder {
			t.Fatal("there is no go.mod above the test")
		}
		folder = above
	}
}

// cell is a text as it can stand in a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

// code is a text in code font, empty when there is none.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}
