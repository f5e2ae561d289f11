// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// An ailment is a way in which a cluster is broken, what `kubectl l2` says of it, and how that mends it.
type ailment struct {
	name string
	// breaks the cluster, and returns what mends it as the finding says.
	breaks func(b *bench) (mend func())
	// subject that explain is asked about; empty: doctor is asked, for the finding of a check.
	subject, check string
	// saw and mend are parts of what is said.
	saw, mend string
	// healed tells that what was broken works again.
	healed func(b *bench)
}

// Each ailment, brought about on the real cluster, is found by explain or doctor, and gone when what they say is done.
func TestAilmentsAreFoundAndMended(t *testing.T) {
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range []ailment{
		{
			name: "no pool", subject: "sick", saw: "there is no IPAddressPool", mend: "create an IPAddressPool",
			breaks: func(b *bench) func() {
				b.apply(backend().YAML())
				b.pending("sick")
				return func() { b.apply(pool("lan", lan), advertisement("lan", "lan")) }
			},
			healed: announcedAgain,
		},
		{
			name: "pool exhausted", subject: "sick", saw: "no free IPv4 address in pool e2e-lan: 1 of 1 in use", mend: "kubectl edit ipaddresspool -n metallb-system e2e-lan",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", "192.168.1.240/32"), advertisement("lan", "lan"), service("first"))
				b.address("first")
				b.apply(backend().YAML())
				b.pending("sick")
				return func() { b.must(b.Apply(b.ctx, pool("lan", lan))) }
			},
			healed: announcedAgain,
		},
		{
			name: "pools overlap", check: "pools", saw: "192.168.1.245-192.168.1.249 is not used: the older pool e2e-lan has it", mend: "take 192.168.1.245-192.168.1.249 out of one of the two",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisement("lan"))
				b.ready("lan")
				// Objects are told apart by age to the second.
				b.must(waitForNextSecond(b.ctx))
				b.apply(pool("young", "192.168.1.245-192.168.1.254"))
				return func() { b.must(b.Apply(b.ctx, pool("young", "192.168.1.250-192.168.1.254"))) }
			},
			healed: func(b *bench) { b.findsNothing("pools") },
		},
		{
			name: "no advertisement", subject: "sick", saw: "NoAdvertisement", mend: "create an L2Advertisement in namespace metallb-system with spec.ipAddressPools: [e2e-lan]",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), backend().YAML())
				b.address("sick")
				return func() { b.apply(advertisement("lan", "lan")) }
			},
			healed: announcedAgain,
		},
		{
			name: "an advertisement that selects nothing", check: "advertisements", saw: "it is for no pool that there is", mend: "the pools are e2e-lan",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisement("lan", "nal"), backend().YAML())
				b.address("sick")
				return func() { b.must(b.Apply(b.ctx, advertisement("lan", "lan"))) }
			},
			healed: announcedAgain,
		},
		{
			name: "node label missing", subject: "sick", saw: "NotSelected", mend: "e2e-lan: e2e-edge=true",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisementWith("lan", "nodeSelectors: [{matchLabels: {e2e-edge: 'true'}}]", "lan"), backend().YAML())
				b.address("sick")
				return func() { b.labelNode("node-2", "e2e-edge=true", "e2e-edge-") }
			},
			healed: announcedAgain,
		},
		{
			name: "exclude label on all nodes", subject: "sick", saw: "ExcludeLabel", mend: "kubectl label node node-1 node-2 node-3 " + excludeLabel + "-",
			breaks: func(b *bench) func() {
				b.labelNode("--all", excludeLabel+"=", excludeLabel+"-")
				b.apply(pool("lan", lan), advertisement("lan", "lan"), backend().YAML())
				b.address("sick")
				return func() {
					_, err := b.Kubectl(b.ctx, "label", "node", "node-1", "node-2", "node-3", excludeLabel+"-")
					b.must(err)
				}
			},
			healed: announcedAgain,
		},
		{
			name: "Local without a local endpoint", subject: "sick", saw: "NoLocalEndpoint", mend: "set the Service's externalTrafficPolicy to Cluster",
			breaks: func(b *bench) func() {
				web := backend()
				b.apply(pool("lan", lan), web.YAML())
				b.must(b.KeepOff(b.ctx, web, "node-1"))
				_, err := b.Kubectl(b.ctx, "patch", "service", "sick", "-n", namespace, "-p", `{"spec":{"externalTrafficPolicy":"Local"}}`)
				b.must(err)
				b.apply(advertisementWith("lan", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node-1}}]", "lan"))
				b.address("sick")
				return func() {
					_, err := b.Kubectl(b.ctx, "patch", "service", "sick", "-n", namespace, "-p", `{"spec":{"externalTrafficPolicy":"Cluster"}}`)
					b.must(err)
				}
			},
			healed: announcedAgain,
		},
		{
			name: "7946 blocked", check: "heartbeats", saw: "no speaker hears another", mend: "let UDP port 7946 pass",
			breaks: func(b *bench) func() {
				nodes, err := b.Nodes(b.ctx)
				b.must(err)
				var opens []func()
				for _, node := range nodes {
					_, err := b.Exec(b.ctx, node, "nft", "add table inet e2e; add chain inet e2e in { type filter hook input priority 0; }; add rule inet e2e in udp dport 7946 drop")
					b.must(err)
					opens = append(opens, b.later(func(ctx context.Context) error {
						_, err := b.Exec(ctx, node, "nft", "delete table inet e2e")
						return err
					}))
				}
				return func() {
					for _, open := range opens {
						open()
					}
				}
			},
			healed: func(b *bench) { b.findsNothing("heartbeats") },
		},
		{
			name: "duplicate address on the LAN", check: "address-conflicts", saw: "a host that is no speaker answers for it", mend: "give that host another address, or take 192.168.1.244 out of its pool",
			breaks: func(b *bench) func() {
				_, err := b.Exec(b.ctx, lab.Client, "ip", "address", "add", "192.168.1.244/32", "dev", "eth0")
				b.must(err)
				mend := b.later(func(ctx context.Context) error {
					_, err := b.Exec(ctx, lab.Client, "ip", "address", "delete", "192.168.1.244/32", "dev", "eth0")
					return err
				})
				web := backend()
				web.Annotations = map[string]string{"metallb.io/loadBalancerIPs": "192.168.1.244"} // by name: another is not given
				b.apply(pool("lan", lan), advertisement("lan", "lan"), web.YAML())
				b.address("sick")
				return mend
			},
			healed: announcedAgain,
		},
		{
			name: "pool outside every node's subnet", check: "pool-subnets", saw: "172.16.0.0-172.16.0.15 is outside every node's subnet", mend: "give the pool free addresses of a node's subnet",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", "172.16.0.0/28"), advertisement("lan", "lan"))
				return func() { b.must(b.Apply(b.ctx, pool("lan", lan))) }
			},
			healed: func(b *bench) { b.findsNothing("pool-subnets") },
		},
	} {
		t.Run(a.name, func(t *testing.T) {
			b := begin(t, 3*time.Minute)
			mend := a.breaks(b)
			if a.check != "" {
				b.finds(a.check, a.saw, a.mend)
			} else {
				b.explains(a.subject, a.saw, a.mend)
			}
			mend()
			a.healed(b)
		})
	}
}

const (
	lan          = "192.168.1.240-192.168.1.249"
	excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"
)

func backend() lab.Backend { return lab.Backend{Namespace: namespace, Name: "sick", Replicas: 1} }

// announcedAgain waits until a node answers for the sick Service, and explain says so and has nothing to mend.
func announcedAgain(b *bench) {
	b.t.Helper()
	vip := b.address("sick")
	node, err := b.AwaitHolder(b.ctx, vip, lab.Anybody)
	b.must(err)
	b.explains("sick", fmt.Sprintf("%s is announced by %s", vip, node), "")
}

// labelNode labels nodes for as long as the test runs.
func (b *bench) labelNode(node, label, without string) {
	b.t.Helper()
	_, err := b.Kubectl(b.ctx, "label", "node", node, label)
	b.must(err)
	b.later(func(ctx context.Context) error {
		_, err := b.Kubectl(ctx, "label", "node", node, without)
		return err
	})
}

// explains asks explain about a Service until it says what is expected, of the ailment and of what mends it; with an empty mend, until it
// has nothing to mend. What is asked takes its time to come about.
func (b *bench) explains(service, saw, mend string) {
	b.t.Helper()
	var explanation view.Explanation
	b.asks(&explanation, func() bool {
		advice := strings.Join(explanation.Mend, "\n")
		return strings.Contains(explanation.Verdict, saw) && strings.Contains(advice, mend) && (mend != "" || advice == "")
	}, "explain", service, "-n", namespace, "-o", "json")
}

// finds asks doctor until a check finds what is expected.
func (b *bench) finds(check, saw, mend string) {
	b.t.Helper()
	var diagnosis doctor.Diagnosis
	status := b.asks(&diagnosis, func() bool {
		for _, result := range diagnosis.Checks {
			for _, finding := range result.Findings {
				if result.Check == check && strings.Contains(finding.Saw, saw) && strings.Contains(finding.Mend, mend) {
					return true
				}
			}
		}
		return false
	}, "doctor", "-o", "json")
	if status != 1 && status != 2 {
		b.t.Errorf("doctor's exit status is %d", status)
	}
}

// findsNothing asks doctor until a check finds nothing.
func (b *bench) findsNothing(check string) {
	b.t.Helper()
	var diagnosis doctor.Diagnosis
	b.asks(&diagnosis, func() bool {
		for _, result := range diagnosis.Checks {
			if result.Check == check {
				return result.Severity == doctor.OK
			}
		}
		return false
	}, "doctor", "-o", "json")
}

// asks runs `kubectl l2` until content is, and returns its last exit status.
func (b *bench) asks(into any, content func() bool, args ...string) int {
	b.t.Helper()
	var said string
	for {
		var status int
		var err error
		said, status, err = b.Plugin(b.ctx, args...)
		if b.ctx.Err() != nil {
			b.t.Fatalf("kubectl l2 %s goes on saying %s, %v", strings.Join(args, " "), said, err)
		}
		b.must(err)
		if err := json.Unmarshal([]byte(said), into); err != nil {
			b.t.Fatalf("kubectl l2 %s: %v: %s", strings.Join(args, " "), err, said)
		}
		if content() {
			return status
		}
	}
}

// waitForNextSecond returns when the API server's next object has a later time of creation than its last.
func waitForNextSecond(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second))):
		return nil
	}
}

// Whatever doctor looks at beside that is broken too, one thing after the other, and found: by `make test-long`.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	if !*long {
		t.Skip("takes a minute and a half: run by make test-long")
	}
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range []ailment{
		{
			name: "MetalLB's webhook is left over", check: "metallb-webhook", saw: "webhook ipaddresspoolvalidationwebhook.metallb.io", mend: "kubectl delete validatingwebhookconfiguration e2e-metallb",
			breaks: func(b *bench) func() { return b.apply(leftoverWebhook) },
		},
		{
			name: "objects of BGP, by a CRD shaped like MetalLB's", check: "unsupported-objects", saw: "configures BGP", mend: "announce its pools with an L2Advertisement",
			breaks: func(b *bench) func() {
				removeCRD := b.apply(bgpPeers)
				_, err := b.Kubectl(b.ctx, "wait", "crd/bgppeers.metallb.io", "--for=condition=Established", "--timeout=20s")
				b.must(err)
				remove := b.apply("apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: e2e-tor, namespace: metallb-system}\n")
				return func() { remove(); removeCRD() }
			},
		},
		{
			name: "MetalLB runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "MetalLB runs", mend: "migrate-from-metallb",
			breaks: func(b *bench) func() { return b.apply(otherSpeaker("quay.io/metallb/speaker:v0.15.2")) },
		},
		{
			name: "kube-vip runs, by a DaemonSet of its image's name that starts no pod", check: "other-load-balancers", saw: "kube-vip announces Services", mend: "set svc_enable to false",
			breaks: func(b *bench) func() { return b.apply(otherSpeaker("ghcr.io/kube-vip/kube-vip:v1.0.0")) },
		},
		{
			name: "Cilium's L2 announcements, by its ConfigMap alone", check: "other-load-balancers", saw: "Cilium's L2 announcements are on", mend: "enable-l2-announcements",
			breaks: func(b *bench) func() {
				return b.apply(configMap("cilium-config", "enable-l2-announcements: 'true'"))
			},
		},
		{
			name: "IPVS without strictARP, by kube-proxy's ConfigMap alone", check: "kube-proxy-strict-arp", saw: "strictARP is not true", mend: "strictARP: true",
			breaks: func(b *bench) func() {
				return b.apply(configMap("kube-proxy", "config.conf: 'mode: ipvs'"))
			},
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
			name: "no controller", check: "controller", saw: "no pod with the label component=controller", mend: "kubectl apply",
			breaks: func(b *bench) func() {
				scale := func(ctx context.Context, replicas string) error {
					_, err := b.Kubectl(ctx, "scale", "deployment/controller", "-n", lab.Namespace, "--replicas="+replicas)
					return err
				}
				b.must(scale(b.ctx, "0"))
				return b.later(func(ctx context.Context) error { return scale(ctx, "1") })
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
			name: "a pool with a node's address", check: "pool-addresses", saw: "node node-1", mend: "take 192.168.1.11 out of it",
			breaks: func(b *bench) func() { return b.apply(pool("lan", "192.168.1.11-192.168.1.15")) },
		},
		{
			name: "a pool with the gateway's address", check: "pool-addresses", saw: "the gateway", mend: "take 192.168.1.1 out of it",
			breaks: func(b *bench) func() { return b.apply(pool("lan", "192.168.1.1-192.168.1.5")) },
		},
		{
			name: "a pool with cluster IPs", check: "pool-addresses", saw: "10.96.0.0/16", mend: "out of it",
			breaks: func(b *bench) func() { return b.apply(pool("lan", "10.96.200.0/30")) },
		},
		{
			name: "a pool without advertisement", check: "pool-advertisements", saw: "no L2Advertisement is for it", mend: "spec.ipAddressPools: [e2e-lan]",
			breaks: func(b *bench) func() { return b.apply(pool("lan", lan)) },
		},
		{
			name: "an advertisement of an interface that no node has", check: "advertisements", saw: "eht0", mend: "correct spec.interfaces",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan))
				return b.apply(advertisementWith("lan", "interfaces: [eht0]", "lan"))
			},
		},
		{
			name: "Local on one node", check: "local-endpoints", saw: "no other node can take over", mend: "two nodes or more",
			breaks: func(b *bench) func() {
				web := backend()
				remove := b.apply(pool("lan", lan), advertisement("lan", "lan"), web.YAML())
				b.must(b.AwaitReady(b.ctx, web))
				_, err := b.Kubectl(b.ctx, "patch", "service", "sick", "-n", namespace, "-p", `{"spec":{"externalTrafficPolicy":"Local"}}`)
				b.must(err)
				return remove
			},
		},
		{
			name: "answers that do not leave the holder", check: "answers", saw: "no answer is heard on eth0", mend: "nothing filters ARP",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", "192.168.1.240/32"), advertisement("lan", "lan"), backend().YAML())
				holder := b.holder(b.address("sick"), lab.Anybody)
				_, err := b.Exec(b.ctx, holder, "nft", "add table netdev e2e; "+
					"add chain netdev e2e out { type filter hook egress device eth0 priority 0; }; add rule netdev e2e out arp saddr ip 192.168.1.240 drop")
				b.must(err)
				return b.later(func(ctx context.Context) error {
					_, err := b.Exec(ctx, holder, "nft", "delete table netdev e2e")
					return err
				})
			},
		},
	} {
		t.Run(a.name, func(t *testing.T) {
			b := begin(t, 3*time.Minute)
			mend := a.breaks(b)
			b.finds(a.check, a.saw, a.mend)
			mend()
			b.findsNothing(a.check)
		})
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
func otherSpeaker(image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: e2e-other, namespace: kube-system}
spec:
  selector: {matchLabels: {app: e2e-other}}
  template:
    metadata: {labels: {app: e2e-other}}
    spec:
      nodeSelector: {e2e: nowhere}
      containers: [{name: other, image: %q, env: [{name: svc_enable, value: "true"}]}]
`, image)
}
