// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/cloud-provider-l2/cloud-provider-l2/docs/generate"
)

// examples are of each flag of the plugin and of its commands.
var examples = map[string]generate.Examples{
	"":        {"ask-speakers": "false", "product-namespace": "l2-system"},
	"status":  {"all-namespaces": "true", "output": "wide", "selector": "app=web", "watch": "true"},
	"explain": {"output": "yaml"},
	"doctor":  {"output": "json", "probes": "10"},
}

// docs/reference/flags.md has every flag of the plugin, but for those by which every kubectl finds its cluster.
func TestFlagsAreDocumented(t *testing.T) {
	kubectl := pflag.NewFlagSet("kubectl", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(true).AddFlags(kubectl)
	command := newCommand(streams{})
	own := func(name string) bool { return name == "help" || kubectl.Lookup(name) != nil }
	generate.Section(t, "reference/flags.md", "kubectl l2", generate.Flags(t, command.PersistentFlags(), examples[""], own))
	for _, each := range command.Commands() {
		generate.Section(t, "reference/flags.md", "kubectl l2 "+each.Name(), generate.Flags(t, each.LocalNonPersistentFlags(), examples[each.Name()], own))
	}
}
