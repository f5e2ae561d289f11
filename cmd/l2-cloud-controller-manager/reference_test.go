// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
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

// examples are of each flag of the controller and of the command beside it, and of those that both programs have.
var examples = map[string]generate.Examples{
	"l2-cloud-controller-manager": {
		"cloud-config": "/etc/cloud-config/config.yaml", "cloud-provider": "l2", "concurrent-service-syncs": "64", "ignore-exclude-lb": "true",
		"kube-api-burst": "200", "kube-api-qps": "100", "kubeconfig": "/etc/kubernetes/controller.conf", "load-balancer-class": "example.com/l2",
		"master": "https://192.168.1.10:6443", "metrics-bind-address": ":17472", "namespace": "l2-system", "serve-classless": "false",
		"share-across-namespaces": "false",
	},
	"cleanup": {"kubeconfig": "/etc/kubernetes/admin.conf", "master": "https://192.168.1.10:6443", "namespace": "l2-system"},
	"common": {
		"log-flush-frequency": "1s", "log-json-info-buffer-size": "64Ki", "log-json-split-stream": "true", "log-text-info-buffer-size": "64Ki",
		"log-text-split-stream": "true", "logging-format": "json", "v": "4", "version": "raw", "vmodule": "loop=4",
	},
}

// docs/reference/flags.md has every flag of the controller and of the command beside it, and those that every Kubernetes component has in common with it.
func TestFlagsAreDocumented(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "") // it is a default
	var common cliflag.NamedFlagSets
	logsapi.AddFlags(logsapi.NewLoggingConfiguration(), common.FlagSet("common"))
	verflag.AddFlags(common.FlagSet("common"))
	shared := common.FlagSet("common")
	command := newCommand(&process{ctx: t.Context()})
	generate.Section(t, "reference/flags.md", "l2-cloud-controller-manager", generate.Flags(t, command.Flags(), examples[command.Name()], isIn(shared)))
	for _, each := range command.Commands() {
		generate.Section(t, "reference/flags.md", "l2-cloud-controller-manager "+each.Name(), generate.Flags(t, each.Flags(), examples[each.Name()], isIn(shared)))
	}
	t.Cleanup(func() { shared.Set("version", "false") }) // which is the process's
	generate.Section(t, "reference/flags.md", "common", generate.Flags(t, shared, examples["common"], func(string) bool { return false }))
}

// The controller would start with the examples, all of them at once, where there is the file.
func TestExamplesOfFlagsAreValid(t *testing.T) {
	p := &process{ctx: t.Context()}
	command := newCommand(p)
	for name, value := range examples[command.Name()] {
		if name == "cloud-config" {
			value = filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(value, []byte("apiVersion: cloud-provider-l2/v1\nkind: CloudConfig\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := command.Flags().Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if err := p.flags.validate(); err != nil {
		t.Error(err)
	}
	if _, err := p.flags.cloud(); err != nil {
		t.Error(err)
	}
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
