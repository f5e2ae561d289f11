// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  []func(*State)
		details []string
		want    string
	}{
		{"some node may", nil, nil, ""},
		{"no advertisement", []func(*State){ads()}, nil,
			"no node may announce 192.168.1.240: NoAdvertisement: no L2Advertisement covers it: create one for its pool, or one whose serviceSelectors match"},
		{"with details", []func(*State){ads()}, []string{"and so", "on"},
			"no node may announce 192.168.1.240: NoAdvertisement: no L2Advertisement covers it: create one for its pool, or one whose serviceSelectors match; and so; on"},
		{"one reason", []func(*State){ads(nodesBy(selector("number", "9")))}, nil,
			"no node may announce 192.168.1.240: NotSelected on node-1, node-2, node-3 (the nodeSelectors of the L2Advertisements do not select the node)"},
		{"several, the commonest first", []func(*State){node1(taint(corev1.TaintNodeOutOfService)), ads(nodesBy(selector("number", "9")))}, nil,
			"no node may announce 192.168.1.240: NotSelected on node-2, node-3 (the nodeSelectors of the L2Advertisements do not select the node); " +
				"OutOfService on node-1 (the node is tainted node.kubernetes.io/out-of-service)"},
		{"no node at all", []func(*State){func(s *State) { s.Nodes, s.Speakers = nil, nil }}, nil, "no node may announce 192.168.1.240: there is no node"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Explain(Compute(cluster(test.change...))[netip.MustParseAddr(vip)], test.details...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However many nodes there are, and however long their names, the text fits into an event and says each reason with its number.
func TestExplanationsAreBounded(t *testing.T) {
	name := func(n, length int) string { return fmt.Sprintf("node-%03d%s", n, strings.Repeat("x", length-8)) }
	for _, test := range []struct {
		nodes, length int
		starts        string
	}{
		{10, 8, "no node may announce 10.0.0.1: NoSpeaker on node-000, node-003, node-006, node-009 (no speaker runs on the node: check the DaemonSet speaker); InterfaceDown on node-002, node-005, node-008 ("},
		{200, 8, "no node may announce 10.0.0.1: NoSpeaker on 67 nodes: node-000, node-003, node-006, node-009, node-012, node-015, node-018, node-021, node-024, node-027, … (no"},
		{200, 60, "no node may announce 10.0.0.1: NoSpeaker on 67 nodes: " + name(0, 60) + ", " + name(3, 60) + ", " + name(6, 60) + ", … (no"},
		{200, 253, "no node may announce 10.0.0.1: NoSpeaker on 67 nodes (no speaker runs on the node: check the DaemonSet speaker); NotSelected on 67 nodes (the"},
		{3, 253, "no node may announce 10.0.0.1: InterfaceDown on " + name(2, 253) + " (the"},
	} {
		each := VIP{Addr: netip.MustParseAddr("10.0.0.1"), Reason: NoEligibleNode, Nodes: map[string]Verdict{}}
		for n := range test.nodes {
			each.Nodes[name(n, test.length)] = Verdict{Reason: []Reason{NoSpeaker, NotSelected, InterfaceDown}[n%3]}
		}
		got := Explain(each)
		if !strings.HasPrefix(got, test.starts) {
			t.Errorf("%d nodes of %d characters: %s", test.nodes, test.length, got)
		}
		if len(got) > maxExplanation || !utf8.ValidString(got) {
			t.Errorf("%d bytes", len(got))
		}
		for _, reason := range []Reason{NoSpeaker, NotSelected, InterfaceDown} {
			if !strings.Contains(got, string(reason)) {
				t.Errorf("%d nodes of %d characters: %s is not told", test.nodes, test.length, reason)
			}
		}
	}
	broken := VIP{Addr: netip.MustParseAddr("10.0.0.1"), Reason: InvalidSelector}
	if got := Explain(broken, strings.Repeat("é", 2000)); len(got) > maxExplanation || !utf8.ValidString(got) || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}
