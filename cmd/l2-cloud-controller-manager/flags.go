// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

// flags are what can be set on the command line. Their names are those of every cloud controller manager where the
// meaning is the same.
type flags struct {
	cloudProvider      string
	namespace          string
	metricsAddress     string
	loadBalancerClass  string
	serveClassless     bool
	shareAcross        bool
	kubeconfig, master string
	qps                float32
	burst              int
	workers            int
	logs               *logsapi.LoggingConfiguration
}

func newCommand(process *process) *cobra.Command {
	f := &process.flags
	f.logs = logsapi.NewLoggingConfiguration()
	command := &cobra.Command{
		Use: "l2-cloud-controller-manager",
		Long: `l2-cloud-controller-manager gives Services of type LoadBalancer addresses from IPAddressPools
(metallb.io/v1beta1). It needs no flag inside a cluster; outside, give it --kubeconfig.

Several may run: one leads, by the Lease cloud-provider-l2-controller, and the others stand by.`,
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			if err := f.validate(); err != nil {
				return err
			}
			if err := logsapi.ValidateAndApply(f.logs, nil); err != nil {
				return err
			}
			return process.run()
		},
	}
	var sets cliflag.NamedFlagSets
	f.add(sets.FlagSet("l2"))
	f.addClient(sets.FlagSet("generic"))
	logsapi.AddFlags(f.logs, sets.FlagSet("logs"))
	verflag.AddFlags(sets.FlagSet("misc"))
	for _, set := range sets.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	cliflag.SetUsageAndHelpFunc(command, sets, 120)
	return command
}

func (f *flags) add(set *pflag.FlagSet) {
	set.StringVar(&f.cloudProvider, "cloud-provider", provider.Name, "The cloud provider. There is no other than the default.")
	set.StringVar(&f.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "metallb-system"),
		"Namespace of the IPAddressPools, of the Leases and of the memberlist Secret. $POD_NAMESPACE if that is set.")
	set.StringVar(&f.metricsAddress, "metrics-bind-address", ":7472",
		"Address on which /metrics, /healthz and /readyz are served over plain HTTP.")
	set.StringVar(&f.loadBalancerClass, "load-balancer-class", "",
		"Serve Services with this spec.loadBalancerClass too. Services with another class are never touched.")
	set.BoolVar(&f.serveClassless, "serve-classless", true,
		"Serve Services without a spec.loadBalancerClass. Turn it off when another controller does.")
	set.BoolVar(&f.shareAcross, "share-across-namespaces", true,
		"Let Services of different namespaces share an address by the same allow-shared-ip. Turned off, those that share one already go on.")
}

// addClient adds the flags of clients and workers. A Service costs two patches of a few milliseconds each: by default,
// 1,000 of them must not wait for a limiter or a worker.
func (f *flags) addClient(set *pflag.FlagSet) {
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "Path to a kubeconfig file. Default: the pod's service account.")
	set.StringVar(&f.master, "master", "", "Address of the API server, instead of the one in the kubeconfig file.")
	set.Float32Var(&f.qps, "kube-api-qps", 400, "Requests per second to the API server, for each of the clients.")
	set.IntVar(&f.burst, "kube-api-burst", 800, "Requests to the API server at once, for each of the clients.")
	set.IntVar(&f.workers, "concurrent-service-syncs", 10, "Services looked at at once.")
}

func (f *flags) validate() error {
	var errs []error
	if f.cloudProvider != provider.Name {
		errs = append(errs, fmt.Errorf("--cloud-provider=%s: must be %s, this program has no other", f.cloudProvider, provider.Name))
	}
	if f.namespace == "" {
		errs = append(errs, errors.New("--namespace is empty: set it, or POD_NAMESPACE in the environment, as in metallb-system"))
	}
	if f.qps <= 0 || f.burst <= 0 {
		errs = append(errs, fmt.Errorf("--kube-api-qps=%g --kube-api-burst=%d: both must be more than 0", f.qps, f.burst))
	}
	if f.workers <= 0 {
		errs = append(errs, fmt.Errorf("--concurrent-service-syncs=%d: must be more than 0", f.workers))
	}
	return errors.Join(errs...)
}

func (f *flags) provider() provider.Options {
	return provider.Options{
		Namespace:          f.namespace,
		LoadBalancerClass:  f.loadBalancerClass,
		HideClassless:      !f.serveClassless,
		SeparateNamespaces: !f.shareAcross,
	}
}

// config is how to reach the API server.
func (f *flags) config() (*rest.Config, error) {
	load := rest.InClusterConfig
	if f.kubeconfig != "" || f.master != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags(f.master, f.kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	config.QPS, config.Burst = f.qps, f.burst
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return config, nil
}
