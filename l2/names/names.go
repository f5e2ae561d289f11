// SPDX-License-Identifier: Apache-2.0

// Package names holds the names that the controller, the speakers and their users share: Leases, their
// annotations and labels. They are an API: people type them after `kubectl get leases`.
package names

import (
	"net/netip"
	"strings"
)

// Annotations and labels of session Leases and VIP Leases.
const (
	// AnnotationEpoch names, on a VIP Lease, the session epoch under which its holder took it. The Lease is
	// valid exactly while that epoch is.
	AnnotationEpoch = "cloud-provider-l2/epoch"
	// AnnotationSuccessor names, on a VIP Lease, the node that its holder asks to take over.
	AnnotationSuccessor = "cloud-provider-l2/successor"
	// AnnotationMACs lists, on a session Lease, the hardware addresses its speaker announces from, comma-separated.
	AnnotationMACs = "cloud-provider-l2/macs"
	// AnnotationInterfaces describes, on a session Lease, the interfaces its speaker can announce on.
	AnnotationInterfaces = "cloud-provider-l2/interfaces"
	// AnnotationLeaving is set, on a session Lease, while its speaker hands its VIPs over in order to stop: it takes none.
	AnnotationLeaving = "cloud-provider-l2/leaving"
	// AnnotationFlaps counts, on a session Lease, the sessions of its node in a row that were not ended by their speaker.
	AnnotationFlaps = "cloud-provider-l2/flaps"
	// AnnotationBackOff is set, on a session Lease, while its speaker takes no VIPs because there were too many of those; it says for how long.
	AnnotationBackOff = "cloud-provider-l2/back-off"
	// AnnotationWithdraws is set, on a session Lease, when its speaker stops answering as soon as it cannot renew the session.
	AnnotationWithdraws = "cloud-provider-l2/withdraws"
	// AnnotationFencedBy names, on a session Lease without a holder, the epoch that ended the session.
	AnnotationFencedBy = "cloud-provider-l2/fenced-by"
	// LabelLease tells the two kinds of Lease apart: LeaseVIP or LeaseSession.
	LabelLease   = "cloud-provider-l2/lease"
	LeaseVIP     = "vip"
	LeaseSession = "session"
)

// What else the programs keep in their namespace.
const (
	// ControllerLease is the Lease by which one of several controllers leads.
	ControllerLease = "cloud-provider-l2-controller"
	// MemberlistSecret is the Secret with which speakers sign their heartbeats, and MemberlistKey the key of its data that has the bytes to
	// sign with. Both names are MetalLB's.
	MemberlistSecret = "memberlist"
	MemberlistKey    = "secretkey"
)

// Where speakers send their heartbeats: firewalls and switches must let them pass.
const (
	// HeartbeatPort is the UDP port unless --heartbeat-port says another. It is MetalLB's for its member list.
	HeartbeatPort = 7946
	// HeartbeatGroupIPv4 and HeartbeatGroupIPv6 are the multicast groups; l2/membership says why these.
	HeartbeatGroupIPv4 = "224.0.0.254"
	HeartbeatGroupIPv6 = "ff12::8c32:7946"
)

const (
	vipPrefix     = "vip-"
	sessionPrefix = "speaker-"
)

// VIPLease is the name of the Lease of a VIP: `vip-192.168.1.240`, `vip-fd00-1--f0`. It is a DNS-1123 subdomain and
// no two addresses share one. A zone or an IPv4-mapped spelling is not part of a VIP and is dropped.
func VIPLease(vip netip.Addr) string {
	vip = vip.Unmap().WithZone("")
	name := vipPrefix + strings.ReplaceAll(vip.String(), ":", "-")
	if strings.HasSuffix(name, "-") {
		name += "0"
	}
	return name
}

// ParseVIPLease is the inverse of VIPLease; ok is false for any name that VIPLease would not have made.
func ParseVIPLease(name string) (vip netip.Addr, ok bool) {
	text, ok := strings.CutPrefix(name, vipPrefix)
	if !ok {
		return netip.Addr{}, false
	}
	vip, err := netip.ParseAddr(text)
	if err != nil {
		vip, err = netip.ParseAddr(strings.ReplaceAll(text, "-", ":"))
	}
	return vip, err == nil && VIPLease(vip) == name
}

// SessionLease is the name of the session Lease of the speaker on a node. Node names are DNS-1123 subdomains already.
func SessionLease(node string) string { return sessionPrefix + node }

// ParseSessionLease is the inverse of SessionLease.
func ParseSessionLease(name string) (node string, ok bool) {
	node, ok = strings.CutPrefix(name, sessionPrefix)
	return node, ok && node != ""
}
