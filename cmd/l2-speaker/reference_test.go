// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/version/verflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/serve"
	"github.com/cloud-provider-l2/cloud-provider-l2/docs/generate"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
)

// examples are of each flag of the speaker and of the commands beside it.
var examples = map[string]generate.Examples{
	"l2-speaker": {
		"exclude-interfaces": "^(lo|docker.*|veth.*|storage.*)$", "failover": "fast", "flap-backoff": "10s", "gratuitous-interval": "1m",
		"heartbeat-port": "17946", "ignore-exclude-lb": "true", "kubeconfig": "/etc/kubernetes/speaker.conf", "leave-within": "15s",
		"load-balancer-class": "example.com/l2", "metrics-bind-address": ":17472", "namespace": "l2-system", "node-name": "node-1",
		"on-api-loss": "withdraw", "rebalance-interval": "0", "serve-classless": "false", "status-socket": "/run/l2-speaker/other.sock",
	},
	"status": {"output": "json", "status-socket": "/run/l2-speaker/other.sock"},
	"probe":  {"interface": "eth0,eth1", "output": "json", "status-socket": "/run/l2-speaker/other.sock", "timeout": "3s"},
}

// docs/reference/flags.md has every flag of the speaker and of the commands beside it.
func TestFlagsAreDocumented(t *testing.T) {
	t.Setenv("NODE_NAME", "") // they are defaults
	t.Setenv("POD_NAMESPACE", "")
	common := pflag.NewFlagSet("common", pflag.ContinueOnError)
	logsapi.AddFlags(logsapi.NewLoggingConfiguration(), common)
	verflag.AddFlags(common)
	logs.AddFlags(common)
	skip := func(name string) bool { return name == "help" || common.Lookup(name) != nil }
	command := newCommand()
	generate.Section(t, "reference/flags.md", "l2-speaker", generate.Flags(t, command.Flags(), examples[command.Name()], skip))
	for _, each := range command.Commands() {
		generate.Section(t, "reference/flags.md", "l2-speaker "+each.Name(), generate.Flags(t, each.Flags(), examples[each.Name()], skip))
	}
}

// The speaker would start with the examples, all of them at once.
func TestExamplesOfFlagsAreValid(t *testing.T) {
	var o options
	flags := pflag.NewFlagSet("speaker", pflag.ContinueOnError)
	o.addFlags(flags)
	for name, value := range examples["l2-speaker"] {
		if err := flags.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if err := o.validate(); err != nil {
		t.Error(err)
	}
}

// showConfiguration registers once for the process, as the program does.
var showConfiguration = sync.OnceFunc(func() {
	serve.ShowConfiguration(func() bool { return true }, func() bool { return false })
})

// docs/reference/metrics.md has every metric of the speaker.
func TestMetricsAreDocumented(t *testing.T) {
	registry := generate.NewRegistry()
	announce.NewMetrics(registry.MustRegister)
	election.NewMetrics(registry.MustRegister)

	membership.NewTransport(t.Context(), membership.TransportConfig{})
	membership.CountDropped(membership.DropOwn)
	showConfiguration()
	announced.WithLabelValues("", "", "", "").Set(1)
	t.Cleanup(announced.Reset)
	conflicts.WithLabelValues("", "").Inc()
	t.Cleanup(conflicts.Reset)
	generate.Section(t, "reference/metrics.md", "l2-speaker", generate.Metrics(t, registry, legacyregistry.DefaultGatherer))
}
