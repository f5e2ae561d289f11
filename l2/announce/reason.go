// SPDX-License-Identifier: Apache-2.0

package announce

// DropReason says why a packet was not answered, not passed on or not sent. Its text is the label of
// cloud_provider_l2_dropped_packets_total.
type DropReason uint8

const (
	// passed is the absence of a reason.
	passed DropReason = iota

	Truncated           // shorter than the protocol's packet
	Oversized           // longer than any packet of the protocol
	HardwareType        // neither ARP for Ethernet and IPv4 nor IPv6
	Operation           // neither asks nor answers, or not what the socket is for
	Announcement        // an announcement where a question was expected, or the reverse
	EthernetDestination // for another host
	SenderMAC           // not a MAC a host can have
	OwnMAC              // sent by this host
	SenderAddress       // not an address a host can have
	Malformed           // NDP: header, options or checksum are wrong
	HopLimit            // NDP: comes from beyond the link
	NotAnnounced        // asks for an address that is not announced here
	OtherInterface      // asks for a VIP that is not announced on this interface
	Stalled             // the decision loop does not turn (rule E5)
	NotWatched          // claims an address nobody here watches
	NotProbed           // would like to have an address that this host is not about to take
	RateLimited         // one claim too many
	QueueFull           // nobody reads the sightings
	ReceiveQueueFull    // arrived faster than it was read
	SendQueueFull       // the interface does not take packets fast enough
	SendFailed          // the interface does not take packets
	reasonCount
)

var reasonText = [reasonCount]string{
	passed:              "",
	Truncated:           "Truncated",
	Oversized:           "Oversized",
	HardwareType:        "HardwareType",
	Operation:           "Operation",
	Announcement:        "Announcement",
	EthernetDestination: "EthernetDestination",
	SenderMAC:           "SenderMAC",
	OwnMAC:              "OwnMAC",
	SenderAddress:       "SenderAddress",
	Malformed:           "Malformed",
	HopLimit:            "HopLimit",
	NotAnnounced:        "NotAnnounced",
	OtherInterface:      "OtherInterface",
	Stalled:             "Stalled",
	NotWatched:          "NotWatched",
	NotProbed:           "NotProbed",
	RateLimited:         "RateLimited",
	QueueFull:           "QueueFull",
	ReceiveQueueFull:    "ReceiveQueueFull",
	SendQueueFull:       "SendQueueFull",
	SendFailed:          "SendFailed",
}

func (r DropReason) String() string { return reasonText[r] }
