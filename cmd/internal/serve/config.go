// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// ShowConfiguration makes the two metrics that MetalLB's users alert on, with its names: whether a configuration has been loaded, and
// whether the one in use may be outdated. Called once by a program.
func ShowConfiguration(loaded, stale func() bool) {
	flag := func(name, help string, is func() bool) metrics.GaugeFunc {
		return metrics.NewGaugeFunc(&metrics.GaugeOpts{
			Namespace: "metallb", Subsystem: "k8s_client", Name: name, Help: help, StabilityLevel: metrics.ALPHA,
		}, func() float64 {
			if is() {
				return 1
			}
			return 0
		})
	}
	legacyregistry.RawMustRegister(
		flag("config_loaded_bool", "1 when pools and advertisements have been read at least once.", loaded),
		flag("config_stale_bool", "1 while the API server does not answer, so that pools and advertisements may have changed unnoticed.", stale))
}
