// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// productChecks look at the controller and the speakers.
var productChecks = []Check{
	{
		Name:  "controller",
		Why:   "without a controller that leads, Services get no addresses; those that have one go on",
		Needs: []string{snapshot.Pods, snapshot.Leases},
		Run:   controller,
	},
	{
		Name:  "speakers",
		Why:   "only a node with a speaker announces addresses and can take over from another",
		Needs: []string{snapshot.Pods, snapshot.Nodes, snapshot.DaemonSets},
		Run:   speakers,
	},
	{
		Name:  "settings",
		Why:   "the controller and the speakers must serve the same Services: else some have an address that nobody announces",
		Needs: []string{snapshot.DaemonSets, snapshot.Deployments, snapshot.CloudConfig},
		Run:   settings,
	},
	{
		Name:  "sessions",
		Why:   "a speaker holds VIPs only while its session is renewed. Renewals are watched, and no clocks compared, so that a node whose clock is wrong is not blamed",
		Needs: []string{snapshot.Pods, snapshot.Leases, snapshot.Renewals},
		Run:   sessions,
	},
	{
		Name:  "heartbeats",
		Why:   "speakers that do not hear each other notice a death only when a session runs out: a failover takes about 4 s instead of half a second",
		Needs: []string{snapshot.Leases, snapshot.Speakers},
		Run:   heartbeats,
	},
}

func controller(f *facts) (string, []Finding) {
	pods := componentPods(f, "controller")
	if len(pods) == 0 {
		return "no controller", []Finding{{
			Severity: Error, Object: "Deployment " + f.Namespace + "/controller", Saw: "no pod with the label component=controller runs in namespace " + f.Namespace,
			Mend: "install it: kubectl apply -f manifests/install.yaml; if it is in another namespace, name that with --product-namespace",
		}}
	}
	findings := unhealthy(pods)
	leader := snapshot.Holder(f.ControllerLease())
	if leader == "" {
		findings = append(findings, Finding{
			Severity: Error, Object: "Lease " + f.Namespace + "/" + names.ControllerLease, Saw: "no controller leads",
			Mend: fmt.Sprintf("see what the controllers say: kubectl logs -n %s -l component=controller", f.Namespace),
		})
	}
	name, _, _ := strings.Cut(leader, "_")
	if leader == "" {
		name = "none"
	}
	return fmt.Sprintf("%s, %s leads", count(len(pods), "controller"), name), findings
}

func componentPods(f *facts, component string) (pods []*corev1.Pod) {
	for _, pod := range f.Pods {
		if pod.Labels["component"] == component && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// unhealthy says which pods are not ready, and why.
func unhealthy(pods []*corev1.Pod) (findings []Finding) {
	for _, pod := range pods {
		if why := notReady(pod); why != "" {
			findings = append(findings, Finding{
				Severity: Error, Object: "Pod " + pod.Namespace + "/" + pod.Name, Saw: why,
				Mend: fmt.Sprintf("see kubectl describe pod -n %[1]s %[2]s, and kubectl logs -n %[1]s %[2]s", pod.Namespace, pod.Name),
			})
		}
	}
	return findings
}

func notReady(pod *corev1.Pod) string {
	for _, container := range pod.Status.ContainerStatuses {
		switch {
		case container.State.Waiting != nil && container.State.Waiting.Reason != "":
			return fmt.Sprintf("container %s waits: %s %s", container.Name, container.State.Waiting.Reason, container.State.Waiting.Message)
		case container.State.Terminated != nil:
			return fmt.Sprintf("container %s has ended with status %d", container.Name, container.State.Terminated.ExitCode)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue && (condition.Type == corev1.PodReady || condition.Type == corev1.PodScheduled) {
			return strings.TrimSpace(fmt.Sprintf("it is not ready: %s %s", condition.Reason, condition.Message))
		}
	}
	if pod.Status.Phase != corev1.PodRunning {
		return fmt.Sprintf("it is %s", pod.Status.Phase)
	}
	return ""
}

func speakers(f *facts) (string, []Finding) {
	pods := componentPods(f, "speaker")
	findings := unhealthy(pods)
	if len(pods) == 0 {
		return "no speaker", []Finding{{
			Severity: Error, Object: "DaemonSet " + f.Namespace + "/speaker", Saw: "no pod with the label component=speaker runs in namespace " + f.Namespace,
			Mend: "install it: kubectl apply -f manifests/install.yaml; if it is in another namespace, name that with --product-namespace",
		}}
	}
	var without, excluded []string
	on := f.SpeakerPods()
	for _, node := range f.Nodes {
		if on[node.Name] == nil {
			without = append(without, node.Name)
		}
		if _, labelled := node.Labels[corev1.LabelNodeExcludeBalancers]; labelled && !f.Settings().Speakers.IgnoreExcludeLabel {
			excluded = append(excluded, node.Name)
		}
	}
	if len(without) > 0 {
		findings = append(findings, Finding{
			Severity: Warning, Object: "DaemonSet " + f.Namespace + "/speaker", Saw: "no speaker runs on " + someOf(without),
			Mend: fmt.Sprintf("if these nodes are to announce addresses: see their taints, and the nodeSelector and tolerations of the DaemonSet (kubectl describe daemonset -n %s speaker)", f.Namespace),
		})
	}
	if len(f.Nodes) > 0 && len(excluded) == len(f.Nodes) {
		findings = append(findings, Finding{
			Severity: Error, Saw: "every node has the label " + corev1.LabelNodeExcludeBalancers + ": none may announce anything",
			Mend: fmt.Sprintf("take it off those that are to announce: kubectl label node --all %s-; kubeadm puts it on control planes, and --ignore-exclude-lb makes speakers ignore it", corev1.LabelNodeExcludeBalancers),
		})
	}
	images := map[string]bool{}
	for _, pod := range slices.Concat(pods, componentPods(f, "controller")) {
		for _, container := range pod.Spec.Containers {
			if _, tag := imageName(container.Image); tag != "" {
				images[tag] = true
			}
		}
	}
	if len(images) > 1 {
		findings = append(findings, Finding{
			Severity: Warning, Saw: "several versions run: " + strings.Join(slices.Sorted(maps.Keys(images)), ", "),
			Mend: fmt.Sprintf("let the rollout end: kubectl rollout status -n %s daemonset/speaker deployment/controller", f.Namespace),
		})
	}
	return fmt.Sprintf("%s on %s", count(len(pods), "speaker"), count(len(f.Nodes), "node")), findings
}

func settings(f *facts) (string, []Finding) {
	settings := f.Settings()
	if settings.Controller == settings.Speakers {
		return fmt.Sprintf("class %q, class-less %t", settings.Controller.LoadBalancerClass, settings.Controller.ServeClassless), nil
	}
	return "different flags", []Finding{{
		Severity: Error,
		Saw:      fmt.Sprintf("the controller has %s, the speakers have %s", formatSelection(settings.Controller), formatSelection(settings.Speakers)),
		Mend:     "give both the same flags",
	}}
}

func formatSelection(s snapshot.Selection) string {
	return fmt.Sprintf("--load-balancer-class=%q --serve-classless=%t --ignore-exclude-lb=%t", s.LoadBalancerClass, s.ServeClassless, s.IgnoreExcludeLabel)
}

func sessions(f *facts) (string, []Finding) {
	var findings []Finding
	living := map[string]bool{}
	for _, session := range f.sessions {
		living[session.Node] = true
	}
	pods := f.SpeakerPods()
	for _, node := range slices.Sorted(maps.Keys(pods)) {
		if living[node] || notReady(pods[node]) != "" {
			continue
		}
		saw := "its speaker has no session"
		if snapshot.Holder(f.SessionLease(node)) != "" {
			saw = fmt.Sprintf("its session was not renewed in %.1f s", f.Watched.Seconds())
		}
		findings = append(findings, Finding{
			Severity: Error, Object: "Node " + node, Saw: saw,
			Mend: fmt.Sprintf("let it reach the API server; its speaker says why it cannot: kubectl logs -n %s %s", f.Namespace, pods[node].Name),
		})
	}
	return fmt.Sprintf("%s renewed within %.1f s", count(len(living), "session"), f.Watched.Seconds()), findings
}

func heartbeats(f *facts) (string, []Finding) {
	if len(f.sessions) < 2 {
		return "fewer than two speakers: there is nobody to hear", nil
	}
	var findings []Finding
	asked, pairs, deaf := 0, 0, 0
	unheard := map[string][]string{} // by who does not hear
	for _, node := range slices.Sorted(maps.Keys(f.Speakers)) {
		asked++
		heard := map[string]bool{}
		for _, other := range f.Speakers[node].Speakers {
			heard[other.Node] = other.Heard
		}
		for _, session := range f.sessions {
			if session.Node == node {
				continue
			}
			pairs++
			if !heard[session.Node] {
				deaf++
				unheard[node] = append(unheard[node], session.Node)
			}
		}
	}
	if asked == 0 {
		return "no speaker could be asked", nil
	}
	port := f.Settings().HeartbeatPort
	if !f.CouldRead(snapshot.DaemonSets) {
		port += ", or what the speakers' --heartbeat-port says,"
	}
	mend := fmt.Sprintf("let UDP port %s pass between the nodes (host firewalls), and the groups %s and %s (switches that filter multicast)",
		port, names.HeartbeatGroupIPv4, names.HeartbeatGroupIPv6)
	if deaf == pairs {
		return "no speaker hears another", []Finding{{Severity: Warning, Saw: "no speaker hears another's heartbeats", Mend: mend}}
	}
	for _, node := range slices.Sorted(maps.Keys(unheard)) {
		findings = append(findings, Finding{Severity: Warning, Object: "Node " + node, Saw: "it does not hear " + someOf(unheard[node]), Mend: mend})
	}
	return ifNone(findings, count(asked, "speaker")+" hear each other", fmt.Sprintf("not all others are heard by %d of %s", len(findings), count(asked, "speaker"))), findings
}
