// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
)

type streams struct {
	in          io.Reader
	out, errors io.Writer
}

// options are those of all commands.
type options struct {
	streams
	kube             *genericclioptions.ConfigFlags
	productNamespace string
	askSpeakers      bool
	output           string
}

func newCommand(s streams) *cobra.Command {
	o := &options{streams: s, kube: genericclioptions.NewConfigFlags(true)}
	command := &cobra.Command{
		Use:   "kubectl-l2",
		Short: "Show, explain and examine the addresses of LoadBalancer Services",
		Long: `Show which node announces which address, explain why a Service waits for one or is not reached, and find out
what is wrong with a cluster.

It only reads. What you have no right to read is named, and the rest is told without it. What only a speaker
knows is asked through pods/exec in the namespace of the product; --ask-speakers=false does without.

To complete commands, Services and addresses behind "kubectl l2", put a file kubectl_complete-l2 into your PATH,
executable, with these two lines:

  #!/bin/sh
  exec kubectl l2 __complete "$@"

and load kubectl's own completion (kubectl completion bash|zsh|fish). "kubectl l2 completion" prints that of the
program under its own name, kubectl-l2.`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl l2"},
		Version:       version.Get().GitVersion,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	command.SetIn(s.in)
	command.SetOut(s.out)
	command.SetErr(s.errors)
	flags := command.PersistentFlags()
	o.kube.AddFlags(flags)
	flags.StringVar(&o.productNamespace, "product-namespace", "metallb-system", "Namespace in which the controller and the speakers run, with their pools and Leases.")
	flags.BoolVar(&o.askSpeakers, "ask-speakers", true, "Ask the speakers what only they know, through pods/exec.")
	command.AddCommand(newStatusCommand(o), newExplainCommand(o), newDoctorCommand(o))
	_ = command.RegisterFlagCompletionFunc("namespace", o.completeNamespaces) // fails only for a flag that there is not
	return command
}

// addOutput adds -o to a command.
func (o *options) addOutput(command *cobra.Command, formats ...string) {
	command.Flags().StringVarP(&o.output, "output", "o", "", fmt.Sprintf("Output format, one of %q. Empty: for people to read.", formats))
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	command.PreRunE = func(*cobra.Command, []string) error {
		if o.output != "" && !slices.Contains(formats, o.output) {
			return fmt.Errorf("--output=%s: must be one of %q", o.output, formats)
		}
		return nil
	}
}

// collector connects to the API server as kubectl would.
func (o *options) collector() (*snapshot.Collector, error) {
	config, err := o.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	// Everything is read in a moment, which the limits of a controller would draw out.
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "kubectl-l2/" + version.Get().GitVersion
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	custom, err := client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &snapshot.Collector{Kube: kube, Custom: custom, Metadata: objects, Namespace: o.productNamespace}
	if o.askSpeakers {
		c.Exec = snapshot.NewExecutor(rest.CopyConfig(config), kube)
	}
	return c, nil
}

// namespace is that of the flag or of the kubeconfig's context.
func (o *options) namespace() (string, error) {
	namespace, _, err := o.kube.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

func (o *options) completeNamespaces(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := o.collector()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := c.Kube.CoreV1().Namespaces().List(command.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, namespace := range list.Items {
		names = append(names, namespace.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
