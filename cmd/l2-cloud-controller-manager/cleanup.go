// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/uninstall"
)

// newCleanup makes the command that is run once, when the product has been uninstalled. It has some flags of the program itself.
func newCleanup(process *process, program *cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what controller and speakers have written, when both are uninstalled",
		Long: `cleanup removes what the controller and the speakers have written into their namespace, when both are
uninstalled: the Leases, the ServiceL2Statuses and the Secret memberlist. It waits up to 45 seconds for their pods to
end, and fails, having removed nothing, when they do not, or when the Deployment or the DaemonSet is still there.
Pools, L2Advertisements and Services with their addresses stay. The Helm chart runs it after helm uninstall.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			config, err := process.flags.config()
			if err != nil {
				return err
			}
			kube, err := kubernetes.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("making a client for the API server: %w", err)
			}
			metallb, err := client.NewForConfig(config)
			if err != nil {
				return err
			}
			namespace := process.flags.namespace
			return uninstall.Records(process.ctx, kube, metallb.ServiceL2Statuses(namespace), namespace)
		},
	}
	var sets cliflag.NamedFlagSets
	for _, name := range []string{"namespace", "kubeconfig", "master"} {
		sets.FlagSet("cleanup").AddFlag(program.Flags().Lookup(name))
	}
	command.Flags().AddFlagSet(sets.FlagSet("cleanup"))
	cliflag.SetUsageAndHelpFunc(command, sets, 120)
	return command
}
