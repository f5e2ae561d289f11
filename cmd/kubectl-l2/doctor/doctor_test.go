// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	test "github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot/snapshottest"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Every check passes where all is well, and says what it looked at and why.
func TestHealthyClusterIsOK(t *testing.T) {
	diagnosis := Examine(test.Healthy())
	for _, result := range diagnosis.Checks {
		if result.Severity != OK || result.Saw == "" || result.Why == "" {
			t.Errorf("%s: %s, saw %q: %+v", result.Check, result.Severity, result.Saw, result.Findings)
		}
	}
	if diagnosis.ExitStatus() != 0 {
		t.Errorf("exit status %d", diagnosis.ExitStatus())
	}
}

func annotate(s *snapshot.Snapshot, vip, key, value string) {
	s.VIPLease(netip.MustParseAddr(vip)).Annotations[key] = value
}

func labelNodes(s *snapshot.Snapshot, key string) {
	for _, node := range s.Nodes {
		node.Labels[key] = ""
	}
}

func probe(from string, answers ...inspect.Answer) inspect.Probe {
	return inspect.Probe{Node: from, Address: netip.MustParseAddr(test.VIP), Interfaces: []string{"eth0"}, Answers: answers}
}

const conflict = `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`

func deployment(image string, env ...corev1.EnvVar) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "other"},
		Spec:       appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: image, Env: env}}}}},
	}
}

// withFRR is a DaemonSet of a program beside FRR.
func withFRR(image string) *appsv1.DaemonSet {
	set := deployment(image)
	set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, corev1.Container{Name: "frr", Image: "quay.io/frrouting/frr:10.4.1"})
	return set
}

// kubeVIP is a pod of kube-system that an object of this kind controls.
func kubeVIP(owner string) *corev1.Pod {
	controls := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-vip-node-1", OwnerReferences: []metav1.OwnerReference{{Kind: owner, Controller: &controls}}},
		Spec:       deployment("ghcr.io/kube-vip/kube-vip:v1.0.0", corev1.EnvVar{Name: "svc_enable", Value: "true"}).Spec.Template.Spec,
	}
}

func kubeProxy(config string) *corev1.ConfigMap {
	return &corev1.ConfigMap{Data: map[string]string{"config.conf": config}}
}

func conflictingWebhook(policy admissionv1.FailurePolicyType) *admissionv1.ValidatingWebhookConfiguration {
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "metallb-webhook-configuration"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "ipaddresspoolvalidationwebhook.metallb.io", FailurePolicy: &policy,
			Rules: []admissionv1.RuleWithOperations{{Rule: admissionv1.Rule{APIGroups: []string{"metallb.io"}}}},
		}},
	}
}

// What breaks a cluster is found by the check of that name, which says what it saw and how to mend it.
func TestChecks(t *testing.T) {
	type snap = *snapshot.Snapshot
	allIsWell := map[string]string{} // what each check says then
	for _, result := range Examine(test.Healthy()).Checks {
		allIsWell[result.Check] = result.Saw
	}
	broken := map[string]bool{} // checks that something was found by
	for _, tc := range []struct {
		check, name string
		breaks      func(snap)
		severity    Severity
		saw, mend   string
	}{
		{"kubernetes-version", "older than 1.31", func(s snap) { s.Version = "v1.30.9" }, Error, "1.30.9 is older than 1.31", "upgrade"},
		{"kubernetes-version", "a distribution's suffix", func(s snap) { s.Version = "v1.31.4+k3s1" }, OK, "", ""},
		{"kubernetes-version", "unknown", func(s snap) { s.Version = "" }, Warning, `""`, "kubectl version"},
		{"crds", "missing", func(s snap) { s.Served = nil }, Error, "does not serve ipaddresspools", "kubectl apply"},
		{"crds", "in another version only", func(s snap) { s.Served = []string{"v1/ipaddresspools", "v1beta1/l2advertisements"} }, Error, "in v1 and not in v1beta1", "kubectl apply"},
		{"crds", "the status objects' is missing", func(s snap) { s.Served = s.Served[:2] }, Warning, "does not serve servicel2statuses", "kubectl apply"},
		{"metallb-webhook", "fails closed", func(s snap) {
			s.Webhooks = append(s.Webhooks, conflictingWebhook(admissionv1.Fail))
		}, Error, "ipaddresspoolvalidationwebhook.metallb.io", "kubectl delete validatingwebhookconfiguration metallb-webhook-configuration"},
		{"metallb-webhook", "fails open", func(s snap) {
			s.Webhooks = append(s.Webhooks, conflictingWebhook(admissionv1.Ignore))
		}, Warning, "judges objects of metallb.io", "kubectl delete"},
		{"metallb-webhook", "of another group", func(s snap) {
			other := conflictingWebhook(admissionv1.Fail)
			other.Webhooks[0].Rules[0].APIGroups = []string{"apps"}
			s.Webhooks = append(s.Webhooks, other)
		}, OK, "", ""},
		{"metallb-webhook", "another's, which judges pools too", func(s snap) {
			other := conflictingWebhook(admissionv1.Fail)
			other.Name, other.Webhooks[0].Name = "kyverno-resource-validating-webhook-cfg", "validate.kyverno.svc-fail"
			s.Webhooks = append(s.Webhooks, other)
		}, OK, "", ""},
		{"unsupported-objects", "BGP", func(s snap) { s.Foreign = []string{"BGPPeer metallb-system/tor"} }, Warning, "BGP", "announce what was announced to it with an L2Advertisement"},
		{"unsupported-objects", "pools announced by BGP", func(s snap) { s.Foreign = []string{"BGPAdvertisement metallb-system/wan"} }, Warning, "BGP", "announce its pools with an L2Advertisement"},
		{"unsupported-objects", "BFD, which has no pools", func(s snap) { s.Foreign = []string{"BFDProfile metallb-system/fast"} }, Warning, "BGP", "nothing here reads it: delete it"},
		{"unsupported-objects", "names of communities, which have no pools", func(s snap) { s.Foreign = []string{"Community metallb-system/well-known"} }, Warning, "BGP", "nothing here reads it: delete it"},
		{"unsupported-objects", "FRR's configuration", func(s snap) { s.Foreign = []string{"FRRConfiguration metallb-system/tor"} }, Warning, "configures FRR", "nothing here reads it: delete it"},
		{"unsupported-objects", "FRR-K8s's own settings", func(s snap) { s.Foreign = []string{"FRRK8sConfiguration metallb-system/config"} }, Warning, "configures FRR", "nothing here reads it: delete it"},
		{"unsupported-objects", "MetalLB's speakers with FRR", func(s snap) { s.DaemonSets = append(s.DaemonSets, withFRR("quay.io/metallb/speaker:v0.15.2")) }, Warning, "have FRR for BGP", "with an L2Advertisement"},
		{"unsupported-objects", "FRR, and no MetalLB", func(s snap) { s.DaemonSets = append(s.DaemonSets, withFRR("example.com/router:v1")) }, OK, "", ""},
		{"other-load-balancers", "MetalLB", func(s snap) { s.DaemonSets = append(s.DaemonSets, deployment("quay.io/metallb/speaker:v0.15.2")) }, Error, "MetalLB runs", "migrate"},
		{"other-load-balancers", "MetalLB from a registry of one's own", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("registry.example.com/lb-speaker:1", corev1.EnvVar{Name: "METALLB_NODE_NAME"}))
		}, Error, "MetalLB runs (image registry.example.com/lb-speaker:1)", "migrate"},
		{"other-load-balancers", "MetalLB's environment in a container of ours", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("registry.example.com/l2/speaker:v1", corev1.EnvVar{Name: "METALLB_NODE_NAME"}, corev1.EnvVar{Name: "POD_NAMESPACE"}))
		}, OK, "", ""},
		{"other-load-balancers", "kube-vip announces Services", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("ghcr.io/kube-vip/kube-vip:v1.0.0", corev1.EnvVar{Name: "svc_enable", Value: "true"}))
		}, Error, "kube-vip announces Services", "svc_enable"},
		{"other-load-balancers", "kube-vip for the control plane only", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("ghcr.io/kube-vip/kube-vip:v1.0.0", corev1.EnvVar{Name: "cp_enable", Value: "true"}))
		}, OK, "", ""},
		{"other-load-balancers", "kube-vip by its digest, from a registry of one's own", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("registry.example.com:5000/mirror/kube-vip@sha256:0123", corev1.EnvVar{Name: "svc_enable", Value: "true"}))
		}, Error, "kube-vip announces Services", "svc_enable"},
		{"other-load-balancers", "kube-vip, which a kubelet reads from a file", func(s snap) {
			s.SystemPods = append(s.SystemPods, kubeVIP("Node"))
		}, Error, "kube-vip announces Services", "svc_enable"},
		{"other-load-balancers", "a pod whose maker is looked at", func(s snap) { s.SystemPods = append(s.SystemPods, kubeVIP("DaemonSet")) }, OK, "", ""},
		{"other-load-balancers", "another image of a like name", func(s snap) {
			s.DaemonSets = append(s.DaemonSets, deployment("registry.example.com/kube-vip/exporter:v1", corev1.EnvVar{Name: "svc_enable", Value: "true"}))
		}, OK, "", ""},
		{"other-load-balancers", "ServiceLB", func(s snap) {
			other := deployment("rancher/klipper-lb:v0.4.9")
			other.Labels = map[string]string{"svccontroller.k3s.cattle.io/svcname": "web"}
			s.DaemonSets = append(s.DaemonSets, other)
		}, Error, "ServiceLB", "--disable=servicelb"},
		{"other-load-balancers", "Cilium's L2 announcements", func(s snap) {
			s.ConfigMaps["kube-system/cilium-config"] = &corev1.ConfigMap{Data: map[string]string{"enable-l2-announcements": "true"}}
		}, Error, "Cilium", "enable-l2-announcements"},
		{"kube-proxy-strict-arp", "IPVS without it", func(s snap) {
			s.ConfigMaps["kube-system/kube-proxy"] = kubeProxy("mode: ipvs\nipvs: {strictARP: false}\n")
		}, Error, "strictARP is not true", "strictARP: true"},
		{"kube-proxy-strict-arp", "IPVS with it", func(s snap) {
			s.ConfigMaps["kube-system/kube-proxy"] = kubeProxy("mode: ipvs\nipvs: {strictARP: true}\n")
		}, OK, "", ""},
		{"kube-proxy-strict-arp", "another mode", func(s snap) { s.ConfigMaps["kube-system/kube-proxy"] = kubeProxy("mode: nftables\n") }, OK, "", ""},
		{"kube-proxy-strict-arp", "no YAML", func(s snap) { s.ConfigMaps["kube-system/kube-proxy"] = kubeProxy("{") }, Warning, "no YAML", "correct"},
		{"uninitialized-nodes", "tainted", func(s snap) { s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: taintUninitialized}} }, Warning, "taint", "unless another cloud controller manager initializes it soon: start its kubelet without --cloud-provider=external, and take the taint off: kubectl taint node node-1"},

		{"controller", "none", func(s snap) { s.Pods = s.Pods[1:] }, Error, "no pod with the label component=controller", "kubectl apply"},
		{"controller", "not ready", func(s snap) { s.Pods[0].Status.Conditions[0].Status = corev1.ConditionFalse }, Error, "not ready", "kubectl describe pod"},
		{"controller", "its image is not there", func(s snap) {
			s.Pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "controller", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		}, Error, "ImagePullBackOff", "kubectl describe pod"},
		{"controller", "none leads", func(s snap) { s.ControllerLease().Spec.HolderIdentity = nil }, Error, "no controller leads", "kubectl logs"},
		{"speakers", "none", func(s snap) { s.Pods = s.Pods[:1] }, Error, "no pod with the label component=speaker", "kubectl apply"},
		{"speakers", "none on a node", func(s snap) { s.Pods = s.Pods[:3] }, Warning, "no speaker runs on node-3", "tolerations"},
		{"speakers", "exclude label on all nodes", func(s snap) { labelNodes(s, corev1.LabelNodeExcludeBalancers) }, Error, "every node has the label", "kubectl label node --all"},
		{"speakers", "exclude label is ignored", func(s snap) {
			labelNodes(s, corev1.LabelNodeExcludeBalancers)
			s.DaemonSets[0].Spec.Template.Spec.Containers[0].Args = []string{"--ignore-exclude-lb"}
		}, OK, "", ""},
		{"speakers", "several versions", func(s snap) { s.Pods[1].Spec.Containers[0].Image += "2" }, Warning, "v1, v12", "rollout"},
		{"speakers", "one version, by different digests", func(s snap) {
			for i, pod := range s.Pods {
				pod.Spec.Containers[0].Image += fmt.Sprintf("@sha256:%d", i)
			}
		}, OK, "", ""},
		{"settings", "different classes", func(s snap) {
			s.Deployments[0].Spec.Template.Spec.Containers[0].Args = []string{"--load-balancer-class=l2"}
		}, Error, `--load-balancer-class="l2"`, "same flags"},
		{"settings", "the exclude label is ignored by speakers only", func(s snap) { s.DaemonSets[0].Spec.Template.Spec.Containers[0].Args = []string{"--ignore-exclude-lb"} }, Error, "--ignore-exclude-lb=true", "same flags"},
		{"sessions", "not renewed", func(s snap) { delete(s.Renewed, "node-3") }, Error, "was not renewed in 2.0 s", "API server"},
		{"sessions", "ended", func(s snap) { s.SessionLease("node-3").Spec.HolderIdentity = nil }, Error, "no session", "API server"},
		{"heartbeats", "nobody is heard", func(s snap) {
			for _, status := range s.Speakers {
				for i := range status.Speakers {
					status.Speakers[i].Heard = false
				}
			}
		}, Warning, "no speaker hears another", "UDP port 7946"},
		{"heartbeats", "one is not heard by one", func(s snap) { s.Speakers["node-1"].Speakers[2].Heard = false }, Warning, "does not hear node-3", "UDP port 7946 pass"},
		{"heartbeats", "at another port", func(s snap) {
			s.Speakers["node-1"].Speakers[2].Heard = false
			s.DaemonSets[0].Spec.Template.Spec.Containers[0].Args = []string{"--heartbeat-port=7950"}
		}, Warning, "does not hear node-3", "UDP port 7950 pass"},
		{"heartbeats", "at a port that could not be read", func(s snap) {
			s.Speakers["node-1"].Speakers[2].Heard = false
			s.DaemonSets, s.Unread = nil, []snapshot.Unread{{What: snapshot.DaemonSets, Why: "forbidden"}}
		}, Warning, "does not hear node-3", "UDP port 7946, or what the speakers' --heartbeat-port says, pass"},

		{"pools", "none", func(s snap) { s.Pools = nil }, Error, "no IPAddressPool", "create one"},
		{"pools", "overlap", func(s snap) { s.Pools = append(s.Pools, test.Pool("young", 5, "192.168.1.245-192.168.1.255")) }, Warning, "192.168.1.245-192.168.1.249 is not used: the older pool lan has it", "take 192.168.1.245-192.168.1.249 out"},
		{"pools", "cannot be read", func(s snap) { s.Pools = append(s.Pools, test.Pool("bits", 5, "192.168.2.1/24")) }, Error, "192.168.2.1/24", "kubectl edit ipaddresspool"},
		{"pool-addresses", "a node's", func(s snap) { s.Pools[0].Spec.Addresses = []string{"192.168.1.11-192.168.1.249"} }, Error, "node node-1", "take 192.168.1.11 out"},
		{"pool-addresses", "the gateway's", func(s snap) { s.Pools[0].Spec.Addresses = []string{"192.168.1.1-192.168.1.9"} }, Error, "the gateway", "take 192.168.1.1 out"},
		{"pool-addresses", "cluster IPs", func(s snap) { s.Pools[0].Spec.Addresses = []string{"10.96.1.0/24"} }, Error, "10.96.0.0/16", "kubectl edit"},
		{"pool-addresses", "pods", func(s snap) { s.Pools[0].Spec.Addresses = []string{"10.244.1.0/28"} }, Error, "the pods of node node-1", "kubectl edit"},
		{"pool-addresses", "a cluster IP where the range is not known", func(s snap) {
			s.ServiceRanges, s.Pools[0].Spec.Addresses = nil, []string{"10.96.0.0/24"}
		}, Error, "Service default/web as its cluster IP", "take 10.96.0.10 out"},
		{"pool-subnets", "outside every node's", func(s snap) { s.Pools[0].Spec.Addresses = []string{"172.16.0.0/28"} }, Warning, "outside every node's subnet (192.168.1.0/24)", "route"},
		{"pool-subnets", "in part outside", func(s snap) { s.Pools[0].Spec.Addresses = []string{"192.168.0.240-192.168.2.5"} }, Warning,
			"a part of its range 192.168.0.240-192.168.2.5 is outside every node's subnet (192.168.1.0/24): 192.168.0.240-192.168.0.255, 192.168.2.0-192.168.2.5",
			"route for 192.168.0.240-192.168.0.255, 192.168.2.0-192.168.2.5 to this LAN"},
		{"pool-subnets", "of the other family", func(s snap) { s.Pools[0].Spec.Addresses = []string{test.VIP, "fd00::/120"} }, Warning, "its range fd00::-fd00::ff is outside every node's subnet", "route for fd00::-fd00::ff"},
		{"pool-subnets", "across two subnets", func(s snap) {
			s.SessionLease("node-3").Annotations[names.AnnotationInterfaces] = "eth0=192.168.2.13/24"
			s.Pools[0].Spec.Addresses = []string{"192.168.1.240-192.168.2.5"}
		}, OK, "", ""},
		{"pool-subnets", "not known", func(s snap) {
			for _, session := range s.Sessions() {
				delete(session.Lease.Annotations, names.AnnotationInterfaces)
			}
			s.Pools[0].Spec.Addresses = []string{"172.16.0.0/28"}
		}, OK, "", ""},
		{"pool-capacity", "exhausted", func(s snap) { s.Pools[0].Spec.Addresses = []string{test.VIP + "/32"} }, Warning, "all of its 1 IPv4 addresses are in use", "add addresses"},
		{"pool-advertisements", "none, and in use", func(s snap) { s.Advertisements = nil }, Error, "no L2Advertisement is for it, and 1 of its addresses are in use", "create an L2Advertisement"},
		{"pool-advertisements", "none, and not in use", func(s snap) { s.Pools = append(s.Pools, test.Pool("spare", 5, "192.168.1.250/32")) }, Warning, "no L2Advertisement", "[spare]"},
		{"advertisements", "of no pool", func(s snap) {
			s.Advertisements = append(s.Advertisements, test.Advertisement("x", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"nan"}}))
		}, Warning, "for no pool that there is", "the pools are lan"},
		{"advertisements", "of a pool too many", func(s snap) { s.Advertisements[0].Spec.IPAddressPools = []string{"lan", "nan"} }, Warning, "nan", "spec.ipAddressPools"},
		{"advertisements", "selects no node: a label is missing", func(s snap) {
			s.Advertisements[0].Spec.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"edge": "true"}}}
		}, Error, "select no node", "edge=true"},
		{"advertisements", "selects no Service", func(s snap) {
			s.Advertisements[0].Spec.ServiceSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"tier": "gold"}}}
		}, Warning, "match no Service", "tier=gold"},
		{"advertisements", "names an interface of nobody's", func(s snap) { s.Advertisements[0].Spec.Interfaces = []string{"eht0"} }, Error, "eht0", "spec.interfaces"},
		{"advertisements", "has a selector that cannot be read", func(s snap) {
			s.Advertisements[0].Spec.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}}
		}, Error, "nodeSelectors[0]", "correct"},

		{"services", "no pool", func(s snap) { s.Pools, s.Services[0] = nil, test.Service("web") }, Error, "there is no IPAddressPool", "create an IPAddressPool"},
		{"services", "pool exhausted", func(s snap) {
			s.Pools[0].Spec.Addresses = []string{test.VIP + "/32"}
			s.Services = append(s.Services, test.Service("late"))
		}, Error, "1 of 1 in use", "kubectl edit ipaddresspool"},
		{"services", "the controller has not looked yet", func(s snap) { s.Services = append(s.Services, test.Service("late")) }, Warning, "the controller has not given it yet", "explain late -n default"},
		{"services", "of another class", func(s snap) {
			class := "example.com/other"
			other := test.Service("other")
			other.Spec.LoadBalancerClass = &class
			s.Services = append(s.Services, other)
		}, OK, "", ""},
		{"announcements", "no advertisement", func(s snap) { s.Advertisements, s.Leases = nil, s.Leases[:3] }, Error, "NoAdvertisement", "create an L2Advertisement"},
		{"announcements", "an advertisement that selects nothing", func(s snap) {
			s.Leases = s.Leases[:3]
			s.Advertisements[0].Spec.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"edge": "true"}}}
		}, Error, "NotSelected", "edge=true"},
		{"announcements", "exclude label on all nodes", func(s snap) {
			s.Leases = s.Leases[:3]
			labelNodes(s, corev1.LabelNodeExcludeBalancers)
		}, Error, "ExcludeLabel", "kubectl label node node-1 node-2 node-3 node.kubernetes.io/exclude-from-external-load-balancers-"},
		{"announcements", "Local, with endpoints on a node that may not", func(s snap) {
			s.Leases = s.Leases[:3]
			s.Services[0].Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.EndpointSlices[0] = test.Endpoints("web", "node-1")
			s.Nodes[0].Labels[corev1.LabelNodeExcludeBalancers] = ""
		}, Error, "NoLocalEndpoint", "let a ready pod of the Service run on node-2, node-3"},
		{"announcements", "no ready endpoint", func(s snap) { s.EndpointSlices, s.Leases = nil, s.Leases[:3] }, Error, "NoReadyEndpoints", "make pods ready"},
		{"announcements", "the election is under way", func(s snap) { s.Leases = s.Leases[:3] }, Warning, "none has taken it yet", "explain"},
		{"announcements", "its holder's session ended", func(s snap) { s.SessionLease(test.Holder).Spec.HolderIdentity = nil }, Warning, "none has taken it yet", "explain"},
		{"local-endpoints", "on one node only", func(s snap) {
			s.Services[0].Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.EndpointSlices[0] = test.Endpoints("web", "node-1")
		}, Warning, "all its ready endpoints are on node-1", "two nodes"},
		{"local-endpoints", "nowhere", func(s snap) {
			s.Services[0].Spec.ExternalTrafficPolicy, s.EndpointSlices = corev1.ServiceExternalTrafficPolicyLocal, nil
		}, Error, "no node has a ready endpoint", "make pods ready"},

		{"address-conflicts", "a stranger answers", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: test.MAC(2), Node: "node-2"}, inspect.Answer{MAC: "02:00:5e:10:00:01", Interface: "eth0"})}
		}, Error, "a host that is no speaker answers for it: 02:00:5e:10:00:01 on eth0, asked from node-1", "take 192.168.1.240 out"},
		{"address-conflicts", "a stranger answers one of two who ask", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1"), probe("node-3", inspect.Answer{MAC: "02:00:5e:10:00:01", Interface: "eth0"}, inspect.Answer{MAC: "02:00:5e:10:00:01", Interface: "eth0"})}
		}, Error, "answers for it: 02:00:5e:10:00:01 on eth0, asked from node-1, node-3", "take 192.168.1.240 out"},
		{"address-conflicts", "a host answers, and it is not known whether it is a speaker", func(s snap) {
			delete(s.SessionLease("node-3").Annotations, names.AnnotationMACs)
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: "02:00:5e:10:00:01", Interface: "eth0"})}
		}, OK, "", ""},
		{"address-conflicts", "a speaker answers", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: test.MAC(2)})}
		}, OK, "", ""},
		{"address-conflicts", "two speakers answer", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: test.MAC(2)}, inspect.Answer{MAC: "02:00:00:00:00:99", Node: "node-3"})}
		}, Warning, "2 nodes of ours answer for it: node-2, node-3, asked from node-1", "ipvs.strictARP: true"},
		{"address-conflicts", "a speaker answers on two interfaces", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: test.MAC(2)}, inspect.Answer{MAC: "02:00:00:00:00:99", Node: "node-2"})}
		}, OK, "", ""},
		{"address-conflicts", "told by a speaker", func(s snap) { annotate(s, test.VIP, names.AnnotationConflict, conflict) }, Error, "02:00:5e:10:00:01 on eth0, seen from node-1", "another address"},
		{"address-conflicts", "a node has it", func(s snap) {
			own := probe("node-1")
			own.Own = inspect.OwnConfigured
			s.Probes = []inspect.Probe{own}
		}, Error, "node-1 itself has it", "another address"},
		{"answers", "nobody", func(s snap) { s.Probes = []inspect.Probe{probe("node-1")} }, Error, "node-2 announces it, and no answer is heard on eth0 of node-1", "ARP inspection"},
		{"answers", "the holder", func(s snap) {
			s.Probes = []inspect.Probe{probe("node-1", inspect.Answer{MAC: test.MAC(2)})}
		}, OK, "", ""},
	} {
		t.Run(tc.check+": "+tc.name, func(t *testing.T) {
			s := test.Healthy()
			tc.breaks(s)
			for _, result := range Examine(s).Checks {
				if result.Check != tc.check {
					continue
				}
				if result.Severity != tc.severity {
					t.Fatalf("%s, want %s: %+v", result.Severity, tc.severity, result)
				}
				if tc.severity == OK {
					return
				}
				if result.Saw == allIsWell[tc.check] && strings.HasPrefix(result.Saw, "no ") {
					t.Errorf("it found %+v and says %q, as when all is well", result.Findings, result.Saw)
				}
				for _, finding := range result.Findings {
					if strings.Contains(finding.Saw, tc.saw) && strings.Contains(finding.Mend, tc.mend) {
						return
					}
				}
				t.Fatalf("no finding has %q and %q: %+v", tc.saw, tc.mend, result.Findings)
			}
			t.Fatalf("there is no check %s", tc.check)
		})
		broken[tc.check] = broken[tc.check] || tc.severity != OK
	}
	for _, check := range Checks() {
		if !broken[check.Name] {
			t.Errorf("nothing here breaks what %s looks at", check.Name)
		}
	}
}

// What cannot be read is not taken for something that is not there.
func TestUnreadIsSkipped(t *testing.T) {
	s := test.Healthy()
	s.Pools, s.Unread = nil, []snapshot.Unread{{What: snapshot.Pools, Why: "forbidden"}}
	diagnosis := Examine(s)
	skipped := 0
	for _, result := range diagnosis.Checks {
		switch {
		case result.Severity == Skipped && result.Saw == "could not read ipaddresspools":
			skipped++
		case result.Severity != OK:
			t.Errorf("%s: %s: %+v", result.Check, result.Severity, result.Findings)
		}
	}
	if skipped == 0 || diagnosis.ExitStatus() != 1 {
		t.Errorf("%d checks are skipped, exit status %d", skipped, diagnosis.ExitStatus())
	}
}

// Where the range of the Services is not known, no pool is said to have no cluster IP.
func TestServiceRangesNotKnown(t *testing.T) {
	s := test.Healthy()
	s.ServiceRanges = nil
	for _, result := range Examine(s).Checks {
		if result.Check == "pool-addresses" && (result.Severity != OK || strings.Contains(result.Saw, "cluster IP")) {
			t.Errorf("%s: %s: %+v", result.Severity, result.Saw, result.Findings)
		}
	}
}

// The summary of a check that found something does not say that all is well.
func TestSawOfFindings(t *testing.T) {
	for check, tc := range map[string]struct {
		breaks func(*snapshot.Snapshot)
		saw    string
	}{
		"pool-advertisements": {func(s *snapshot.Snapshot) { s.Pools = append(s.Pools, test.Pool("spare", 5, "192.168.1.250/32")) }, "1 pool advertised"},
		"crds":                {func(s *snapshot.Snapshot) { s.Served = s.Served[:2] }, "1 kind not served in metallb.io/v1beta1"},
		"heartbeats":          {func(s *snapshot.Snapshot) { s.Speakers["node-1"].Speakers[2].Heard = false }, "not all others are heard by 1 of 3 speakers"},
	} {
		s := test.Healthy()
		tc.breaks(s)
		for _, result := range Examine(s).Checks {
			if result.Check == check && result.Saw != tc.saw {
				t.Errorf("%s says %q, want %q", check, result.Saw, tc.saw)
			}
		}
	}
}

// Names are told apart, and every check says why it is made.
func TestNamesOfChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, check := range Checks() {
		if seen[check.Name] || check.Why == "" || check.Run == nil {
			t.Errorf("check %q is there twice, or says too little", check.Name)
		}
		seen[check.Name] = true
	}
}

// VIPs about which there is a doubt are asked for first, each from a node that does not hold it.
func TestQuestions(t *testing.T) {
	s := test.Healthy()
	s.Leases = append(s.Leases, test.VIPLease("192.168.1.241", "node-1"))
	annotate(s, "192.168.1.241", names.AnnotationConflict, conflict)
	questions := Questions(s, 10)
	if len(questions) != 2 || questions[0].Address.String() != "192.168.1.241" || questions[0].Node == "node-1" || questions[1].Node == test.Holder {
		t.Errorf("questions: %v", questions)
	}
	if questions := Questions(s, 1); len(questions) != 1 {
		t.Errorf("questions: %v", questions)
	}
	if questions := Questions(s, 0); len(questions) != 0 {
		t.Errorf("questions: %v", questions)
	}
}

// A large cluster is examined in about the time that it takes to read it: Services on two nodes, one in a hundred of them waiting, and the LAN
// asked for every address.
func BenchmarkExamine(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("%d Services", services), func(b *testing.B) {
			s := large(services)
			for b.Loop() {
				if d := Examine(s); d.ExitStatus() != 2 {
					b.Fatalf("exit status %d", d.ExitStatus())
				}
			}
		})
	}
}

func large(services int) *snapshot.Snapshot {
	s := test.Healthy()
	s.Pools[0].Spec.Addresses = []string{"192.168.1.240/32", "10.0.0.0/18"}
	for n := range 20 {
		s.Pools = append(s.Pools, test.Pool(fmt.Sprintf("spare-%d", n), n, fmt.Sprintf("10.1.%d.0/24", n)))
	}
	for n := range services {
		address := netip.AddrFrom4([4]byte{10, 0, byte(n / 256), byte(n)})
		service := test.Service("s"+address.String(), address.String())
		holder := 2 + n%2
		if n%100 == 0 {
			service.Status.LoadBalancer.Ingress = nil
			service.Annotations = map[string]string{"metallb.io/loadBalancerIPs": test.VIP}
		} else {
			node := fmt.Sprintf("node-%d", holder)
			s.Leases = append(s.Leases, test.VIPLease(address.String(), node))
			status := s.Speakers[node]
			status.VIPs = append(status.VIPs, inspect.VIP{Address: address, State: inspect.Announcing})
			s.Speakers[node] = status
			s.Probes = append(s.Probes, inspect.Probe{
				Node: "node-1", Address: address, Interfaces: []string{"eth0"}, Answers: []inspect.Answer{{MAC: test.MAC(holder), Interface: "eth0"}},
			})
		}
		s.Services = append(s.Services, service)
		s.EndpointSlices = append(s.EndpointSlices, test.Endpoints(service.Name, "node-1"))
	}
	return s
}
