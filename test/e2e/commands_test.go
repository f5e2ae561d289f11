// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// What people type when they install, look around and look for trouble must show what they look for.
func TestCommandsThatUsersType(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("typed")
	vip := regexp.QuoteMeta(a.vip.String())
	nodes, err := b.Nodes(b.ctx)
	b.must(err)
	speaker := fmt.Sprintf("kubectl -n %s exec $(kubectl -n %[1]s get pods -l component=speaker --field-selector spec.nodeName=%s -o name) -- ", lab.Namespace, other(nodes, a.holder))

	for _, tc := range []struct {
		line  string
		wants []string
		limit time.Duration // for commands that have no end of their own
	}{
		{line: "kubectl wait -n metallb-system pod -l app=metallb --for=condition=ready --timeout=60s",
			wants: []string{`pod/controller-\S+ condition met`, fmt.Sprintf(`(?s)(pod/speaker-\S+ condition met.*){%d}`, len(nodes))}},
		{line: "kubectl -n metallb-system get pods",
			wants: []string{`controller-\S+ +1/1 +Running`, fmt.Sprintf(`(?s)(speaker-\S+ +1/1 +Running.*){%d}`, len(nodes))}},
		{line: "kubectl get pods -A -l app=metallb --no-headers | wc -l", wants: []string{fmt.Sprintf(`^%d\n$`, len(nodes)+1)}},
		{line: "kubectl -n metallb-system get ipaddresspools", wants: []string{"e2e-typed"}},
		{line: "kubectl -n metallb-system get l2advertisements -o yaml", wants: []string{"ipAddressPools:", "- e2e-typed"}},
		{line: "kubectl get service typed", wants: []string{`LoadBalancer +\S+ +` + vip + ` +80:`}},
		{line: "kubectl get services -A | grep LoadBalancer", wants: []string{vip}},
		{line: "kubectl describe service typed | grep Events -A10", wants: []string{"IPAllocated", "nodeAssigned", a.holder}},
		{line: "kubectl -n metallb-system get leases", wants: []string{`vip-` + vip + ` +` + a.holder, `speaker-` + a.holder + ` +` + a.holder + "/"}},
		{line: "kubectl -n metallb-system logs -l app=metallb,component=controller", wants: []string{`\S`}},
		{line: "kubectl -n metallb-system logs -l component=speaker | grep " + a.vip.String(), wants: []string{a.holder}},
		{line: "kubectl -n metallb-system logs -l component=speaker | grep -E 'elected|leader|withdraw|announce'", wants: []string{"announce"}},
		{line: "kubectl -n metallb-system logs -l component=speaker | grep memberlist", wants: []string{`members=\d`}},
		{line: speaker + "wget -qO- http://localhost:7472/metrics | grep memberlist", wants: []string{fmt.Sprintf(`(?m)^memberlist_members_heard\S* %d$`, len(nodes))}},
		{line: speaker + "wget -qO- http://localhost:7472/healthz", wants: []string{"ok"}},
		{line: speaker + "ip addr show", wants: []string{`eth0`, `inet 192\.168\.1\.\d+`}},
		{line: speaker + "arping -c 2 -I eth0 " + a.vip.String(), wants: []string{`(?i)reply from`}},
		{line: "kubectl -n metallb-system get events --sort-by=.lastTimestamp", wants: []string{`speaker`}},
		{line: "kubectl -n metallb-system get all", wants: []string{"deployment.apps/controller", "daemonset.apps/speaker"}},
		{line: "arping -I eth0 " + a.vip.String(), wants: []string{"reply from " + vip}, limit: 3 * time.Second},
		{line: "arp -a | grep " + a.vip.String(), wants: []string{"ether"}},
	} {
		t.Run(strings.Replace(tc.line, speaker, "on a speaker: ", 1), func(t *testing.T) {
			text, err := b.Shell(b.ctx, t.TempDir(), tc.line, tc.limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.wants {
				if !regexp.MustCompile(want).MatchString(text) {
					t.Errorf("no %q in:\n%s", want, text)
				}
			}
		})
	}
}

// The controller's counters are read through the API server, as a person without access to the nodes does.
func TestPoolMetricsCountAddresses(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(pool("counted", "192.168.1.240-192.168.1.243"))
	b.apply(service("counted"))
	b.address("counted")
	line := `kubectl get --raw "/api/v1/namespaces/metallb-system/pods/$(kubectl -n metallb-system get pods -l component=controller -o jsonpath='{.items[0].metadata.name}'):7472/proxy/metrics" | grep metallb_allocator`
	text, err := b.Shell(b.ctx, t.TempDir(), line, 0)
	b.must(err)
	for _, want := range []string{
		`metallb_allocator_addresses_total\{pool="e2e-counted"\} 4`,
		`metallb_allocator_addresses_in_use_total\{pool="e2e-counted"\} 1`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

// other is a node that is not the given one.
func other(nodes []string, not string) string {
	for _, n := range nodes {
		if n != not {
			return n
		}
	}
	return ""
}
