// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-base/metrics"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// gauges reads a pool's metrics as a scrape does: total, IPv4, IPv6, and the same of those in use.
func (r *rig) gauges(pool string) []float64 {
	r.t.Helper()
	registry := metrics.NewKubeRegistry()
	registry.CustomMustRegister(&poolMetrics{usage: r.cloud.usage})
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			if metric.Label[0].GetValue() == pool {
				values[strings.TrimPrefix(family.GetName(), "metallb_allocator_")] = metric.Gauge.GetValue()
			}
		}
	}
	if len(values) == 0 {
		return nil
	}
	var all []float64
	for _, what := range []string{"", "in_use_"} {
		for _, family := range []string{"", "ipv4_", "ipv6_"} {
			all = append(all, values[family+"addresses_"+what+"total"])
		}
	}
	return all
}

func (r *rig) wantGauges(pool string, want ...float64) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.gauges(pool)); diff != "" {
		r.t.Errorf("metrics of %s (-want +got):\n%s", pool, diff)
	}
}

func TestPoolMetricsCountAddresses(t *testing.T) {
	const saturated = float64(math.MaxInt64)
	for name, tt := range map[string]struct {
		addresses        []string
		avoidBuggy       bool
		total, four, six float64
	}{
		"C01 a network":             {[]string{"1.2.3.0/24"}, false, 256, 256, 0},
		"C02 two networks":          {[]string{"1.2.3.0/24", "2.3.4.128/25"}, false, 384, 384, 0},
		"C03 without buggy ones":    {[]string{"1.2.3.0/24", "2.3.4.128/25"}, true, 381, 381, 0},
		"C04 with a /64":            {[]string{"1.2.3.0/24", "2.3.4.128/25", "1000::/64"}, true, saturated + 381, 381, saturated},
		"C05 small, of both":        {[]string{"1.2.3.0/31", "1000::/127"}, true, 3, 1, 2},
		"only a buggy address":      {[]string{"192.168.1.0/32"}, true, 0, 0, 0},
		"two /64, IPv6 before IPv4": {[]string{"1000::/64", "2000::/64", "1.2.3.0/32"}, false, saturated + 1, 1, saturated},
	} {
		t.Run(name, func(t *testing.T) {
			pool := addressPool("a", tt.addresses...)
			pool.Spec.AvoidBuggyIPs = tt.avoidBuggy
			play(t, Options{}, objects(pool), func(r *rig) { r.wantGauges("a", tt.total, tt.four, tt.six, 0, 0, 0) })
		})
	}
}

func TestC06PoolMetricsAfterEveryOperation(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "1.2.3.4/30", "1000::4/126")), func(r *rig) {
		r.wantGauges("a", 8, 4, 4, 0, 0, 0)
		r.create(service("one"))
		r.wantGauges("a", 8, 4, 4, 1, 1, 0)
		r.create(service("two", families(v1.IPFamilyPolicySingleStack, v1.IPv6Protocol)))
		r.wantGauges("a", 8, 4, 4, 2, 1, 1)
		r.remove("one")
		r.wantGauges("a", 8, 4, 4, 1, 0, 1)
		r.remove("two")
		r.wantGauges("a", 8, 4, 4, 0, 0, 0)
		key := annotated("metallb.io/allow-shared-ip", "key")
		for i := range 3 {
			r.create(service(fmt.Sprint("shared", i), key, port(int32(80+i))))
			r.wantGauges("a", 8, 4, 4, 1, 1, 0)
		}
		for i, inUse := range []float64{1, 1, 0} {
			r.remove(fmt.Sprint("shared", i))
			r.wantGauges("a", 8, 4, 4, inUse, inUse, 0)
		}
		r.editPool("a", setAddresses("1.2.3.4/31"))
		r.wantGauges("a", 2, 2, 0, 0, 0, 0)
		r.createPoolSoon(&v1beta1.IPAddressPool{ObjectMeta: addressPool("b").ObjectMeta, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"1.2.4.0/31"}}})
		r.deletePool("a")
		r.wantGauges("a")
		r.wantGauges("b", 2, 2, 0, 0, 0, 0)
	})
}

// gathered reads the metrics that are registered by a function, without their labels: values, and of histograms count and sum.
func gathered(t *testing.T, register func(metrics.KubeRegistry)) map[string]float64 {
	t.Helper()
	registry := metrics.NewKubeRegistry()
	register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			if histogram := metric.Histogram; histogram != nil {
				values[family.GetName()+"_count"], values[family.GetName()+"_sum"] = float64(histogram.GetSampleCount()), math.Round(histogram.GetSampleSum())
			} else {
				values[family.GetName()] = metric.Gauge.GetValue()
			}
		}
	}
	return values
}

// TestTimeToAddress: from when the controller sees a Service until it sees its first address in its status.
func TestTimeToAddress(t *testing.T) {
	play(t, Options{}, objects(service("had", holding("10.0.0.0"))), func(r *rig) {
		want := func(what string, count, sum float64) {
			t.Helper()
			r.settle()
			got := gathered(t, func(again metrics.KubeRegistry) { again.MustRegister(r.cloud.metrics.served) })
			if diff := cmp.Diff(map[string]float64{"cloud_provider_l2_service_address_duration_seconds_count": count, "cloud_provider_l2_service_address_duration_seconds_sum": sum}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		r.create(service("web"))
		r.create(service("gone"))
		r.create(service("other", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeClusterIP }))
		time.Sleep(30 * time.Second)
		want("nobody has an address", 0, 0)
		r.remove("gone")
		r.createPool(addressPool("a", "10.0.0.0/30"))
		want("web waited", 1, 31)
		r.edit("web", annotated("metallb.io/loadBalancerIPs", "10.0.0.3"))
		want("another address is no first one", 1, 31)
		r.edit("other", func(svc *v1.Service) { svc.Spec.Type = v1.ServiceTypeLoadBalancer })
		want("from when it is to have one", 2, 31)
		if waiting := len(r.cloud.services.waiting); waiting != 0 {
			t.Errorf("%d Services are remembered", waiting)
		}
	})
}

func TestConfigurationMetrics(t *testing.T) {
	for name, tt := range map[string]struct {
		pools         []runtime.Object
		loaded, stale float64
	}{
		"no pool":        {nil, 1, 0},
		"pools in order": {objects(addressPool("a", "10.0.0.0/30")), 1, 0},
		"pools overlap":  {objects(addressPool("a", "10.0.0.0/30"), addressPool("b", "10.0.0.0/30")), 1, 1},
		"not readable":   {objects(addressPool("a", "10.0.0.1/30")), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, tt.pools, func(r *rig) {
				got := gathered(t, func(registry metrics.KubeRegistry) {
					registry.CustomMustRegister(&configMetrics{loaded: r.cloud.ready, stale: r.cloud.hasProblems})
				})
				if diff := cmp.Diff(map[string]float64{"metallb_k8s_client_config_loaded_bool": tt.loaded, "metallb_k8s_client_config_stale_bool": tt.stale}, got); diff != "" {
					t.Errorf("metrics (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("standing by", func(t *testing.T) {
		cloud := New()
		got := gathered(t, func(registry metrics.KubeRegistry) {
			registry.CustomMustRegister(&configMetrics{loaded: cloud.ready, stale: cloud.hasProblems})
		})
		if got["metallb_k8s_client_config_loaded_bool"] != 0 {
			t.Error("loaded before anything was read")
		}
	})
}
