// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// What is shipped for Prometheus, before Prometheus' own promtool. No cluster has a part in it: it is here because the end-to-end tests have
// Prometheus on every machine, and unit tests have not.

// promtool takes the rules as they are shipped, and prometheusrule_test.yaml played against them comes out as it says.
func TestPrometheusRules(t *testing.T) {
	tests, err := os.ReadFile(shippedForMonitoring("prometheusrule_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), shippedRules(t))
	write(t, filepath.Join(dir, "tests.yaml"), string(tests))
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		if _, err := lab.Promtool(t.Context(), dir, args...); err != nil {
			t.Error(err)
		}
	}
}

// promtool takes every query of the dashboard, as a recording rule. Grafana puts a time for $__rate_interval.
func TestDashboardQueriesParse(t *testing.T) {
	text, err := os.ReadFile(shippedForMonitoring("cloud-provider-l2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	count := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			count++
			expression := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
			if strings.Contains(expression, "$") {
				t.Errorf("panel %q asks for a variable that this test does not know: %s", panel.Title, target.Expr)
			}
			fmt.Fprintf(&rules, "      - {record: 'panel%d:%s', expr: %q}\n", panel.ID, target.RefID, expression)
		}
	}
	if count == 0 {
		t.Fatal("the dashboard has no query")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), rules.String())
	said, err := lab.Promtool(t.Context(), dir, "check", "rules", "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d rules found", count); !strings.Contains(said, want) {
		t.Errorf("promtool does not say %q but\n%s", want, said)
	}
}

// shippedRules are the groups of the PrometheusRule, as a file of rules.
func shippedRules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(shippedForMonitoring("prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rule struct{ Spec json.RawMessage }
	if err := yaml.Unmarshal(text, &rule); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.JSONToYAML(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(spec)
}

func shippedForMonitoring(file string) string {
	return filepath.Join(shared.Root, "manifests", "monitoring", file)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
