// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cloudprovider "k8s.io/cloud-provider"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

// flags are what can be set on the command line. Their names are those of every cloud controller manager where the
// meaning is the same.
type flags struct {
	cloudProvider, cloudConfig string
	provider                   *pflag.FlagSet // what the file may set too
	namespace                  string
	loadBalancerClass          string
	serveClassless             bool
	shareAcross                bool
	ignoreExcludeLB            bool
	metricsAddress             string
	kubeconfig, master         string
	qps                        float32
	burst                      int
	workers                    int
	logs                       *logsapi.LoggingConfiguration
}

func newCommand(process *process) *cobra.Command {
	f := &process.flags
	f.logs = logsapi.NewLoggingConfiguration()
	command := &cobra.Command{
		Use: "l2-cloud-controller-manager",
		Long: `l2-cloud-controller-manager gives Services of type LoadBalancer addresses from IPAddressPools
(metallb.io/v1beta1). It needs no flag inside a cluster; outside, give it --kubeconfig.

What the flags of the provider l2 set can be written in a file instead, which --cloud-config names:

  apiVersion: cloud-provider-l2/v1
  kind: CloudConfig
  namespace: metallb-system
  loadBalancerClass: example.com/l2
  serveClassless: true
  shareAcrossNamespaces: true
  ignoreExcludeLB: false

A field that is left out has the default of its flag, and an unknown one is an error. A flag that is given overrules
the file. Speakers are told the class and the exclude label by flags of their own; they must be the same.

Several may run: one leads, by the Lease cloud-provider-l2-controller, and the others stand by. After both programs are
uninstalled, l2-cloud-controller-manager cleanup removes what they have written into their namespace.`,
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
	f.add(sets.FlagSet("cloud provider"))
	f.addProvider(sets.FlagSet("l2"))
	f.addClient(sets.FlagSet("generic"))
	logsapi.AddFlags(f.logs, sets.FlagSet("logs"))
	verflag.AddFlags(sets.FlagSet("misc"))
	for _, set := range sets.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	cliflag.SetUsageAndHelpFunc(command, sets, 120)
	command.AddCommand(newCleanup(process, command))
	command.CompletionOptions.DisableDefaultCmd = true // nobody types this program's name
	return command
}

func (f *flags) add(set *pflag.FlagSet) {
	set.StringVar(&f.cloudProvider, "cloud-provider", provider.Name, "The cloud provider. There is no other than the default.")
	set.StringVar(&f.cloudConfig, "cloud-config", "",
		"File with settings of the provider, such as namespace and loadBalancerClass; a flag that is given overrules it. It is read once, at the start. Empty: none.")
	set.StringVar(&f.metricsAddress, "metrics-bind-address", ":7472",
		"Address on which /metrics, /healthz and /readyz are served over plain HTTP.")
}

// addProvider adds the flags for what the file may say too.
func (f *flags) addProvider(set *pflag.FlagSet) {
	f.provider = set
	defaults := provider.DefaultOptions()
	set.StringVar(&f.namespace, "namespace", defaults.Namespace,
		"Namespace of the IPAddressPools, of the Leases and of the memberlist Secret. $POD_NAMESPACE if that is set.")
	set.StringVar(&f.loadBalancerClass, "load-balancer-class", defaults.LoadBalancerClass,
		"Serve Services with this spec.loadBalancerClass too. Services with another class are never touched.")
	set.BoolVar(&f.serveClassless, "serve-classless", !defaults.HideClassless,
		"Serve Services without a spec.loadBalancerClass. Turn it off when another controller does.")
	set.BoolVar(&f.shareAcross, "share-across-namespaces", !defaults.SeparateNamespaces,
		"Let Services of different namespaces share an address by the same allow-shared-ip. Turned off, those that share one already go on.")
	set.BoolVar(&f.ignoreExcludeLB, "ignore-exclude-lb", defaults.IgnoreExcludeLabel,
		"Set it when the speakers have it: it decides what the event NotAnnounced says of nodes with the label node.kubernetes.io/exclude-from-external-load-balancers.")
}

// addClient adds the flags of clients and workers. A Service costs two patches of a few milliseconds each: by default,
// 1,000 of them must not wait for a limiter or a worker.
func (f *flags) addClient(set *pflag.FlagSet) {
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "Path to a kubeconfig file. Default: the pod's service account.")
	set.StringVar(&f.master, "master", "", "Address of the API server, instead of the one in the kubeconfig file.")
	set.Float32Var(&f.qps, "kube-api-qps", 400, "Requests per second to the API server, for each of the clients.")
	set.IntVar(&f.burst, "kube-api-burst", 800, "Requests to the API server at once, for each of the clients.")
	set.IntVar(&f.workers, "concurrent-service-syncs", 32, "Services looked at at once.")
}

func (f *flags) validate() error {
	var errs []error
	if f.cloudProvider != provider.Name {
		errs = append(errs, fmt.Errorf("--cloud-provider=%s: must be %s, this program has no other", f.cloudProvider, provider.Name))
	}
	if f.qps <= 0 || f.burst <= 0 {
		errs = append(errs, fmt.Errorf("--kube-api-qps=%g --kube-api-burst=%d: both must be more than 0", f.qps, f.burst))
	}
	if f.workers <= 0 {
		errs = append(errs, fmt.Errorf("--concurrent-service-syncs=%d: must be more than 0", f.workers))
	}
	return errors.Join(errs...)
}

// cloud makes the provider as the file says, and the flags that were given.
func (f *flags) cloud() (*provider.Cloud, error) {
	var config io.Reader
	if f.cloudConfig != "" {
		file, err := os.Open(f.cloudConfig)
		if err != nil {
			return nil, fmt.Errorf("--cloud-config: %w", err)
		}
		defer file.Close()
		config = file
	}
	made, err := cloudprovider.GetCloudProvider(f.cloudProvider, config)
	if err != nil {
		return nil, fmt.Errorf("--cloud-config=%s: %w", f.cloudConfig, err)
	}
	cloud, ok := made.(*provider.Cloud)
	if !ok {
		return nil, fmt.Errorf("--cloud-provider=%s: it is %T, and this program can only run %T", f.cloudProvider, made, cloud)
	}
	options := cloud.Options()
	f.provider.VisitAll(func(flag *pflag.Flag) {
		if !flag.Changed {
			return
		}
		switch flag.Name {
		case "namespace":
			options.Namespace = f.namespace
		case "load-balancer-class":
			options.LoadBalancerClass = f.loadBalancerClass
		case "serve-classless":
			options.HideClassless = !f.serveClassless
		case "share-across-namespaces":
			options.SeparateNamespaces = !f.shareAcross
		case "ignore-exclude-lb":
			options.IgnoreExcludeLabel = f.ignoreExcludeLB
		}
	})
	if err := options.Validate(); err != nil {
		return nil, err
	}
	cloud.Configure(options)
	return cloud, nil
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
	config.DisableCompression = true // a wire of the same LAN is cheaper than the API server's time
	return config, nil
}
