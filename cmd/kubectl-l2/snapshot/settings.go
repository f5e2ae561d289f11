// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Settings are the flags of the product that decide what it serves, as its pod templates have them.
type Settings struct {
	// Speakers and Controller say which Services are announced and which get addresses; they are to be the same.
	Speakers, Controller Selection
	// SeparateNamespaces is set when Services of different namespaces may not share an address.
	SeparateNamespaces bool
	// HeartbeatPort is the UDP port at which speakers hear each other.
	HeartbeatPort string
}

// Selection says which Services are served: those without a class, those with this one; and from which nodes.
type Selection struct {
	ServeClassless    bool
	LoadBalancerClass string
	// IgnoreExcludeLabel makes nodes eligible in spite of node.kubernetes.io/exclude-from-external-load-balancers.
	IgnoreExcludeLabel bool
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
	settings := Settings{Speakers: Selection{ServeClassless: true}, Controller: Selection{ServeClassless: true}, HeartbeatPort: strconv.Itoa(names.HeartbeatPort)}
	for _, set := range s.DaemonSets {
		if set.Namespace == s.Namespace && set.Spec.Template.Labels["component"] == "speaker" {
			flags := flagsOf(set.Spec.Template.Spec)
			settings.Speakers = flags.selection()
			settings.HeartbeatPort = cmp.Or(flags["heartbeat-port"], settings.HeartbeatPort)
		}
	}
	for _, deployment := range s.Deployments {
		if deployment.Namespace == s.Namespace && deployment.Spec.Template.Labels["component"] == "controller" {
			flags := s.configured(flagsOf(deployment.Spec.Template.Spec))
			settings.Controller = flags.selection()
			settings.SeparateNamespaces = !flags.is("share-across-namespaces", true)
		}
	}
	return settings
}

// configured adds what the file of --cloud-config says to flags; a flag that is given overrules it.
func (s *Snapshot) configured(given flags) flags {
	var file struct {
		LoadBalancerClass     *string `json:"loadBalancerClass"`
		ServeClassless        *bool   `json:"serveClassless"`
		ShareAcrossNamespaces *bool   `json:"shareAcrossNamespaces"`
		IgnoreExcludeLB       *bool   `json:"ignoreExcludeLB"`
	}
	if err := yaml.Unmarshal([]byte(s.CloudConfig), &file); err != nil {
		return given // the controller does not start with it, and says so
	}
	add := func(name, value string) {
		if _, overruled := given[name]; !overruled {
			given[name] = value
		}
	}
	if file.LoadBalancerClass != nil {
		add("load-balancer-class", *file.LoadBalancerClass)
	}
	if file.ServeClassless != nil {
		add("serve-classless", strconv.FormatBool(*file.ServeClassless))
	}
	if file.IgnoreExcludeLB != nil {
		add("ignore-exclude-lb", strconv.FormatBool(*file.IgnoreExcludeLB))
	}
	if file.ShareAcrossNamespaces != nil {
		add("share-across-namespaces", strconv.FormatBool(*file.ShareAcrossNamespaces))
	}
	return given
}

// cloudConfig says where the controller's --cloud-config is: which key of which ConfigMap. found is false when there is no such flag, and
// the name is empty when the file is of no ConfigMap.
func (s *Snapshot) cloudConfig() (name, key string, found bool) {
	for _, deployment := range s.Deployments {
		spec := deployment.Spec.Template.Spec
		file, given := flagsOf(spec)["cloud-config"]
		if deployment.Namespace != s.Namespace || deployment.Spec.Template.Labels["component"] != "controller" || !given {
			continue
		}
		for _, container := range spec.Containers {
			for _, mount := range container.VolumeMounts {
				base, inside := strings.CutPrefix(file, strings.TrimSuffix(mount.MountPath, "/")+"/")
				for _, volume := range spec.Volumes {
					if inside && volume.Name == mount.Name && volume.ConfigMap != nil {
						return volume.ConfigMap.Name, base, true
					}
				}
			}
		}
		return "", "", true
	}
	return "", "", false
}

// flags are those of a command line, without dashes.
type flags map[string]string

// switches are those flags read here that are set without a value: what comes after one is not its value.
var switches = []string{"serve-classless", "ignore-exclude-lb", "share-across-namespaces"}

func flagsOf(spec corev1.PodSpec) flags {
	found := flags{}
	for _, container := range spec.Containers {
		arguments := slices.Concat(container.Command, container.Args)
		for i, argument := range arguments {
			if name, ok := strings.CutPrefix(argument, "-"); ok {
				name, value, valued := strings.Cut(strings.TrimPrefix(name, "-"), "=")
				switch next := i + 1; {
				case valued:
				case !slices.Contains(switches, name) && next < len(arguments) && !strings.HasPrefix(arguments[next], "-"):
					value = arguments[next]
				default:
					value = "true"
				}
				found[name] = value
			}
		}
	}
	return found
}

func (f flags) selection() Selection {
	return Selection{
		ServeClassless: f.is("serve-classless", true), LoadBalancerClass: f["load-balancer-class"], IgnoreExcludeLabel: f.is("ignore-exclude-lb", false),
	}
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
		IgnoreExcludeLabel: settings.Speakers.IgnoreExcludeLabel,
	}
	for _, session := range s.Sessions() {
		state.Speakers[session.Node] = plan.Speaker{Interfaces: session.Interfaces}
	}
	return state
}
