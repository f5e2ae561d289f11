// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// brokenAtOnce are ways to break a cluster that leave each other alone: objects, applied together, and then what else is done. The webhook
// comes last, which refuses every change of a pool.
func brokenAtOnce() []ailment {
	const migrate, class = "migrate-from-metallb", "--serve-classless=false"
	return []ailment{
		{
			name: "settings: the controller has the --cloud-config of docs/reference.md, the speakers do not", check: "settings", saw: `--load-balancer-class="example.com/l2"`, mend: "give both the same flags",
			breaks: configured,
		},
		{
			name: "objects of BGP, by a CRD shaped like MetalLB's", check: "unsupported-objects", saw: "configures BGP", mend: "announce what was announced to it with an L2Advertisement",
			breaks: func(b *bench) func() {
				removeCRD := b.apply(bgpPeers)
				_, err := b.Kubectl(b.ctx, "wait", "crd/bgppeers.metallb.io", "--for=condition=Established", "--timeout=20s")
				b.must(err)
				remove := b.apply("apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: e2e-tor, namespace: metallb-system}\n")
				return func() { remove(); removeCRD() }
			},
		},
		{
			name: "MetalLB runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "MetalLB runs", mend: migrate,
			objects: otherSpeaker("metallb", "quay.io/metallb/speaker:v0.15.2", ""),
		},
		{
			name: "kube-vip runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "kube-vip announces Services", mend: "set svc_enable to false",
			objects: otherSpeaker("kube-vip", "ghcr.io/kube-vip/kube-vip:v1.0.0", ""),
		},
		{
			name: "kube-vip's cloud provider runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "kube-vip's cloud provider runs", mend: class,
			objects: otherSpeaker("kube-vip-cloud", "ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.12", ""),
		},
		{
			name: "PureLB runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "PureLB runs", mend: class,
			objects: otherSpeaker("purelb", "ghcr.io/purelb/purelb/lbnodeagent:v0.16.6", ""),
		},
		{
			name: "OpenELB runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "OpenELB runs", mend: class,
			objects: otherSpeaker("openelb", "kubesphere/openelb-speaker:v0.6.0", ""),
		},
		{
			name: "k3s's ServiceLB, by a DaemonSet with its label that starts no pod", check: "other-load-balancers", saw: "k3s's ServiceLB serves", mend: "--disable=servicelb",
			objects: otherSpeaker("svclb", "rancher/klipper-lb:v0.4.13", "svccontroller.k3s.cattle.io/svcname: web"),
		},
		{
			name: "Cilium's L2 announcements, by its ConfigMap alone", check: "other-load-balancers", saw: "Cilium's L2 announcements are on", mend: "enable-l2-announcements",
			objects: configMap("cilium-config", "enable-l2-announcements: 'true'"),
		},
		{
			name: "IPVS without strictARP, by kube-proxy's ConfigMap alone", check: "kube-proxy-strict-arp", saw: "strictARP is not true", mend: "strictARP: true",
			objects: configMap("kube-proxy", "config.conf: 'mode: ipvs'"),
		},
		{
			name: "a node waits to be initialized", check: "uninitialized-nodes", saw: "node.cloudprovider.kubernetes.io/uninitialized", mend: "kubectl taint node node-2",
			breaks: func(b *bench) func() {
				const taint = "node.cloudprovider.kubernetes.io/uninitialized"
				_, err := b.Kubectl(b.ctx, "taint", "node", "node-2", taint+"=true:NoSchedule")
				b.must(err)
				return b.later(func(ctx context.Context) error {
					_, err := b.Kubectl(ctx, "taint", "node", "node-2", taint+"-")
					return err
				})
			},
		},
		{
			name: "a pool with a node's address", check: "pool-addresses", saw: "node node-1", mend: "take 192.168.1.11 out of it",
			objects: shut("node", "192.168.1.11-192.168.1.15"),
		},
		{
			name: "a pool with the gateway's address", check: "pool-addresses", saw: "the gateway", mend: "take 192.168.1.1 out of it",
			objects: shut("gateway", "192.168.1.1-192.168.1.5"),
		},
		{
			name: "a pool with cluster IPs", check: "pool-addresses", saw: "10.96.0.0/16", mend: "out of it",
			objects: shut("cluster", "10.96.200.0/30"),
		},
		{
			name: "a pool with addresses of pods", check: "pool-addresses", saw: "the pods of node node-1", mend: "out of it",
			objects: shut("pods", "10.244.1.0/30"),
		},
		{
			name: "a pool without an address left", check: "pool-capacity", saw: "all of its 1 IPv4 addresses are in use", mend: "kubectl edit ipaddresspool -n metallb-system e2e-full",
			objects: shut("full", "192.168.1.244/32") + "---\n" + service("full", "metallb.io/address-pool", "e2e-full"),
		},
		{
			name: "a Service that waits", check: "services", saw: "1 of 1 in use", mend: "kubectl edit ipaddresspool -n metallb-system e2e-full",
			breaks: func(b *bench) func() {
				b.address("full")
				return b.apply(service("late", "metallb.io/address-pool", "e2e-full"))
			},
		},
		{
			name: "a pool without advertisement, in use", check: "pool-advertisements", saw: "no L2Advertisement is for it, and 1 of its addresses are in use", mend: "spec.ipAddressPools: [e2e-dark]",
			objects: shut("dark", "192.168.1.246/32") + "---\n" + ofSick(service("dark", "metallb.io/address-pool", "e2e-dark")),
		},
		{
			name: "an address that nobody announces", check: "announcements", saw: "NoAdvertisement", mend: "create an L2Advertisement in namespace metallb-system with spec.ipAddressPools: [e2e-dark]",
			// as above
		},
		{
			name: "an advertisement of an interface that no node has", check: "advertisements", saw: "eht0", mend: "correct spec.interfaces",
			objects: advertisementWith("typo", "interfaces: [eht0]", "lan"),
		},
		{
			name: "an advertisement that selects no node", check: "advertisements", saw: "select no node", mend: "e2e-rack=9",
			objects: advertisementWith("no-node", "nodeSelectors: [{matchLabels: {e2e-rack: '9'}}]", "lan"),
		},
		{
			name: "an advertisement that selects no Service", check: "advertisements", saw: "match no Service", mend: "e2e-tier=gold",
			objects: advertisementWith("no-service", "serviceSelectors: [{matchLabels: {e2e-tier: gold}}]", "lan"),
		},
		{
			name: "an advertisement of a pool too many", check: "advertisements", saw: "names pools that there are not: e2e-nal", mend: "correct spec.ipAddressPools",
			objects: advertisement("too-many", "lan", "nal"),
		},
		{
			name: "Local without an endpoint", check: "local-endpoints", saw: "no node has a ready endpoint", mend: "kubectl get endpointslices -n default",
			objects: serviceWith("nowhere", "externalTrafficPolicy: Local"),
		},
		{
			name: "Local on one node", check: "local-endpoints", saw: "no other node can take over", mend: "two nodes or more",
			objects: ofSick(serviceWith("lonely", "externalTrafficPolicy: Local")),
		},
		{
			name: "answers that do not leave the holder", check: "answers", saw: "no answer is heard on eth0", mend: "nothing filters ARP",
			breaks: func(b *bench) func() {
				vip := b.address("sick")
				holder := b.holder(vip, lab.Anybody)
				_, err := b.Exec(b.ctx, holder, "nft", "add table netdev e2e; "+
					"add chain netdev e2e out { type filter hook egress device eth0 priority 0; }; add rule netdev e2e out arp saddr ip "+vip.String()+" drop")
				b.must(err)
				return b.later(func(ctx context.Context) error {
					_, err := b.Exec(ctx, holder, "nft", "delete table netdev e2e")
					return err
				})
			},
		},
		{
			name: "MetalLB's webhook is left over", check: "metallb-webhook", saw: "webhook ipaddresspoolvalidationwebhook.metallb.io", mend: "kubectl delete validatingwebhookconfiguration e2e-metallb",
			breaks: func(b *bench) func() { return b.apply(leftoverWebhook) },
		},
	}
}

// configured gives the controller the file that docs/reference.md shows, as that page says how.
func configured(b *bench) func() {
	e := examples{b, documentation(b.t), b.t.TempDir()}
	objects, err := e.built(e.shows("value: --cloud-config="))
	b.must(err)
	undo := b.later(func(ctx context.Context) error {
		if _, err := b.Kubectl(ctx, "apply", "-f", filepath.Join(b.Root, lab.Manifest)); err != nil {
			return err
		}
		_, err := b.Shell(ctx, b.Root, "kubectl get configmaps -n "+lab.Namespace+" -o name | grep /cloud-config- | xargs -r kubectl delete -n "+lab.Namespace, 0)
		return err
	})
	b.must(b.Apply(b.ctx, objects))
	return undo
}

// brokenByProxy are ways in which another API server answers.
func brokenByProxy() []ailment {
	return []ailment{
		{name: "Kubernetes older than 1.31, by what a proxy answers", check: "kubernetes-version", saw: "1.30.9 is older than 1.31", mend: "upgrade the cluster"},
		{name: "no CRDs, by what a proxy answers", check: "crds", saw: "does not serve ipaddresspools", mend: "kubectl apply -k manifests/crds"},
	}
}

// oldProxy stands before the API server as one of Kubernetes 1.30 without our kinds.
func oldProxy(b *bench) http.Handler {
	transport, err := rest.TransportFor(b.Config)
	b.must(err)
	target, err := url.Parse(b.Config.Host)
	b.must(err)
	version, err := b.API.Discovery().ServerVersion()
	b.must(err)
	version.Minor, version.GitVersion = "30", "v1.30.9"
	groups, err := b.API.Discovery().ServerGroups()
	b.must(err)
	groups.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}
	groups.Groups = slices.DeleteFunc(groups.Groups, func(group metav1.APIGroup) bool { return group.Name == "metallb.io" || group.Name == "" })
	says := func(value any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(value) // whoever asked has gone
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	mux.Handle("/version", says(version))
	mux.Handle("/apis", says(groups))
	mux.Handle("/apis/metallb.io/", http.NotFoundHandler())
	return mux
}

// brokenOneByOne are ways to break a cluster that leave nothing else alone.
func brokenOneByOne() []ailment {
	return []ailment{
		{
			name: "no controller", check: "controller", saw: "no pod with the label component=controller", mend: "kubectl apply",
			breaks: func(b *bench) func() { return b.controllers(0) },
		},
		{
			name: "a controller whose image is not there", check: "controller", saw: "container controller waits", mend: "kubectl describe pod",
			breaks: func(b *bench) func() {
				_, err := b.Kubectl(b.ctx, "set", "image", "deployment/controller", "controller=localhost/nowhere:v9", "-n", lab.Namespace)
				b.must(err)
				return b.later(func(ctx context.Context) error {
					_, err := b.Kubectl(ctx, "rollout", "undo", "deployment/controller", "-n", lab.Namespace)
					return err
				})
			},
		},
		{
			name: "a node without a speaker", check: "speakers", saw: "no speaker runs on node-3", mend: "tolerations",
			breaks: func(b *bench) func() {
				patch := func(ctx context.Context, value string) error {
					_, err := b.Kubectl(ctx, "patch", "daemonset", "speaker", "-n", lab.Namespace, "-p", `{"spec":{"template":{"spec":{"affinity":`+value+`}}}}`)
					return err
				}
				b.must(patch(b.ctx, `{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"NotIn","values":["node-3"]}]}]}}}`))
				return b.later(func(ctx context.Context) error { return patch(ctx, "null") })
			},
		},
		{
			name: "a speaker that cannot reach the API server", check: "sessions", saw: "its session was not renewed", mend: "let it reach the API server",
			breaks: func(b *bench) func() {
				b.must(b.IsolateFromAPI(b.ctx, "node-3"))
				return b.later(func(ctx context.Context) error { return b.Heal(ctx, "node-3") })
			},
		},
		{
			name: "a CRD of another version", check: "crds", saw: "serves l2advertisements in v1 and not in v1beta1", mend: "kubectl apply -k manifests/crds",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisement("lan", "lan"), served("sick"))
				b.holder(b.address("sick"), lab.Anybody)
				// The stored version stays, and with it all objects.
				_, err := b.Kubectl(b.ctx, "patch", "crd/l2advertisements.metallb.io", "--type=json", "-p", `[
					{"op": "copy", "from": "/spec/versions/0", "path": "/spec/versions/1"},
					{"op": "replace", "path": "/spec/versions/1/name", "value": "v1"},
					{"op": "replace", "path": "/spec/versions/1/storage", "value": false},
					{"op": "replace", "path": "/spec/versions/0/served", "value": false}]`)
				b.must(err)
				return b.later(func(ctx context.Context) error {
					_, err := b.Kubectl(ctx, "apply", "-k", filepath.Join(b.Root, "manifests", "crds"))
					return err
				})
			},
			healed: func(b *bench) {
				announcedAgain(b)
				// And speakers see what is changed now.
				vip := b.address("sick")
				elsewhere := other([]string{"node-1", "node-2"}, b.holder(vip, lab.Anybody))
				b.must(b.Apply(b.ctx, advertisementWith("lan", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: "+elsewhere+"}}]", "lan")))
				_, err := b.AwaitHolder(b.ctx, vip, func(node string) bool { return node == elsewhere })
				b.must(err)
			},
		},
	}
}

// leftoverWebhook is what MetalLB leaves behind, for objects of a name that no other test uses.
const leftoverWebhook = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: e2e-metallb}
webhooks:
  - name: ipaddresspoolvalidationwebhook.metallb.io
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    clientConfig: {service: {name: metallb-webhook-service, namespace: metallb-system, path: /validate}}
    rules: [{apiGroups: [metallb.io], apiVersions: [v1beta1], operations: [CREATE, UPDATE], resources: [ipaddresspools]}]
`

// bgpPeers is a CRD of MetalLB's name and no more than a name.
const bgpPeers = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: bgppeers.metallb.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: metallb.io
  names: {kind: BGPPeer, plural: bgppeers, singular: bgppeer, listKind: BGPPeerList}
  scope: Namespaced
  versions: [{name: v1beta2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`

// configMap is one in kube-system.
func configMap(name, data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: kube-system}\ndata: {%s}\n", name, data)
}

// otherSpeaker is a DaemonSet for nodes that there are not.
func otherSpeaker(name, image, labels string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: e2e-%[1]s, namespace: kube-system, labels: {%[3]s}}
spec:
  selector: {matchLabels: {app: e2e-%[1]s}}
  template:
    metadata: {labels: {app: e2e-%[1]s}}
    spec:
      nodeSelector: {e2e: nowhere}
      containers: [{name: other, image: %[2]q, env: [{name: svc_enable, value: "true"}]}]
`, name, image, labels)
}

// shut is a pool of which nobody gets an address who does not ask for it by name.
func shut(name string, addresses ...string) string {
	return poolWith(name, "autoAssign: false", addresses...)
}

// ofSick makes a Service one of the backend's.
func ofSick(service string) string { return strings.Replace(service, "app: nobody", "app: sick", 1) }
