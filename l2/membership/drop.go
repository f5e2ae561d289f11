// SPDX-License-Identifier: Apache-2.0

package membership

import "errors"

// DropReason says why a heartbeat was not counted, or not sent. It is the label of
// memberlist_heartbeats_dropped_total.
type DropReason string

// Reasons. Duplicate is no fault: it is the same heartbeat over the other IP family or a second interface.
const (
	// DropNone: not dropped.
	DropNone DropReason = ""
	// DropMalformed: no heartbeat, or one that breaks the format's bounds.
	DropMalformed DropReason = "malformed"
	// DropVersion: a heartbeat of a format that this version does not know.
	DropVersion DropReason = "version"
	// DropForeign: signed with another cluster's key, or with a key that was replaced a while ago.
	DropForeign DropReason = "foreign"
	// DropNoKey: arrived before this speaker has any key.
	DropNoKey DropReason = "no-key"
	// DropForged: claims this cluster's key, and the signature is wrong.
	DropForged DropReason = "forged"
	// DropHopLimit: came from beyond a router, or pretends to.
	DropHopLimit DropReason = "hop-limit"
	// DropOversized: longer than MaxDatagram.
	DropOversized DropReason = "oversized"
	// DropOverflow: arrived faster than it was taken.
	DropOverflow DropReason = "overflow"
	// DropOwn: names the own node.
	DropOwn DropReason = "own"
	// DropDuplicate: the last heartbeat of that epoch again.
	DropDuplicate DropReason = "duplicate"
	// DropReplayed: older than the last heartbeat of that epoch.
	DropReplayed DropReason = "replayed"
	// DropEndedEpoch: from an epoch that has ended.
	DropEndedEpoch DropReason = "ended-epoch"
	// DropNotSent: the network stack refused to send it.
	DropNotSent DropReason = "not-sent"
)

// openError is an error of Open; it carries its DropReason.
type openError struct {
	reason DropReason
	text   string
}

func (e *openError) Error() string { return e.text }

// ReasonOf tells why Open refused a datagram.
func ReasonOf(err error) DropReason {
	if err == nil {
		return DropNone
	}
	var refused *openError
	if errors.As(err, &refused) {
		return refused.reason
	}
	return DropMalformed
}
