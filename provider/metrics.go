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

func registerMetrics(c *Cloud) {
	legacyregistry.CustomMustRegister(&poolMetrics{usage: c.usage})
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
