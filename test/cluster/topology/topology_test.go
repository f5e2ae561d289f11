// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"strings"
	"testing"
)

func TestHostsHaveTheGuidesAddresses(t *testing.T) {
	want := map[string][2]string{
		"gateway": {"192.168.1.1", "fd00:1::1"},
		"cp":      {"192.168.1.10", "fd00:1::10"},
		"client":  {"192.168.1.20", "fd00:1::20"},
		"node-1":  {"192.168.1.11", "fd00:1::11"},
		"node-2":  {"192.168.1.12", "fd00:1::12"},
		"node-3":  {"192.168.1.13", "fd00:1::13"},
	}
	hosts := Hosts(3)
	if len(hosts) != len(want) {
		t.Fatalf("%d hosts, want %d", len(hosts), len(want))
	}
	for _, host := range hosts {
		if got := [2]string{host.IPv4.String(), host.IPv6.String()}; got != want[host.Name] {
			t.Errorf("%s has %v, want %v", host.Name, got, want[host.Name])
		}
	}
}

func TestHostsDifferUpToMaxNodes(t *testing.T) {
	seen := map[string]string{}
	for _, host := range Hosts(MaxNodes) {
		for _, value := range []string{host.Name, host.IPv4.String(), host.IPv6.String(), host.MAC.String()} {
			if other, taken := seen[value]; taken {
				t.Errorf("%s of %s is also %s's", value, host.Name, other)
			}
			seen[value] = host.Name
		}
	}
}

func TestPodRangesOfANode(t *testing.T) {
	node := Nodes(3)[1]
	if got := node.PodRange4().String(); got != "10.244.2.0/24" {
		t.Errorf("IPv4 pods of node-2: %s", got)
	}
	if got := node.PodRange6().String(); got != "fd00:244:2::/64" {
		t.Errorf("IPv6 pods of node-2: %s", got)
	}
	if !Pods4.Overlaps(node.PodRange4()) || !Pods6.Overlaps(node.PodRange6()) {
		t.Error("a node's pods lie outside the cluster's range")
	}
}

func TestOnlyTheFirstNodeIsAtTheEdge(t *testing.T) {
	nodes := Nodes(3)
	for i, zone := range []string{"zone-a", "zone-b", "zone-c"} {
		labels := nodes[i].Labels()
		_, edge := labels["node-role.kubernetes.io/edge"]
		if labels["topology.kubernetes.io/zone"] != zone || labels["node-role.kubernetes.io/worker"] != "true" || edge != (i == 0) {
			t.Errorf("%s: %v", nodes[i].Name, labels)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"l2": true, "a": true, "my-lab-2": true, strings.Repeat("x", 20): true,
		"": false, "-a": false, "a-": false, "A": false, "a/b": false, "..": false, "a b": false, strings.Repeat("x", 21): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestHostOfKnowsItsOwnNamespacesOnly(t *testing.T) {
	for _, test := range []struct {
		cluster, namespace, host string
		ok                       bool
	}{
		{"l2", "l2-node-1", "node-1", true},
		{"l2", "l2-lan", "lan", true},
		{"l2", "l2-dev-lan", "", false},
		{"l2-dev", "l2-dev-lan", "lan", true},
		{"l2", "cni-1234", "", false},
		{"l2", "l2-node-x", "", false},
		{"l2", "other-cp", "", false},
	} {
		host, ok := HostOf(test.cluster, test.namespace)
		if ok != test.ok || ok && host != test.host {
			t.Errorf("HostOf(%q, %q) = %q, %v", test.cluster, test.namespace, host, ok)
		}
	}
}
