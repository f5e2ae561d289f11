// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/component-base/metrics"
)

func TestSectionsAreFoundByName(t *testing.T) {
	const page = "# Page\n<!-- generated: a -->\none\n<!-- end -->\n<!-- generated: b -->\n<!-- end -->\n<!-- generated: c -->\n"
	for name, tt := range map[string]struct{ before, section, after, err string }{
		"a": {"# Page\n<!-- generated: a -->\n", "one\n", "<!-- end -->\n<!-- generated: b -->\n<!-- end -->\n<!-- generated: c -->\n", ""},
		"b": {"# Page\n<!-- generated: a -->\none\n<!-- end -->\n<!-- generated: b -->\n", "", "<!-- end -->\n<!-- generated: c -->\n", ""},
		"c": {err: `there is no line "<!-- end -->" after "<!-- generated: c -->"`},
		"d": {err: `there is no line "<!-- generated: d -->"`},
	} {
		before, section, after, err := cut(page, name)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if before != tt.before || section != tt.section || after != tt.after || text != tt.err {
			t.Errorf("%s: %q, %q, %q, %q", name, before, section, after, text)
		}
	}
}

func TestFlagsAreTabulated(t *testing.T) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.DurationP("wait", "w", time.Second, "How long,\nat most.")
	set.String("name", "a|b", "Its name.")
	set.Bool("all", false, "Everything.")
	set.Bool("skipped", false, "Not told.")
	const want = "| Flag | Value | Default | Example | Meaning |\n|---|---|---|---|---|\n" +
		"| `--all` | true or false | `false` | `--all` | Everything. |\n" +
		"| `--name` | text | `a\\|b` | `--name=c` | Its name. |\n" +
		"| `-w, --wait` | duration, as 1s | `1s` | `--wait=1m` | How long, at most. |\n"
	examples := Examples{"all": "true", "name": "c", "wait": "1m"}
	if got := Flags(t, set, examples, func(name string) bool { return name == "skipped" }); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestMetricsAreTabulated(t *testing.T) {
	registry := NewRegistry()
	registry.MustRegister(
		metrics.NewCounterVec(&metrics.CounterOpts{Name: "memberlist_b_total", Help: "Bees.", StabilityLevel: metrics.ALPHA}, []string{"z", "a"}),
		metrics.NewGauge(&metrics.GaugeOpts{Name: "metallb_c", Help: "Seas.", StabilityLevel: metrics.STABLE}),
		metrics.NewHistogramVec(&metrics.HistogramOpts{Name: "cloud_provider_l2_a_seconds", Help: "Ays.", StabilityLevel: metrics.ALPHA}, []string{"by"}),
		metrics.NewGauge(&metrics.GaugeOpts{Name: "rest_client_x", Help: "Not ours."}))
	const want = "| Metric | Type | Labels | Meaning | Stability |\n|---|---|---|---|---|\n" +
		"| `cloud_provider_l2_a_seconds` | histogram | `by` | Ays. | alpha |\n" +
		"| `memberlist_b_total` | counter | `a`, `z` | Bees. | alpha |\n" +
		"| `metallb_c` | gauge |  | Seas. | stable |\n"
	if got := Metrics(t, registry); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
