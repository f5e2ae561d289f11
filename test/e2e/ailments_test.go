// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// An ailment is a way in which a cluster is broken, what `kubectl l2` says of it, and how that mends it.
type ailment struct {
	name string
	// objects break the cluster; or breaks does, and returns what mends it as the finding says.
	objects string
	breaks  func(b *bench) (mend func())
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
	for _, a := range ailments() {
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

func ailments() []ailment {
	return []ailment{
		{
			name: "no pool", subject: "sick", saw: "there is no IPAddressPool", mend: "create an IPAddressPool",
			breaks: func(b *bench) func() {
				b.apply(served("sick"))
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
				b.apply(served("sick"))
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
				b.apply(pool("lan", lan), served("sick"))
				b.address("sick")
				return func() { b.apply(advertisement("lan", "lan")) }
			},
			healed: announcedAgain,
		},
		{
			name: "an advertisement that selects nothing", check: "advertisements", saw: "it is for no pool that there is", mend: "the pools are e2e-lan",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisement("lan", "nal"), served("sick"))
				b.address("sick")
				return func() { b.must(b.Apply(b.ctx, advertisement("lan", "lan"))) }
			},
			healed: announcedAgain,
		},
		{
			name: "node label missing", subject: "sick", saw: "NotSelected", mend: "e2e-lan: e2e-edge=true",
			breaks: func(b *bench) func() {
				b.apply(pool("lan", lan), advertisementWith("lan", "nodeSelectors: [{matchLabels: {e2e-edge: 'true'}}]", "lan"), served("sick"))
				b.address("sick")
				return func() { b.labelNode("node-2", "e2e-edge=true", "e2e-edge-") }
			},
			healed: announcedAgain,
		},
		{
			name: "exclude label on all nodes", subject: "sick", saw: "ExcludeLabel", mend: "kubectl label node node-1 node-2 node-3 " + excludeLabel + "-",
			breaks: func(b *bench) func() {
				b.labelNode("--all", excludeLabel+"=", excludeLabel+"-")
				b.apply(pool("lan", lan), advertisement("lan", "lan"), served("sick"))
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
			breaks: func(b *bench) func() { return b.dropped("udp dport 7946") },
			healed: func(b *bench) { b.findsNothing("heartbeats") },
		},
		{
			name: "multicast filtered, and nothing else", check: "heartbeats", saw: "no speaker hears another", mend: "the groups 224.0.0.254 and ff12::8c32:7946 (switches that filter multicast)",
			breaks: func(b *bench) func() { return b.dropped("ip daddr 224.0.0.254", "ip6 daddr ff12::8c32:7946") },
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
				// By name: another is not given.
				b.apply(pool("lan", lan), advertisement("lan", "lan"), served("sick", "metallb.io/loadBalancerIPs", "192.168.1.244"))
				b.address("sick")
				stranger, err := b.MAC(b.ctx, lab.Client)
				b.must(err)
				if got, want := b.event("sick", "AddressConflict"), regexp.MustCompile("^another host, "+stranger+` on eth0 of node "node-\d", has 192\.168\.1\.244, which is not announced`); !want.MatchString(got) {
					b.t.Errorf("event AddressConflict says %q, want %q", got, want)
				}
				return func() {
					mend()
					// The speakers try again within 30 s; without the annotation, at once.
					_, err := b.Kubectl(b.ctx, "annotate", "lease", "vip-192.168.1.244", "-n", lab.Namespace, names.AnnotationConflict+"-")
					b.must(err)
				}
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
	}
}

const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"

// backend has pods, where what is broken has to do with them.
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

// dropped has every node drop what comes in and matches one of the rules, for as long as the test runs, or until the returned function is called.
func (b *bench) dropped(rules ...string) (pass func()) {
	b.t.Helper()
	script := "add table inet e2e; add chain inet e2e in { type filter hook input priority 0; }"
	for _, rule := range rules {
		script += "; add rule inet e2e in " + rule + " drop"
	}
	nodes, err := b.Nodes(b.ctx)
	b.must(err)
	var all []func()
	for _, node := range nodes {
		_, err := b.Exec(b.ctx, node, "nft", script)
		b.must(err)
		all = append(all, b.later(func(ctx context.Context) error {
			_, err := b.Exec(ctx, node, "nft", "delete table inet e2e")
			return err
		}))
	}
	return func() {
		b.t.Helper()
		for _, pass := range all {
			pass()
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
