// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/kyaml/yaml"
	strict "sigs.k8s.io/yaml"
)

var monitoring = filepath.Join(root, "manifests", "monitoring")

// The objects for the Prometheus operator have the fields that its kinds have, and no others.
func TestPrometheusOperatorTakesTheObjects(t *testing.T) {
	for name, kinds := range map[string][]any{
		"prometheusrule.yaml":  {&monitoringv1.PrometheusRule{}},
		"servicemonitors.yaml": {&monitoringv1.ServiceMonitor{}, &monitoringv1.ServiceMonitor{}},
	} {
		documents := strings.Split(read(t, name), "\n---\n")
		if len(documents) != len(kinds) {
			t.Errorf("%s has %d objects, this test knows %d", name, len(documents), len(kinds))
			continue
		}
		for i, kind := range kinds {
			if err := strict.UnmarshalStrict([]byte(documents[i]), kind); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want := monitoringv1.SchemeGroupVersion.WithKind(reflect.TypeOf(kind).Elem().Name())
			if got := kind.(runtime.Object).GetObjectKind().GroupVersionKind(); got != want {
				t.Errorf("%s has a %s, want a %s", name, got, want)
			}
		}
	}
}

// Each ServiceMonitor selects one of the Services that are shipped, and a port that it has.
func TestServiceMonitorsSelectServices(t *testing.T) {
	for i, document := range strings.Split(read(t, "servicemonitors.yaml"), "\n---\n") {
		var monitor monitoringv1.ServiceMonitor
		if err := strict.UnmarshalStrict([]byte(document), &monitor); err != nil {
			t.Fatal(err)
		}
		var selected []string
		for _, text := range strings.Split(read(t, "services.yaml"), "\n---\n") {
			var service corev1.Service
			if err := strict.UnmarshalStrict([]byte(text), &service); err != nil {
				t.Fatal(err)
			}
			by, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
			if err != nil {
				t.Fatal(err)
			}
			if by.Matches(labels.Set(service.Labels)) && service.Namespace == monitor.Namespace && service.Spec.Ports[0].Name == monitor.Spec.Endpoints[0].Port {
				selected = append(selected, service.Name)
			}
		}
		if want := []string{[]string{"metallb-controller", "metallb-speaker"}[i]}; monitor.Name != want[0] || !slices.Equal(selected, want) {
			t.Errorf("ServiceMonitor %s selects the Services %v, want %v", monitor.Name, selected, want)
		}
	}
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

// foreign are metrics that others export, or every program does.
var foreign = []string{"up", "kube_node_info", "process_resident_memory_bytes", "process_cpu_seconds_total"}

// targetLabels are those that Prometheus has for each program it scrapes. What speakers export gets the node by their ServiceMonitor.
var targetLabels = []string{"job", "instance", "namespace", "pod", "container", "service", "endpoint", "node"}

var (
	selector = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|"[^"]*"`)
	matcher  = regexp.MustCompile(`[{,]\s*(\w+)\s*(=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	word     = regexp.MustCompile(`\b[a-z][a-z0-9]*_[a-z0-9_]+\b(\s*\()?|\bup\b`)
)

// metricsAsked are the metrics in an expression, functions left out.
func metricsAsked(expression string) []string {
	var asked []string
	for _, name := range word.FindAllString(grouping.ReplaceAllString(selector.ReplaceAllString(expression, ""), ""), -1) {
		if !strings.HasSuffix(name, "(") {
			asked = append(asked, name)
		}
	}
	return asked
}

// labelsAsked are the labels by which an expression selects and groups.
func labelsAsked(expression string) []string {
	var asked []string
	for _, match := range matcher.FindAllStringSubmatch(expression, -1) {
		asked = append(asked, match[1])
	}
	for _, match := range grouping.FindAllStringSubmatch(expression, -1) {
		asked = append(asked, strings.FieldsFunc(match[2], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return asked
}

// Rules and dashboard ask for metrics that docs/reference/metrics.md has, and for labels that these have.
func TestMetricsExist(t *testing.T) {
	known := documentedMetrics(t)
	for place, expressions := range map[string][]string{"prometheusrule.yaml": ruleExpressions(t), "cloud-provider-l2.json": panelExpressions(t)} {
		if len(expressions) == 0 {
			t.Errorf("%s has no expression", place)
		}
		for _, expression := range expressions {
			asked := metricsAsked(expression)
			if len(asked) == 0 {
				t.Errorf("%s: no metric found in %s", place, expression)
			}
			labels := slices.Clone(targetLabels)
			for _, name := range asked {
				of, found := known[name]
				if !found && !slices.Contains(foreign, name) {
					t.Errorf("%s: docs/reference/metrics.md has no metric %s: %s", place, name, expression)
				}
				labels = append(labels, of...)
			}
			for _, label := range labelsAsked(expression) {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: nothing has the label %s in %s", place, label, expression)
				}
			}
		}
	}
}

var documented = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([^|]*)\\|")

// documentedMetrics are the series of docs/reference/metrics.md, which is generated from the programs, with their labels.
func documentedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for _, line := range documented.FindAllStringSubmatch(string(text), -1) {
		name, kind := line[1], line[2]
		labels := strings.FieldsFunc(line[3], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		if kind != "histogram" {
			known[name] = append(known[name], labels...)
			continue
		}
		known[name+"_bucket"] = append(labels, "le")
		known[name+"_count"], known[name+"_sum"] = labels, labels
	}
	if len(known) < 20 {
		t.Fatalf("only %d series found in docs/reference/metrics.md: has its form changed?", len(known))
	}
	return known
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

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
