// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// patience is what `for` of every alert is shortened to; the expressions are as they are shipped.
const patience = "for: 3s"

// A real Prometheus finds the product through the Services that are shipped, and the alerts that are shipped fire for what is broken, and
// for nothing else.
func TestAlertsFire(t *testing.T) {
	b := begin(t, 3*time.Minute)
	services, err := os.ReadFile(shippedForMonitoring("services.yaml"))
	b.must(err)
	b.apply(string(services))
	rules := regexp.MustCompile(`for: \d+m\b`).ReplaceAllString(shippedRules(t), patience)
	alerts := strings.Count(rules, "- alert: ")
	prometheus, err := b.StartPrometheus(b.ctx, t.TempDir(), rules)
	b.must(err)
	b.later(prometheus.Stop)
	w := &watchman{b, prometheus}
	nodes, err := b.Nodes(b.ctx)
	b.must(err)

	w.counts(`count(up{job="metallb-speaker"} == 1)`, len(nodes))
	w.counts(`count(up{job="metallb-controller"} == 1)`, 1)
	w.counts(`count(kube_node_info)`, len(nodes))
	w.counts(`count(count by (node) (memberlist_members_heard))`, len(nodes)) // by the name of the node, not the pod's
	w.healthy(alerts)
	w.fire("nothing is broken")

	remove := b.apply(pool("alarming", "192.168.1.240"), served("alarming"))
	b.address("alarming")
	w.fire("the pool is exhausted, and not announced", "MetalLBPoolExhausted pool=e2e-alarming", "L2PoolFull pool=e2e-alarming", "L2VIPWithoutEligibleNode reason=NoAdvertisement")
	remove()
	w.fire("pool and Service are gone")

	gone := nodes[len(nodes)-1]
	untaint := b.later(func(ctx context.Context) error { return b.Untaint(ctx, gone) })
	b.must(b.Taint(b.ctx, gone))
	w.fire("a speaker is gone", "MetalLBSpeakerMissing")
	untaint()
	b.must(b.AwaitCalm(b.ctx))
	w.fire("it is back")

	b.controllers(0)
	w.fire("there is no controller", "MetalLBControllerDown")
}

// watchman looks at a Prometheus for a test.
type watchman struct {
	*bench
	prometheus *lab.Prometheus
}

// counts waits until a query has one value, a number.
func (w *watchman) counts(expression string, want int) {
	w.t.Helper()
	w.must(w.prometheus.Await(w.ctx, expression, func([]lab.Alert) error {
		got, err := w.prometheus.Query(w.ctx, expression)
		if err == nil && !slices.Equal(got, []string{fmt.Sprint(want)}) {
			err = fmt.Errorf("it is %v, want %d", got, want)
		}
		return err
	}))
}

// healthy waits until so many alerts have been evaluated without an error.
func (w *watchman) healthy(alerts int) {
	w.t.Helper()
	w.must(w.prometheus.Await(w.ctx, "every rule to be evaluated", func([]lab.Alert) error {
		bad, total, err := w.prometheus.Unhealthy(w.ctx)
		switch {
		case err != nil:
			return err
		case len(bad) > 0:
			return errors.New(strings.Join(bad, ", "))
		case total != alerts:
			return fmt.Errorf("there are %d rules, want %d", total, alerts)
		}
		return nil
	}))
}

// fire waits until these alerts fire, and no other one fires or is about to. Only the labels pool and reason are looked at. Conflicts are not: to a
// Prometheus without a past, those of earlier tests are new.
func (w *watchman) fire(when string, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	start := time.Now()
	w.must(w.prometheus.Await(w.ctx, "the alerts when "+when, func(all []lab.Alert) error {
		var got []string
		for _, alert := range all {
			text := alert.Labels["alertname"]
			if text == "L2AddressConflict" {
				continue
			}
			for _, label := range []string{"pool", "reason"} {
				if value := alert.Labels[label]; value != "" {
					text += " " + label + "=" + value
				}
			}
			if alert.State != "firing" {
				text += " (" + alert.State + ")"
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("there are %q, want %q", got, want)
		}
		return nil
	}))
	w.t.Logf("%s: %q after %v", when, want, round(time.Since(start)))
}
