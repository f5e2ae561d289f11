// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// poolMetrics shows the allocator's counters as they are when somebody looks. Only the leader registers it: the
// counters of a controller that stands by would be zero, and in a sum or an alert wrong.
type poolMetrics struct {
	metrics.BaseStableCollector
	usage func() map[string]ipam.Usage
}

var poolGauges = []struct {
	desc  *metrics.Desc
	value func(ipam.Usage) float64
}{
	{poolGauge("addresses_total", "Number of usable IP addresses, per pool."), func(u ipam.Usage) float64 { return float64(u.TotalIPv4) + float64(u.TotalIPv6) }},
	{poolGauge("ipv4_addresses_total", "Number of usable IPv4 addresses, per pool."), func(u ipam.Usage) float64 { return float64(u.TotalIPv4) }},
	{poolGauge("ipv6_addresses_total", "Number of usable IPv6 addresses, per pool."), func(u ipam.Usage) float64 { return float64(u.TotalIPv6) }},
	{poolGauge("addresses_in_use_total", "Number of IP addresses in use, per pool."), func(u ipam.Usage) float64 { return float64(u.InUseIPv4) + float64(u.InUseIPv6) }},
	{poolGauge("ipv4_addresses_in_use_total", "Number of IPv4 addresses in use, per pool."), func(u ipam.Usage) float64 { return float64(u.InUseIPv4) }},
	{poolGauge("ipv6_addresses_in_use_total", "Number of IPv6 addresses in use, per pool."), func(u ipam.Usage) float64 { return float64(u.InUseIPv6) }},
}

func poolGauge(name, help string) *metrics.Desc {
	return metrics.NewDesc("metallb_allocator_"+name, help, []string{"pool"}, nil, metrics.ALPHA, "")
}

// controllerMetrics have no labels: there are as many series at 10,000 Services as at one.
type controllerMetrics struct {
	served        *metrics.Histogram
	eventsDropped *metrics.Counter
}

func newControllerMetrics() *controllerMetrics {
	return &controllerMetrics{
		served: metrics.NewHistogram(&metrics.HistogramOpts{
			Namespace: "cloud_provider_l2", Name: "service_address_duration_seconds",
			Help:           "For each Service, the time from its creation until its status names its first address.",
			Buckets:        []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300},
			StabilityLevel: metrics.ALPHA,
		}),
		eventsDropped: metrics.NewCounter(&metrics.CounterOpts{
			Namespace: "cloud_provider_l2", Name: "events_dropped_total",
			Help:           "Events that were not written, because too many waited for the API server already.",
			StabilityLevel: metrics.ALPHA,
		}),
	}
}

// configMetrics are MetalLB's two about its configuration. Here one pool that cannot be used keeps no other from use;
// stale says that there is such a pool.
type configMetrics struct {
	metrics.BaseStableCollector
	loaded, stale func() bool
}

var (
	configLoaded = metrics.NewDesc("metallb_k8s_client_config_loaded_bool",
		"1 when the pools have been read and addresses can be assigned.", nil, nil, metrics.ALPHA, "")
	configStale = metrics.NewDesc("metallb_k8s_client_config_stale_bool",
		"1 when a pool, or a part of one, is not used as it is written; its condition Ready says why.", nil, nil, metrics.ALPHA, "")
)

// DescribeWithStability implements metrics.StableCollector.
func (*configMetrics) DescribeWithStability(descs chan<- *metrics.Desc) {
	descs <- configLoaded
	descs <- configStale
}

// CollectWithStability implements metrics.StableCollector.
func (m *configMetrics) CollectWithStability(values chan<- metrics.Metric) {
	values <- metrics.NewLazyConstMetric(configLoaded, metrics.GaugeValue, oneIf(m.loaded()))
	values <- metrics.NewLazyConstMetric(configStale, metrics.GaugeValue, oneIf(m.stale()))
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

// registerMetrics is for the leader only.
func registerMetrics(c *Cloud) {
	legacyregistry.MustRegister(c.metrics.served, c.metrics.eventsDropped)
	legacyregistry.CustomMustRegister(&poolMetrics{usage: c.usage}, &configMetrics{loaded: c.ready, stale: c.hasProblems})
}

func (c *Cloud) hasProblems() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pools) > 0
}

func (c *Cloud) usage() map[string]ipam.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allocator.Usage()
}

// DescribeWithStability implements metrics.StableCollector.
func (*poolMetrics) DescribeWithStability(descs chan<- *metrics.Desc) {
	for _, gauge := range poolGauges {
		descs <- gauge.desc
	}
}

// CollectWithStability implements metrics.StableCollector.
func (m *poolMetrics) CollectWithStability(values chan<- metrics.Metric) {
	for pool, usage := range m.usage() {
		for _, gauge := range poolGauges {
			values <- metrics.NewLazyConstMetric(gauge.desc, metrics.GaugeValue, gauge.value(usage), pool)
		}
	}
}
