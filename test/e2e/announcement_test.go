// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// The ARP census, the Lease and the client's own neighbour table agree on one node.
func TestVIPIsAnsweredByItsHolderAlone(t *testing.T) {
	b := begin(t, 2*time.Minute)
	web := lab.Backend{Namespace: namespace, Name: "alone", Replicas: 2}
	b.apply(pool("alone", lan), advertisement("alone", "alone"), web.YAML())
	a := announced{name: web.Name, vip: b.address(web.Name)}
	b.must(b.AwaitReady(b.ctx, web))
	a.holder = b.holder(a.vip, lab.Anybody)
	page, err := b.Get(b.ctx, a.url())
	b.must(err)
	if !strings.Contains(page, "nginx") {
		t.Errorf("the page over the VIP is %q", page)
	}
	who, err := b.Neighbour(b.ctx, a.vip)
	b.must(err)
	if who != a.holder {
		t.Errorf("the client's neighbour table holds %q for %s, the Lease names %s", who, a.vip, a.holder)
	}
	leases, err := b.Kubectl(b.ctx, "get", "leases", "-n", lab.Namespace)
	b.must(err)
	if !slices.ContainsFunc(strings.Split(leases, "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 1 && f[0] == "vip-"+a.vip.String() && f[1] == a.holder
	}) {
		t.Errorf("kubectl get leases does not say that %s holds %s:\n%s", a.holder, a.vip, leases)
	}
	if message := b.event(a.name, "nodeAssigned"); !strings.Contains(message, a.holder) {
		t.Errorf("event nodeAssigned says %q, want it to name %s", message, a.holder)
	}
}

// An IPv6 VIP is answered by its holder, and by the next one after a cordon.
func TestIPv6VIPIsAnsweredByItsHolder(t *testing.T) {
	b := begin(t, 3*time.Minute)
	web := lab.Backend{Namespace: namespace, Name: "six", Replicas: 2, Family: "IPv6"}
	b.apply(pool("six", "fd00:1::100-fd00:1::1ff"), advertisement("six", "six"), web.YAML())
	vip := b.address("six")
	b.must(b.AwaitReady(b.ctx, web))
	served := func(accept func(string) bool) (holder string) {
		t.Helper()
		holder, err := b.AwaitHolder(b.ctx, vip, accept)
		b.must(err)
		ctx, cancel := context.WithTimeout(b.ctx, soon) // the announcement follows the Lease
		defer cancel()
		for {
			page, err := b.Get(ctx, "http://["+vip.String()+"]/")
			who, seen := b.Neighbour(ctx, vip)
			switch {
			case err == nil && seen == nil && strings.Contains(page, "nginx") && who == holder:
				return holder
			case ctx.Err() != nil:
				t.Fatalf("page %q, %v; the client's neighbour table holds %q, %v; the Lease names %s", page, err, who, seen, holder)
			}
		}
	}
	holder := served(lab.Anybody)
	b.cordon(holder)
	served(lab.AnybodyBut(holder))
}

func TestDeletedServiceIsNoLongerAnswered(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("goes", lan), advertisement("goes", "goes"))
	remove := b.apply(served("goes"))
	vip := b.address("goes")
	b.holder(vip, lab.Anybody)
	remove()
	b.must(b.AwaitNoLease(b.ctx, vip))
	b.nobody(vip)
}

// The advertised Service is the proof that the speakers have looked.
func TestWithoutAdvertisementNobodyAnswers(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("silent", "192.168.1.230/32"), pool("loud", "192.168.1.231/32"), advertisement("loud", "loud"))
	b.apply(served("silent", "metallb.io/address-pool", "e2e-silent"), served("loud", "metallb.io/address-pool", "e2e-loud"))
	vip := b.address("silent")
	b.holder(b.address("loud"), lab.Anybody)
	b.nobody(vip)
	b.apply(advertisement("silent", "silent"))
	b.holder(vip, lab.Anybody)
}

func TestNodeSelectorsSayWhoMayHold(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("selected", lan), served("selected"))
	b.apply(advertisementWith("selected", `
nodeSelectors:
  - matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [zone-b]}]`, "selected"))
	vip := b.address("selected")
	b.holder(vip, func(node string) bool { return node == "node-2" })

	b.must(b.Apply(b.ctx, advertisementWith("selected", `
nodeSelectors:
  - matchLabels: {node-role.kubernetes.io/edge: "true"}`, "selected")))
	b.holder(vip, func(node string) bool { return node == "node-1" })
}

func TestInterfacesThatDoNotExistAreLeftOut(t *testing.T) {
	b := begin(t, 2*time.Minute)
	b.apply(pool("wired", lan), served("wired"))
	b.apply(advertisementWith("wired", "interfaces: [eth0, bond0]", "wired"))
	b.holder(b.address("wired"), lab.Anybody)
}
