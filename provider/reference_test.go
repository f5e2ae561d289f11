// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/docs/generate"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// docs/reference/metrics.md has every metric of the provider.
func TestMetricsAreDocumented(t *testing.T) {
	c := New()
	registry := generate.NewRegistry()
	registry.MustRegister(c.metrics.served, c.metrics.eventsDropped)
	registry.CustomMustRegister(&poolMetrics{usage: func() map[string]ipam.Usage { return map[string]ipam.Usage{"a": {}} }}, &configMetrics{loaded: c.ready, stale: c.hasProblems})
	generate.Section(t, "reference/metrics.md", "provider", generate.Metrics(t, registry))
}
