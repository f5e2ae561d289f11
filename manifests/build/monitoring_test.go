// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

var monitoring = filepath.Join(root, "manifests", "monitoring")

// TestPrometheusRules has Prometheus' own promtool check the rules, and play prometheusrule_test.yaml against them.
func TestPrometheusRules(t *testing.T) {
	promtool := findPromtool(t)
	rule := yaml.MustParse(read(t, "prometheusrule.yaml"))
	spec, err := rule.Pipe(yaml.Lookup("spec"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": spec.MustString(), "tests.yaml": read(t, "prometheusrule_test.yaml")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		command := exec.Command(promtool, args...)
		command.Dir = dir
		if text, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, text)
		}
	}
}

// findPromtool finds the program where it is installed, or where the end-to-end tests have unpacked Debian's package.
func findPromtool(t *testing.T) string {
	t.Helper()
	if program, err := exec.LookPath("promtool"); err == nil {
		return program
	}
	if cache, err := os.UserCacheDir(); err == nil {
		program := filepath.Join(cache, "cloud-provider-l2", "prometheus", "usr", "bin", "promtool")
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	const missing = "promtool is missing: apt-get install prometheus"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// Every alert has a test in which it fires.
func TestEveryAlertIsTested(t *testing.T) {
	tests := read(t, "prometheusrule_test.yaml")
	for _, name := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "prometheusrule.yaml"), -1) {
		if !regexp.MustCompile(`alertname: ` + name[1] + `\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("prometheusrule_test.yaml has no case in which %s fires", name[1])
		}
	}
}

// foreign are metrics that others export.
var foreign = []string{"up", "kube_node_info", "process_resident_memory_bytes", "process_cpu_seconds_total"}

var (
	selector = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|"[^"]*"`)
	grouping = regexp.MustCompile(`\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word     = regexp.MustCompile(`\b[a-z][a-z0-9]*_[a-z0-9_]+\b(\s*\()?|\bup\b`)
)

// Rules and dashboard ask for metrics that the programs have.
func TestMetricsExist(t *testing.T) {
	files := literals(t, "cmd", "ipam", "l2", "provider")
	asked := map[string][]string{}
	for place, expressions := range map[string][]string{"prometheusrule.yaml": ruleExpressions(t), "cloud-provider-l2.json": panelExpressions(t)} {
		if len(expressions) == 0 {
			t.Errorf("%s has no expression", place)
		}
		for _, expression := range expressions {
			found := 0
			for _, name := range word.FindAllString(grouping.ReplaceAllString(selector.ReplaceAllString(expression, ""), ""), -1) {
				if strings.HasSuffix(name, "(") {
					continue // a function
				}
				found++
				asked[name] = append(asked[name], place)
			}
			if found == 0 {
				t.Errorf("%s: no metric found in %s", place, expression)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !slices.Contains(foreign, name) && !slices.ContainsFunc(files, func(strings map[string]bool) bool { return composed(base, strings) }) {
			t.Errorf("no program has the metric %s, which %s asks for", name, strings.Join(asked[name], ", "))
		}
	}
}

// composed says whether a metric's name is one of a file's strings, or some of them in a row: namespace, subsystem and name, or a
// prefix that ends in an underscore and a name.
func composed(name string, strings map[string]bool) bool {
	if strings[name] {
		return true
	}
	for i := 1; i < len(name); i++ {
		if name[i] == '_' && (strings[name[:i]] || strings[name[:i+1]]) && composed(name[i+1:], strings) {
			return true
		}
	}
	return false
}

// literals are the strings in the Go files of some folders, tests left out, file by file.
func literals(t *testing.T, folders ...string) []map[string]bool {
	t.Helper()
	var all []map[string]bool
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			found := map[string]bool{}
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						found[text] = true
					}
				}
				return true
			})
			all = append(all, found)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func ruleExpressions(t *testing.T) []string {
	t.Helper()
	var rule struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Expr string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheusrule.yaml")), &rule); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, group := range rule.Spec.Groups {
		for _, rule := range group.Rules {
			all = append(all, rule.Expr)
		}
	}
	return all
}

func panelExpressions(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "cloud-provider-l2.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
