// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
)

// clusterChecks look at what the product runs on, and at what else runs there.
var clusterChecks = []Check{
	{
		Name: "kubernetes-version",
		Why:  "speakers select Services by spec.type, which API servers before 1.31 refuse, and rely on the API server's own validation of pools",
		Run:  kubernetesVersion,
	},
	{
		Name:  "crds",
		Why:   "pools and L2Advertisements are objects of these kinds: without them there is no configuration; without ServiceL2Statuses none tells which node announces a Service",
		Needs: []string{snapshot.Discovery},
		Run:   crds,
	},
	{
		Name:  "metallb-webhook",
		Why:   "a webhook whose program is gone makes the API server refuse every change of a pool",
		Needs: []string{snapshot.Webhooks},
		Run:   metallbWebhook,
	},
	{
		Name:  "unsupported-objects",
		Why:   "only Layer 2 is done here: what these objects ask for is not done by anybody",
		Needs: []string{snapshot.Discovery, snapshot.Foreign, snapshot.DaemonSets},
		Run:   unsupportedObjects,
	},
	{
		Name:  "other-load-balancers",
		Why:   "two controllers that serve the same Services overwrite each other's addresses, and two hosts then answer for one",
		Needs: []string{snapshot.DaemonSets, snapshot.Deployments, snapshot.ConfigMaps},
		Run:   otherLoadBalancers,
	},
	{
		Name:  "kube-proxy-strict-arp",
		Why:   "kube-proxy in IPVS mode puts every VIP on an interface of every node; without strictARP all nodes then answer ARP for it",
		Needs: []string{snapshot.ConfigMaps},
		Run:   strictARP,
	},
	{
		Name:  "uninitialized-nodes",
		Why:   "a node with this taint gets no pods until some cloud controller manager initializes it; the controller here does Services only, and never will",
		Needs: []string{snapshot.Nodes},
		Run:   uninitializedNodes,
	},
}

var oldestKubernetes = version.MustParseGeneric("1.31.0")

func kubernetesVersion(f *facts) (string, []Finding) {
	running, err := version.ParseGeneric(f.Version)
	if err != nil {
		return "the API server does not tell its version", []Finding{{Severity: Warning, Saw: fmt.Sprintf("version %q", f.Version), Mend: "see kubectl version: it should be 1.31 or later"}}
	}
	saw := "Kubernetes " + running.String()
	if running.LessThan(oldestKubernetes) {
		return saw, []Finding{{Severity: Error, Saw: saw + " is older than 1.31", Mend: "upgrade the cluster to Kubernetes 1.31 or later"}}
	}
	return saw, nil
}

func crds(f *facts) (string, []Finding) {
	var findings []Finding
	for _, resource := range []string{v1beta1.ResourceIPAddressPools, v1beta1.ResourceL2Advertisements, v1beta1.ResourceServiceL2Statuses} {
		if slices.Contains(f.Served, v1beta1.GroupVersion.Version+"/"+resource) {
			continue
		}
		var versions []string
		for _, served := range f.Served {
			if version, name, _ := strings.Cut(served, "/"); name == resource {
				versions = append(versions, version)
			}
		}
		saw := "the API server does not serve " + resource
		if len(versions) > 0 {
			saw = fmt.Sprintf("the API server serves %s in %s and not in %s", resource, strings.Join(versions, ", "), v1beta1.GroupVersion.Version)
		}
		severity := Error
		if resource == v1beta1.ResourceServiceL2Statuses {
			severity = Warning // they are written for people, and nothing here reads them
		}
		findings = append(findings, Finding{
			Severity: severity, Object: "CustomResourceDefinition " + resource + "." + v1beta1.GroupVersion.Group, Saw: saw,
			Mend: "apply the CRDs: kubectl apply -k manifests/crds, or the whole manifests/install.yaml",
		})
	}
	return ifNone(findings, "ipaddresspools, l2advertisements and servicel2statuses in "+v1beta1.GroupVersion.String(), count(len(findings), "kind")+" not served in "+v1beta1.GroupVersion.String()), findings
}

// metallbWebhook tells MetalLB's webhooks by their names: other people's judge pools too, as those of policy engines, and somebody answers them.
func metallbWebhook(f *facts) (string, []Finding) {
	var findings []Finding
	for _, configuration := range f.Webhooks {
		for _, webhook := range configuration.Webhooks {
			if !strings.HasSuffix(webhook.Name, "."+v1beta1.GroupVersion.Group) || !slices.ContainsFunc(webhook.Rules, func(rule admissionv1.RuleWithOperations) bool {
				return slices.Contains(rule.APIGroups, v1beta1.GroupVersion.Group)
			}) {
				continue
			}
			severity := Error
			if webhook.FailurePolicy != nil && *webhook.FailurePolicy == admissionv1.Ignore {
				severity = Warning
			}
			findings = append(findings, Finding{
				Severity: severity, Object: "ValidatingWebhookConfiguration " + configuration.Name,
				Saw:  fmt.Sprintf("webhook %s judges objects of %s; nothing here answers it", webhook.Name, v1beta1.GroupVersion.Group),
				Mend: "delete it: kubectl delete validatingwebhookconfiguration " + configuration.Name,
			})
			break
		}
	}
	return ifNone(findings, "no webhook of MetalLB's", count(len(findings), "configuration")+" of MetalLB's webhooks"), findings
}

func unsupportedObjects(f *facts) (string, []Finding) {
	var findings []Finding
	for _, object := range f.Foreign {
		saw, mend := "it configures BGP, which is not supported", "nothing here reads it: delete it, unless MetalLB is kept for BGP"
		switch kind, _, _ := strings.Cut(object, " "); kind {
		case "BGPAdvertisement":
			mend = "announce its pools with an L2Advertisement, or keep MetalLB for them; then delete it"
		case "BGPPeer":
			mend = "announce what was announced to it with an L2Advertisement, or keep MetalLB for that; then delete it"
		case "FRRConfiguration", "FRRK8sConfiguration":
			saw, mend = "it configures FRR, which is not supported", "nothing here reads it: delete it, unless FRR-K8s is kept, for MetalLB or for something else"
		}
		findings = append(findings, Finding{Severity: Warning, Object: object, Saw: saw, Mend: mend})
	}
	for _, set := range f.DaemonSets {
		if slices.ContainsFunc(set.Spec.Template.Spec.Containers, func(each corev1.Container) bool { return runsFRR(set.Spec.Template.Spec, each) }) {
			findings = append(findings, Finding{
				Severity: Warning, Object: "DaemonSet " + set.Namespace + "/" + set.Name, Saw: "MetalLB's speakers have FRR for BGP, which is not supported",
				Mend: "announce what is announced by BGP with an L2Advertisement, or keep MetalLB for that: see docs/migrate-from-metallb.md",
			})
		}
	}
	return ifNone(findings, "no objects of BGP or FRR", count(len(findings), "object")+" of BGP or FRR"), findings
}

// runsFRR tells whether a container is the FRR that MetalLB's speaker, in the same pod, is told to configure.
func runsFRR(pod corev1.PodSpec, container corev1.Container) bool {
	return container.Name == "frr" && slices.ContainsFunc(pod.Containers, func(each corev1.Container) bool {
		name, _ := otherController(each)
		return name == "MetalLB"
	})
}

// others are load balancer controllers by what their images are called.
var others = []struct{ name, image, mend string }{
	{"MetalLB", "metallb/controller", moveOver},
	{"MetalLB", "metallb/speaker", moveOver},
	{"kube-vip's cloud provider", "kube-vip-cloud-provider", keepApart},
	{"PureLB", "purelb/", keepApart},
	{"OpenELB", "openelb", keepApart},
}

const (
	moveOver  = "see docs/migrate-from-metallb.md; until then give one of the two a loadBalancerClass of its own"
	keepApart = "delete it, or run the controller and the speakers here with --serve-classless=false and a --load-balancer-class"
)

// otherController names the load balancer controller that a container runs, empty when it runs none. MetalLB's images have all sorts of names
// in registries of one's own, and its containers tell themselves by their environment; what is left of that in a container of this
// product, when manifests were merged, does not count.
func otherController(container corev1.Container) (name, mend string) {
	for _, other := range others {
		if strings.Contains(container.Image, other.image) {
			return other.name, other.mend
		}
	}
	theirs := slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return strings.HasPrefix(env.Name, "METALLB_") })
	ours := slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == "POD_NAMESPACE" })
	if theirs && !ours {
		return "MetalLB", moveOver
	}
	return "", ""
}

// kubeVIPAnnounces tells whether a container is kube-vip and announces Services. Its image is known by the last element of its path: the
// registry may be one's own.
func kubeVIPAnnounces(container corev1.Container) bool {
	name, _ := imageName(container.Image)
	return (name == "kube-vip" || name == "kube-vip-iptables") &&
		slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == "svc_enable" && env.Value == "true" })
}

// imageName is the last element of an image's path, and its tag, empty when it has none; what a digest says is left out.
func imageName(image string) (name, tag string) {
	image, _, _ = strings.Cut(image[strings.LastIndex(image, "/")+1:], "@")
	name, tag, _ = strings.Cut(image, ":")
	return name, tag
}

// standsAlone tells whether nothing in the API makes a pod, as it is with those that a kubelet reads from a file.
func standsAlone(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner == nil || owner.Kind == "Node"
}

func otherLoadBalancers(f *facts) (string, []Finding) {
	var findings []Finding
	look := func(object string, labels map[string]string, spec corev1.PodSpec) {
		if _, serviceLB := labels["svccontroller.k3s.cattle.io/svcname"]; serviceLB {
			findings = append(findings, Finding{
				Severity: Error, Object: object, Saw: "k3s's ServiceLB serves LoadBalancer Services", Mend: "start k3s with --disable=servicelb",
			})
			return
		}
		for _, container := range spec.Containers {
			if name, mend := otherController(container); name != "" {
				findings = append(findings, Finding{Severity: Error, Object: object, Saw: fmt.Sprintf("%s runs (image %s)", name, container.Image), Mend: mend})
			}
			if kubeVIPAnnounces(container) {
				findings = append(findings, Finding{
					Severity: Error, Object: object, Saw: "kube-vip announces Services (svc_enable is true)", Mend: "set svc_enable to false; it may go on announcing the control plane",
				})
			}
		}
	}
	for _, set := range f.DaemonSets {
		look("DaemonSet "+set.Namespace+"/"+set.Name, set.Labels, set.Spec.Template.Spec)
	}
	for _, deployment := range f.Deployments {
		look("Deployment "+deployment.Namespace+"/"+deployment.Name, deployment.Labels, deployment.Spec.Template.Spec)
	}
	for _, pod := range f.SystemPods {
		if standsAlone(pod) {
			look("Pod "+pod.Namespace+"/"+pod.Name, pod.Labels, pod.Spec)
		}
	}
	if cilium := f.ConfigMaps["kube-system/cilium-config"]; cilium != nil && cilium.Data["enable-l2-announcements"] == "true" {
		findings = append(findings, Finding{
			Severity: Error, Object: "ConfigMap kube-system/cilium-config", Saw: "Cilium's L2 announcements are on",
			Mend: "set enable-l2-announcements to false there (Helm: l2announcements.enabled=false), or limit its policies to Services of another class",
		})
	}
	return ifNone(findings, "no other controller of LoadBalancer Services", count(len(findings), "object")+" of other controllers of LoadBalancer Services"), findings
}

func strictARP(f *facts) (string, []Finding) {
	object := f.ConfigMaps["kube-system/kube-proxy"]
	if object == nil {
		return "no ConfigMap kube-system/kube-proxy: its mode is not known here", nil
	}
	var configuration struct {
		Mode string `json:"mode"`
		IPVS struct {
			StrictARP bool `json:"strictARP"`
		} `json:"ipvs"`
	}
	const name = "ConfigMap kube-system/kube-proxy"
	if err := yaml.Unmarshal([]byte(object.Data["config.conf"]), &configuration); err != nil {
		return "its configuration cannot be read", []Finding{{Severity: Warning, Object: name, Saw: "config.conf is no YAML: " + err.Error(), Mend: "correct it"}}
	}
	mode := configuration.Mode
	if mode == "" {
		mode = "iptables, by default"
	}
	if configuration.Mode == "ipvs" && !configuration.IPVS.StrictARP {
		return "kube-proxy's mode is ipvs", []Finding{{
			Severity: Error, Object: name, Saw: "mode is ipvs and ipvs.strictARP is not true",
			Mend: "set ipvs.strictARP: true in config.conf (kubectl edit configmap -n kube-system kube-proxy), then kubectl rollout restart -n kube-system daemonset kube-proxy",
		}}
	}
	return "kube-proxy's mode is " + mode, nil
}

const taintUninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

func uninitializedNodes(f *facts) (string, []Finding) {
	var findings []Finding
	for _, node := range f.Nodes {
		if slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == taintUninitialized }) {
			findings = append(findings, Finding{
				Severity: Warning, Object: "Node " + node.Name, Saw: "it has the taint " + taintUninitialized,
				Mend: fmt.Sprintf("unless another cloud controller manager initializes it soon: start its kubelet without --cloud-provider=external, and take the taint off: kubectl taint node %s %s-", node.Name, taintUninitialized),
			})
		}
	}
	return ifNone(findings, "no node waits to be initialized", count(len(findings), "node")+" to be initialized"), findings
}
