// SPDX-License-Identifier: Apache-2.0

package plan

// Reason says why a node, or every node, does not announce a VIP. Events, logs, metrics and `kubectl l2 doctor` use it.
type Reason string

// Reasons that concern a VIP, and so every node.
const (
	// Eligible: there is no reason not to.
	Eligible Reason = ""
	// NoPool: the address is in no IPAddressPool.
	NoPool Reason = "NoPool"
	// AddressOfNode: the address is a node's own.
	AddressOfNode Reason = "AddressOfNode"
	// NoAdvertisement: no L2Advertisement covers the address and its Service.
	NoAdvertisement Reason = "NoAdvertisement"
	// SharedNotAdvertised: L2Advertisements cover some, but not all, of the Services that share the address.
	SharedNotAdvertised Reason = "SharedNotAdvertised"
	// InvalidSelector: an L2Advertisement that might cover the address has a selector that cannot be read.
	InvalidSelector Reason = "InvalidSelector"
	// NoReadyEndpoints: no Service on the address has a ready endpoint of the address's family.
	NoReadyEndpoints Reason = "NoReadyEndpoints"
	// NoEligibleNode: each node has a reason of its own.
	NoEligibleNode Reason = "NoEligibleNode"
)

// Reasons that concern a node.
const (
	// NodeDeleted: the Node object is gone, or is being deleted.
	NodeDeleted Reason = "NodeDeleted"
	// NoSpeaker: no speaker with a session runs on the node.
	NoSpeaker Reason = "NoSpeaker"
	// ExcludeLabel: the node has the label node.kubernetes.io/exclude-from-external-load-balancers.
	ExcludeLabel Reason = "ExcludeLabel"
	// NetworkUnavailable: the node's condition NetworkUnavailable is True.
	NetworkUnavailable Reason = "NetworkUnavailable"
	// OutOfService: the node has the taint node.kubernetes.io/out-of-service.
	OutOfService Reason = "OutOfService"
	// NotSelected: no L2Advertisement for the address selects the node.
	NotSelected Reason = "NotSelected"
	// NoLocalEndpoint: externalTrafficPolicy is Local, and the node has no endpoint of the Service.
	NoLocalEndpoint Reason = "NoLocalEndpoint"
	// NoSuchInterface: the node has none of the interfaces that the L2Advertisements name.
	NoSuchInterface Reason = "NoSuchInterface"
	// InterfaceDown: every interface that the node could announce on is down, or the one in the VIP's subnet is and another node is in it.
	InterfaceDown Reason = "InterfaceDown"
	// Cordoned: the node is unschedulable, and another node is eligible.
	Cordoned Reason = "Cordoned"
)

var messages = map[Reason]string{
	Eligible:            "may be announced",
	NoPool:              "the address is in no IPAddressPool: add it to one, or remove it from the Service",
	AddressOfNode:       "the address is a node's own, and to announce it would cut the node off: take it out of the IPAddressPool, and let the Service have another",
	NoAdvertisement:     "no L2Advertisement covers it: create one for its pool, or one whose serviceSelectors match",
	SharedNotAdvertised: "L2Advertisements cover only some of the Services that share the address: cover all of them, or stop sharing",
	InvalidSelector:     "an L2Advertisement has a selector that cannot be read: correct it",
	NoReadyEndpoints:    "none of its Services has a ready endpoint: check that the Service's selector matches ready pods",
	NoEligibleNode:      "no node may announce it: see the reason of each",
	NodeDeleted:         "the node is deleted",
	NoSpeaker:           "no speaker runs on the node: check the DaemonSet speaker",
	ExcludeLabel:        "the node is labelled node.kubernetes.io/exclude-from-external-load-balancers",
	NetworkUnavailable:  "the node's network is not set up: its condition NetworkUnavailable is True",
	OutOfService:        "the node is tainted node.kubernetes.io/out-of-service",
	NotSelected:         "the nodeSelectors of the L2Advertisements do not select the node",
	NoLocalEndpoint:     "externalTrafficPolicy is Local, and the node has no ready endpoint of the Service",
	NoSuchInterface:     "the node has none of the interfaces that the L2Advertisements name: check their spelling, and that they are up",
	InterfaceDown:       "the interfaces to announce on are down",
	Cordoned:            "the node is cordoned, and another may announce it",
}

// Message says a Reason in a sentence for users.
func Message(reason Reason) string {
	if message, ok := messages[reason]; ok {
		return message
	}
	return string(reason)
}
