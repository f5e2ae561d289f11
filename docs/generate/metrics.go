// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/component-base/metrics"
)

// Prefixes of the metrics that are documented: ours, and MetalLB's. The others are those of every Kubernetes component.
var prefixes = []string{"cloud_provider_l2_", "memberlist_", "metallb_"}

// mostLabels is the number of labels that no metric has more of.
const mostLabels = 8

// Registry registers metrics for a test, and gives each vector a child, without which nobody could see it.
type Registry struct{ metrics.KubeRegistry }

// NewRegistry makes one without any metric.
func NewRegistry() Registry { return Registry{metrics.NewKubeRegistry()} }

// MustRegister registers metrics.
func (r Registry) MustRegister(all ...metrics.Registerable) {
	r.KubeRegistry.MustRegister(all...)
	for _, each := range all {
		switch vector := each.(type) {
		case *metrics.CounterVec:
			touch(func(values ...string) error { _, err := vector.GetMetricWithLabelValues(values...); return err })
		case *metrics.GaugeVec:
			touch(func(values ...string) error { _, err := vector.GetMetricWithLabelValues(values...); return err })
		case *metrics.HistogramVec:
			touch(func(values ...string) error { _, err := vector.GetMetricWithLabelValues(values...); return err })
		}
	}
}

// touch asks for a child with as many values as it takes.
func touch(child func(values ...string) error) {
	for count := range mostLabels {
		if child(make([]string, count)...) == nil {
			return
		}
	}
}

// Metrics is a table of the metrics that are gathered, in order of name.
func Metrics(t *testing.T, gatherers ...metrics.Gatherer) string {
	t.Helper()
	lines := map[string]string{}
	for _, gatherer := range gatherers {
		families, err := gatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			name := family.GetName()
			if !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				continue
			}
			stability, help := "", family.GetHelp()
			if inner, ok := strings.CutPrefix(help, "["); ok {
				stability, help, _ = strings.Cut(inner, "] ")
			}
			var labels []string
			for _, label := range family.GetMetric()[0].GetLabel() {
				labels = append(labels, code(label.GetName()))
			}
			slices.Sort(labels)
			lines[name] = fmt.Sprintf("| %s | %s | %s | %s | %s |\n", code(name), strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), cell(help), strings.ToLower(stability))
		}
	}
	names := make([]string, 0, len(lines))
	for name := range lines {
		names = append(names, name)
	}
	slices.Sort(names)
	var table strings.Builder
	table.WriteString("| Metric | Type | Labels | Meaning | Stability |\n|---|---|---|---|---|\n")
	for _, name := range names {
		table.WriteString(lines[name])
	}
	return table.String()
}
