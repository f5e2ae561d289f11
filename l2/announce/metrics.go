// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"

	"k8s.io/component-base/metrics"
)

// Metrics are this package's counters. Counting takes no lock and allocates nothing: the counter of each VIP and each
// reason is looked up once, beforehand. The names that begin with metallb_ are MetalLB's, with its meaning.
type Metrics struct {
	requests   *metrics.CounterVec
	responses  *metrics.CounterVec
	gratuitous *metrics.CounterVec
	dropped    *metrics.CounterVec

	arpDrops, ndpDrops dropCounters
}

// dropCounters has a counter for each reason but passed.
type dropCounters [reasonCount]metrics.CounterMetric

// vipCounters are the counters of one VIP.
type vipCounters struct {
	requests, responses, gratuitous metrics.CounterMetric
}

// NewMetrics makes the counters and registers them, as in NewMetrics(legacyregistry.MustRegister). Counters that are not
// registered count nothing.
func NewMetrics(register func(...metrics.Registerable)) *Metrics {
	counter := func(name, help string, labels ...string) *metrics.CounterVec {
		return metrics.NewCounterVec(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels)
	}
	m := &Metrics{
		requests: counter("metallb_layer2_requests_received",
			"ARP and NDP requests received for announced addresses.", "ip"),
		responses: counter("metallb_layer2_responses_sent",
			"ARP and NDP replies sent for announced addresses.", "ip"),
		gratuitous: counter("metallb_layer2_gratuitous_sent",
			"Unasked ARP and NDP packets sent to tell neighbours where an announced address is.", "ip"),
		dropped: counter("cloud_provider_l2_dropped_packets_total",
			"ARP and NDP packets not answered, not passed on or not sent, by reason.", "reason", "protocol"),
	}
	if register != nil {
		register(m.requests, m.responses, m.gratuitous, m.dropped)
	}
	for reason := passed + 1; reason < reasonCount; reason++ {
		m.arpDrops[reason] = m.dropped.WithLabelValues(reason.String(), protocolARP)
		m.ndpDrops[reason] = m.dropped.WithLabelValues(reason.String(), protocolNDP)
	}
	return m
}

func (m *Metrics) drops(protocol string) *dropCounters {
	if protocol == protocolNDP {
		return &m.ndpDrops
	}
	return &m.arpDrops
}

func (m *Metrics) vip(addr netip.Addr) vipCounters {
	ip := addr.String()
	return vipCounters{
		requests:   m.requests.WithLabelValues(ip),
		responses:  m.responses.WithLabelValues(ip),
		gratuitous: m.gratuitous.WithLabelValues(ip),
	}
}

// forget removes a VIP's counters: series of addresses that are gone would add up for ever.
func (m *Metrics) forget(addr netip.Addr) {
	label := map[string]string{"ip": addr.String()}
	m.requests.Delete(label)
	m.responses.Delete(label)
	m.gratuitous.Delete(label)
}
