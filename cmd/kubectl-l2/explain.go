// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
)

func newExplainCommand(o *options) *cobra.Command {
	command := &cobra.Command{
		Use:   "explain SERVICE|ADDRESS",
		Short: "Explain why a Service has its address, or none, and who announces it",
		Long: `Explain, step by step, how a Service came by its address or why it has none: what it asks for, and of each pool, in
the order in which they are tried, what it gives or why it does not. Then, of each address, who announces it since when, and
of each node whether it may and if not why not. Last come the events of the Service, also of the one that has the address if no other
shares it, and what to do, if anything is.

The decisions are made here by the code of the controller and of the speakers, from what the API server has.`,
		Example: `  kubectl l2 explain web
  kubectl l2 explain shop/web
  kubectl l2 explain 192.168.1.240`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeSubjects,
		RunE:              func(command *cobra.Command, args []string) error { return o.explain(command.Context(), args[0]) },
	}
	o.addOutput(command, "json", "yaml")
	return command
}

func (o *options) explain(ctx context.Context, subject string) error {
	c, err := o.collector()
	if err != nil {
		return err
	}
	taken, err := c.Basic(ctx)
	if err != nil {
		return err
	}
	c.AskSpeakers(ctx)
	explanation, err := o.explanation(ctx, c, taken, subject)
	if err != nil {
		return err
	}
	if done, err := o.print(explanation); done {
		return err
	}
	o.tell(explanation)
	o.unread(explanation.Unread)
	return nil
}

func (o *options) explanation(ctx context.Context, c *snapshot.Collector, taken *snapshot.Snapshot, subject string) (view.Explanation, error) {
	if address, err := netip.ParseAddr(subject); err == nil {
		o.probe(ctx, c, taken, address)
		explainer := view.NewExplainer(taken)
		if services := explainer.ServicesWith(address); len(services) == 1 {
			c.ServiceEvents(ctx, services[0].Namespace, services[0].Name)
		}
		return explainer.Address(address), nil
	}
	namespace, err := o.namespace()
	if err != nil {
		return view.Explanation{}, err
	}
	name := subject
	for _, prefix := range []string{"service/", "services/", "svc/"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if in, rest, ok := strings.Cut(name, "/"); ok {
		namespace, name = in, rest
	}
	service := taken.Service(namespace, name)
	if why, unread := whyUnread(taken.Unread, snapshot.Services); service == nil && unread {
		return view.Explanation{}, fmt.Errorf("Services of all namespaces must be read to explain one, since they share the pools: %s", why)
	}
	if service == nil {
		return view.Explanation{}, fmt.Errorf("there is no Service %s in namespace %s: write NAMESPACE/NAME, or an address", name, namespace)
	}
	c.ServiceEvents(ctx, namespace, name)
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil {
			o.probe(ctx, c, taken, address)
		}
	}
	return view.NewExplainer(taken).Service(service), nil
}

// probe asks the LAN who answers for an address.
func (o *options) probe(ctx context.Context, c *snapshot.Collector, taken *snapshot.Snapshot, address netip.Addr) {
	c.Ask(ctx, doctor.QuestionsFor(taken, address))
}

func (o *options) completeSubjects(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := o.collector()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	namespace, err := o.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := c.Kube.CoreV1().Services(namespace).List(command.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var subjects []string
	for _, service := range list.Items {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		subjects = append(subjects, service.Name)
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			subjects = append(subjects, ingress.IP)
		}
	}
	return subjects, cobra.ShellCompDirectiveNoFileComp
}
