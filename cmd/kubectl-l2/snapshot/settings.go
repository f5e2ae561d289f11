// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Settings are the flags of the product that decide what it serves, as its pod templates have them.
type Settings struct {
	// Speakers and Controller say which Services are announced and which get addresses; they are to be the same.
	Speakers, Controller Selection
	// IgnoreExcludeLabel makes nodes eligible in spite of node.kubernetes.io/exclude-from-external-load-balancers.
	IgnoreExcludeLabel bool
	// SeparateNamespaces is set when Services of different namespaces may not share an address.
	SeparateNamespaces bool
}

// Selection says which Services are served: those without a class, those with this one.
type Selection struct {
	ServeClassless    bool
	LoadBalancerClass string
}

// Serves tells whether a Service is served.
func (s Selection) Serves(service *corev1.Service) bool {
	switch {
	case service.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return false
	case service.Spec.LoadBalancerClass == nil:
		return s.ServeClassless
	}
	return *service.Spec.LoadBalancerClass == s.LoadBalancerClass
}

// Settings reads the flags. What is not said has its default.
func (s *Snapshot) Settings() Settings {
	settings := Settings{Speakers: Selection{ServeClassless: true}, Controller: Selection{ServeClassless: true}}
	for _, set := range s.DaemonSets {
		if set.Namespace == s.Namespace && set.Spec.Template.Labels["component"] == "speaker" {
			flags := flagsOf(set.Spec.Template.Spec)
			settings.Speakers = flags.selection()
			settings.IgnoreExcludeLabel = flags.is("ignore-exclude-lb", false)
		}
	}
	for _, deployment := range s.Deployments {
		if deployment.Namespace == s.Namespace && deployment.Spec.Template.Labels["component"] == "controller" {
			flags := flagsOf(deployment.Spec.Template.Spec)
			settings.Controller = flags.selection()
			settings.SeparateNamespaces = !flags.is("share-across-namespaces", true)
		}
	}
	return settings
}

// flags are those of a command line, without dashes.
type flags map[string]string

func flagsOf(spec corev1.PodSpec) flags {
	found := flags{}
	for _, container := range spec.Containers {
		for _, argument := range slices.Concat(container.Command, container.Args) {
			if name, ok := strings.CutPrefix(argument, "-"); ok {
				name, value, valued := strings.Cut(strings.TrimPrefix(name, "-"), "=")
				if !valued {
					value = "true"
				}
				found[name] = value
			}
		}
	}
	return found
}

func (f flags) selection() Selection {
	return Selection{ServeClassless: f.is("serve-classless", true), LoadBalancerClass: f["load-balancer-class"]}
}

func (f flags) is(name string, standard bool) bool {
	value, err := strconv.ParseBool(f[name])
	if err != nil {
		return standard
	}
	return value
}

// State is what the plan is computed from, as speakers see it.
func (s *Snapshot) State() plan.State {
	settings := s.Settings()
	state := plan.State{
		Services: s.Services, EndpointSlices: s.EndpointSlices, Nodes: s.Nodes, Pools: s.Pools, Advertisements: s.Advertisements,
		Speakers:       map[string]plan.Speaker{},
		ServeClassless: settings.Speakers.ServeClassless, LoadBalancerClass: settings.Speakers.LoadBalancerClass,
		IgnoreExcludeLabel: settings.IgnoreExcludeLabel,
	}
	for _, session := range s.Sessions() {
		state.Speakers[session.Node] = plan.Speaker{Interfaces: session.Interfaces}
	}
	return state
}
