// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cloud-provider/options"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

// flags are our own, beside those of every cloud-controller-manager.
type flags struct {
	namespace         string
	metricsAddress    string
	loadBalancerClass string
	serveClassless    bool

	shareAcrossNamespaces bool
}

func (f *flags) add(sets *cliflag.NamedFlagSets) {
	set := sets.FlagSet("l2")
	set.StringVar(&f.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "metallb-system"),
		"Namespace of the IPAddressPools, of the Leases and of the memberlist Secret. $POD_NAMESPACE if that is set.")
	set.StringVar(&f.metricsAddress, "metrics-bind-address", ":7472",
		"Address on which /metrics, /healthz and /readyz are served over plain HTTP.")
	set.StringVar(&f.loadBalancerClass, "load-balancer-class", "",
		"Serve Services with this spec.loadBalancerClass too. Services with another class are never touched.")
	set.BoolVar(&f.serveClassless, "serve-classless", true,
		"Serve Services without a spec.loadBalancerClass. Turn it off when another controller does.")
	set.BoolVar(&f.shareAcrossNamespaces, "share-across-namespaces", true,
		"Let Services of different namespaces share an address by the same allow-shared-ip. Turned off, those that share one already go on.")
}

func (f *flags) provider() provider.Options {
	return provider.Options{
		Namespace:         f.namespace,
		LoadBalancerClass: f.loadBalancerClass,
		HideClassless:     !f.serveClassless,

		SeparateNamespaces: !f.shareAcrossNamespaces,
	}
}

// defaultOptions are those of every cloud-controller-manager, set so that none of its flags is needed here.
func defaultOptions() (*options.CloudControllerManagerOptions, error) {
	o, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	o.KubeCloudShared.CloudProvider.Name = provider.Name
	o.KubeCloudShared.AllowUntaggedCloud = true
	// Our own election stands around the app: the app's never releases its Lease.
	o.Generic.LeaderElection.LeaderElect = false
	// Metrics and health are served over plain HTTP, by ourselves.
	o.SecureServing.BindPort = 0
	o.Authentication.SkipInClusterLookup = true
	// A Service costs two patches of a few milliseconds each: 1,000 of them must not wait for a limiter or a worker.
	o.ServiceController.ConcurrentServiceSyncs = 10
	o.Generic.ClientConnection.QPS = 400
	o.Generic.ClientConnection.Burst = 800
	return o, nil
}

// describe shows in --help what this program is, and only the flags that do something here.
func describe(command *cobra.Command) {
	command.Use = "l2-cloud-controller-manager"
	command.Long = `l2-cloud-controller-manager gives Services of type LoadBalancer addresses from IPAddressPools
(metallb.io/v1beta1). It needs no flag inside a cluster; outside, give it --kubeconfig.

Several may run: one leads, by the Lease cloud-provider-l2-controller, and the others stand by.`
	command.InitDefaultHelpFlag()
	command.Flags().Lookup("help").Usage = "Show this."
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = flag.Hidden || !slices.Contains(usefulFlags, flag.Name)
	})
	command.SetHelpFunc(func(command *cobra.Command, _ []string) {
		var set pflag.FlagSet
		command.Flags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden {
				set.AddFlag(flag)
			}
		})
		fmt.Fprintf(command.OutOrStdout(), "%s\n\nUsage:\n  %s\n\nFlags:\n%s", command.Long, command.UseLine(), set.FlagUsagesWrapped(110))
	})
}

var usefulFlags = []string{
	"namespace", "metrics-bind-address", "load-balancer-class", "serve-classless", "share-across-namespaces",
	"cloud-provider", "kubeconfig", "master", "kube-api-qps", "kube-api-burst", "concurrent-service-syncs",
	"help", "version", "v", "vmodule", "logging-format",
}
