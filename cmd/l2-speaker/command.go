// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
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
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// leastGratuitousInterval keeps a thousand VIPs on as many nodes from being a storm of broadcasts.
const leastGratuitousInterval = 10 * time.Second

// options are the speaker's flags.
type options struct {
	node, namespace    string
	kubeconfig         string
	metricsAddress     string
	failover           string
	onAPILoss          string
	excludedInterfaces string
	statusSocket       string
	leaveWithin        time.Duration
	gratuitousInterval time.Duration
	rebalanceInterval  time.Duration
	flapBackoff        time.Duration
	heartbeatPort      uint16
	selection          cluster.Selection
	logs               *logsapi.LoggingConfiguration
}

func newCommand() *cobra.Command {
	o := &options{logs: logsapi.NewLoggingConfiguration()}
	command := &cobra.Command{
		Use:   "l2-speaker",
		Short: "Answers ARP and NDP for the VIPs of LoadBalancer Services",
		Long: `The speaker answers on the LAN for the addresses of Services of type LoadBalancer. For each address one
speaker of the cluster is elected through a Lease; when it stops, is drained, dies or loses its cable, another takes over.

Beside a running speaker, in its container:
  l2-speaker status          says what it knows and does
  l2-speaker probe ADDRESS   asks the LAN who answers for an address`,
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
	cliflag.SetUsageAndHelpFunc(command, sets, helpWidth)
	command.CompletionOptions.DisableDefaultCmd = true
	command.SetHelpCommand(&cobra.Command{Hidden: true})
	command.AddCommand(newStatusCommand(), newProbeCommand())
	logs.InitLogs()
	return command
}

// helpWidth is how wide help is printed, in columns.
const helpWidth = 120

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "Name of the node this speaker runs on. Default: the environment's NODE_NAME.")
	flags.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the Leases, pools and advertisements. Default: the environment's POD_NAMESPACE.")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "Path to a kubeconfig file. Default: the pod's service account.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":7472", "Address and port of /metrics, /healthz and /readyz, plain HTTP. Empty: not served.")
	flags.StringVar(&o.failover, "failover", "default", "How soon a silent speaker is taken for dead: 'default' after 0.55 s of silence, or 'fast' after 0.275 s, which takes a busy one for dead more easily.")
	flags.StringVar(&o.onAPILoss, "on-api-loss", "keep", "What a speaker that cannot reach the API server does with the VIPs it announces: 'keep' answering until it hears a successor, or 'withdraw' when its session runs out, after 4 s to 40 s, by the number of speakers.")
	flags.DurationVar(&o.flapBackoff, "flap-backoff", election.DefaultTiming().FenceBackoff, "How long a speaker whose sessions came to a bad end more than once takes no VIPs. Each time more doubles it, up to "+election.DefaultTiming().FenceBackoffMax.String()+"; as long a calm makes up for everything. 0: never.")
	flags.DurationVar(&o.rebalanceInterval, "rebalance-interval", election.DefaultTiming().RebalanceInterval, "The least time between two VIPs that this speaker hands over only for a better spread, or to a preferred node. 0: it never does.")
	flags.DurationVar(&o.gratuitousInterval, "gratuitous-interval", 0, "How often each VIP is announced again though nothing has changed, for switches that forget; at least "+leastGratuitousInterval.String()+". 0: never.")
	flags.Uint16Var(&o.heartbeatPort, "heartbeat-port", names.HeartbeatPort, "UDP port of heartbeats. Must be the same on all nodes.")
	flags.StringVar(&o.excludedInterfaces, "exclude-interfaces", announce.DefaultExcludeInterfaces, "Regular expression of the names of interfaces that VIPs are never announced on. Empty: none by name. Loopback, point-to-point and enslaved ones are left out anyway.")
	flags.StringVar(&o.statusSocket, "status-socket", defaultStatusSocket, "Path of the Unix socket on which 'l2-speaker status' asks. Empty: none.")
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
	if most := election.DefaultTiming().FenceBackoffMax; o.flapBackoff < 0 || o.flapBackoff > most {
		errs = append(errs, fmt.Errorf("--flap-backoff=%s: must be 0, which turns it off, or up to %s", o.flapBackoff, most))
	}
	if o.rebalanceInterval < 0 {
		errs = append(errs, fmt.Errorf("--rebalance-interval=%s: must be 0, which turns it off, or more", o.rebalanceInterval))
	}
	if o.gratuitousInterval != 0 && o.gratuitousInterval < leastGratuitousInterval {
		errs = append(errs, fmt.Errorf("--gratuitous-interval=%s: must be 0, which turns it off, or at least %s", o.gratuitousInterval, leastGratuitousInterval))
	}
	if o.heartbeatPort == 0 {
		errs = append(errs, errors.New("--heartbeat-port=0: must be a port, from 1 to 65535"))
	}
	if o.metricsAddress != "" {
		if _, _, err := net.SplitHostPort(o.metricsAddress); err != nil {
			errs = append(errs, fmt.Errorf("--metrics-bind-address=%s: %w: write for example :7472", o.metricsAddress, err))
		}
	}
	return errors.Join(errs...)
}

func (o *options) timing() election.Timing {
	timing := election.DefaultTiming()
	if o.failover == "fast" {
		timing = election.FastTiming()
	}
	timing.FenceBackoff, timing.RebalanceInterval = o.flapBackoff, o.rebalanceInterval
	return timing
}
