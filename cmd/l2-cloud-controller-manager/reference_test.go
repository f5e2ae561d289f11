// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/docs/generate"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// docs/reference/flags.md has every flag of the controller and of the command beside it, and those that every Kubernetes component has in common with it.
func TestFlagsAreDocumented(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "") // it is a default
	var common cliflag.NamedFlagSets
	logsapi.AddFlags(logsapi.NewLoggingConfiguration(), common.FlagSet("common"))
	verflag.AddFlags(common.FlagSet("common"))
	shared := common.FlagSet("common")
	command := newCommand(&process{ctx: t.Context()})
	generate.Section(t, "reference/flags.md", "l2-cloud-controller-manager", generate.Flags(command.Flags(), isIn(shared)))
	for _, each := range command.Commands() {
		generate.Section(t, "reference/flags.md", "l2-cloud-controller-manager "+each.Name(), generate.Flags(each.Flags(), isIn(shared)))
	}
	generate.Section(t, "reference/flags.md", "common", generate.Flags(shared, func(string) bool { return false }))
}

func isIn(set *pflag.FlagSet) func(string) bool {
	return func(name string) bool { return set.Lookup(name) != nil }
}

// docs/reference/metrics.md has every metric that the program adds to the provider's.
func TestMetricsAreDocumented(t *testing.T) {
	registry := generate.NewRegistry()
	registry.CustomMustRegister(&unannounced{count: func() map[plan.Reason]int { return map[plan.Reason]int{plan.NoPool: 1} }})
	generate.Section(t, "reference/metrics.md", "l2-cloud-controller-manager", generate.Metrics(t, registry))
}

// What the program and the provider register goes together: of two metrics of one name, the second would end the leader.
func TestMetricsAreRegisteredOnce(t *testing.T) {
	p := &process{ctx: t.Context()}
	if err := newCommand(p).ParseFlags([]string{"--metrics-bind-address=127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	if err := p.serve(); err != nil {
		t.Fatal(err)
	}
	cloud, err := p.flags.cloud()
	if err != nil {
		t.Fatal(err)
	}
	registering.Do(func() { cloud.Initialize(clientBuilder{&rest.Config{Host: "http://127.0.0.1:1"}}, t.Context().Done()) })
}

// registering is once for the process, as in the program.
var registering sync.Once
