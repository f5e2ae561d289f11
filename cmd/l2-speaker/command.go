// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
)

// options are the speaker's flags.
type options struct {
	node, namespace    string
	kubeconfig         string
	metricsAddress     string
	failover           string
	onAPILoss          string
	excludedInterfaces string
	leaveWithin        time.Duration
	selection          cluster.Selection
	logs               *logsapi.LoggingConfiguration
}

func newCommand() *cobra.Command {
	o := &options{logs: logsapi.NewLoggingConfiguration()}
	command := &cobra.Command{
		Use:   "l2-speaker",
		Short: "Answers ARP and NDP for the VIPs of LoadBalancer Services",
		Long: `The speaker answers on the LAN for the addresses of Services of type LoadBalancer. For each address one
speaker of the cluster is elected through a Lease; when it stops, is drained, dies or loses its cable, another takes over.`,
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := o.validate(); err != nil {
				return err
			}
			if err := logsapi.ValidateAndApply(o.logs, nil); err != nil {
				return err
			}
			return run(command.Context(), o)
		},
	}
	sets := cliflag.NamedFlagSets{}
	o.addFlags(sets.FlagSet("speaker"))
	logsapi.AddFlags(o.logs, sets.FlagSet("logs"))
	verflag.AddFlags(sets.FlagSet("misc"))
	for _, set := range sets.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	cliflag.SetUsageAndHelpFunc(command, sets, 120)
	logs.InitLogs()
	return command
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "Name of the node this speaker runs on. Default: the environment's NODE_NAME.")
	flags.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the Leases, pools and advertisements. Default: the environment's POD_NAMESPACE.")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "Path to a kubeconfig file. Default: the pod's service account.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":7472", "Address and port of /metrics, /healthz and /readyz, plain HTTP. Empty: not served.")
	flags.StringVar(&o.failover, "failover", "default", "How soon a silent speaker is taken for dead: 'default' after 0.55 s of silence, or 'fast' after 0.275 s, which takes a busy one for dead more easily.")
	flags.StringVar(&o.onAPILoss, "on-api-loss", "keep", "What a speaker that cannot reach the API server does with the VIPs it announces: 'keep' answering until it hears a successor, or 'withdraw' when its session runs out after 4 s.")
	flags.StringVar(&o.excludedInterfaces, "exclude-interfaces", announce.DefaultExcludeInterfaces, "Regular expression of the names of interfaces that VIPs are never announced on. Loopback, point-to-point and enslaved ones are left out anyway.")
	flags.DurationVar(&o.leaveWithin, "leave-within", 20*time.Second, "How long a speaker that is told to stop may take to hand its VIPs over. Less than the pod's terminationGracePeriodSeconds.")
	flags.StringVar(&o.selection.LoadBalancerClass, "load-balancer-class", "", "Announce Services of this loadBalancerClass. Must be the controller's. Empty: none that has a class.")
	flags.BoolVar(&o.selection.ServeClassless, "serve-classless", true, "Announce Services without a loadBalancerClass. Must be the controller's.")
	flags.BoolVar(&o.selection.IgnoreExcludeLabel, "ignore-exclude-lb", false, "Announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers.")
}

func (o *options) validate() error {
	var errs []error
	if o.node == "" {
		errs = append(errs, errors.New("--node-name is empty: set it, or NODE_NAME in the environment, to the name of the node"))
	}
	if o.namespace == "" {
		errs = append(errs, errors.New("--namespace is empty: set it, or POD_NAMESPACE in the environment, as in metallb-system"))
	}
	if o.failover != "default" && o.failover != "fast" {
		errs = append(errs, fmt.Errorf("--failover=%s: must be 'default' or 'fast'", o.failover))
	}
	if o.onAPILoss != "keep" && o.onAPILoss != "withdraw" {
		errs = append(errs, fmt.Errorf("--on-api-loss=%s: must be 'keep' or 'withdraw'", o.onAPILoss))
	}
	if _, err := regexp.Compile(o.excludedInterfaces); err != nil {
		errs = append(errs, fmt.Errorf("--exclude-interfaces: %w", err))
	}
	if o.leaveWithin <= 0 {
		errs = append(errs, fmt.Errorf("--leave-within=%s: must be more than 0", o.leaveWithin))
	}
	return errors.Join(errs...)
}

func (o *options) timing() election.Timing {
	if o.failover == "fast" {
		return election.FastTiming()
	}
	return election.DefaultTiming()
}
