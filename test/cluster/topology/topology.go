// SPDX-License-Identifier: Apache-2.0

// Package topology says what a test cluster looks like: its hosts, their addresses on the LAN, the ranges of pods
// and Services, and the names under which the machine knows them. It is pure: values in, values out.
package topology

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// The LAN and the cluster's own ranges. Nothing here lies inside an address pool of the guide.
var (
	LAN4      = netip.MustParsePrefix("192.168.1.0/24")
	LAN6      = netip.MustParsePrefix("fd00:1::/64")
	Pods4     = netip.MustParsePrefix("10.244.0.0/16")
	Pods6     = netip.MustParsePrefix("fd00:244::/32")
	Services4 = netip.MustParsePrefix("10.96.0.0/16")
	Services6 = netip.MustParsePrefix("fd00:96::/112")

	APIService4 = netip.MustParseAddr("10.96.0.1")
	APIService6 = netip.MustParseAddr("fd00:96::1")
	DNSService  = netip.MustParseAddr("10.96.0.10")
)

// APIPort is where kube-apiserver listens on the control plane's host.
const APIPort = 6443

// MaxNodes keeps the nodes' addresses between the control plane's and the client's.
const MaxNodes = 9

// Names of the hosts that every cluster has.
const (
	LAN          = "lan" // the switch: a bridge without an address
	Gateway      = "gateway"
	ControlPlane = "cp"
	Client       = "client"
)

// Interface is the name of every host's interface on the LAN.
const Interface = "eth0"

// Host is one computer on the LAN.
type Host struct {
	Name string
	IPv4 netip.Addr
	IPv6 netip.Addr
	MAC  net.HardwareAddr
	// Node is the node's number from 1, and 0 for what is not a node.
	Node int
}

// Hosts lists what is plugged into the LAN of a cluster with that many nodes.
func Hosts(nodes int) []Host {
	hosts := []Host{host(Gateway, 1), host(ControlPlane, 10), host(Client, 20)}
	return append(hosts, Nodes(nodes)...)
}

// Nodes lists the nodes alone.
func Nodes(count int) []Host {
	var nodes []Host
	for number := 1; number <= count; number++ {
		node := host(fmt.Sprintf("node-%d", number), 10+number)
		node.Node = number
		nodes = append(nodes, node)
	}
	return nodes
}

// GatewayHost and ControlPlaneHost are the two hosts that others need to know the addresses of.
func GatewayHost() Host      { return host(Gateway, 1) }
func ControlPlaneHost() Host { return host(ControlPlane, 10) }

// host gives the same last number to every address, so that a packet dump is read without a table.
func host(name string, number int) Host {
	address4, address6 := LAN4.Addr().As4(), LAN6.Addr().As16()
	address4[3] = byte(number)
	// fd00:1::10 is number 10: written in decimal digits, as people write it.
	digits, _ := strconv.ParseUint(strconv.Itoa(number), 16, 8)
	address6[15] = byte(digits)
	return Host{
		Name: name,
		IPv4: netip.AddrFrom4(address4),
		IPv6: netip.AddrFrom16(address6),
		MAC:  net.HardwareAddr{0x02, 0x6c, 0x32, 0, 0, byte(number)},
	}
}

// PodRange4 and PodRange6 are the addresses of the pods on this node.
func (h Host) PodRange4() netip.Prefix {
	address := Pods4.Addr().As4()
	address[2] = byte(h.Node)
	return netip.PrefixFrom(netip.AddrFrom4(address), 24)
}

func (h Host) PodRange6() netip.Prefix {
	address := Pods6.Addr().As16()
	address[5] = byte(h.Node)
	return netip.PrefixFrom(netip.AddrFrom16(address), 64)
}

// Labels are what the node carries besides the labels that kubelet sets itself. The guide selects on them.
func (h Host) Labels() map[string]string {
	labels := map[string]string{
		"node-role.kubernetes.io/worker": "true",
		"topology.kubernetes.io/zone":    "zone-" + string(rune('a'+h.Node-1)),
	}
	if h.Node == 1 {
		labels["node-role.kubernetes.io/edge"] = "true"
	}
	return labels
}

var clusterName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$`)

// CheckName refuses names that would not do as part of a path, a namespace and a cgroup.
func CheckName(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %q: at most 20 lower-case letters, digits and dashes, with no dash at either end", name)
	}
	return nil
}

// Namespace is the network namespace of a cluster's host, as `ip netns` lists it.
func Namespace(cluster, host string) string { return cluster + "-" + host }

var hostName = regexp.MustCompile(`^(lan|gateway|cp|client|node-[1-9])$`)

// HostOf is the reverse of Namespace: false when the namespace is none of this cluster's.
func HostOf(cluster, namespace string) (host string, ok bool) {
	host, ok = strings.CutPrefix(namespace, cluster+"-")
	return host, ok && hostName.MatchString(host)
}
