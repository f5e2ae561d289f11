// SPDX-License-Identifier: Apache-2.0

// Package election decides which node answers for which VIP, and keeps the record of it in Leases.
//
// # What it promises
//
// By the records there is at most one holder of a VIP at any time: a VIP changes hands only by a
// compare-and-swap that the API server accepted. At rest it costs one API write per speaker per renewal
// period, whatever the number of VIPs, and no read.
//
// # The records
//
// A speaker holds one session Lease, `speaker-<node>`. Its holderIdentity, `<node>/<random>`, is the epoch: it is fresh for
// each process and after each fence, and is never used again. A VIP Lease, `vip-<address>`, names a node and the
// epoch under which that node took it, and is valid exactly while that epoch is. Ending one epoch therefore
// frees all VIPs of a node with one write.
//
// # The parts
//
// Core is the decision: a pure step from what a speaker sees to what it does, without a clock, a socket or a
// goroutine. Records turns Leases into what Core sees. Speaker is the loop around them: it owns both, and is the
// only goroutine that touches them. What each VIP is to this node follows from the plan and the sessions, and is computed beside
// the loop: the targets. Writes run beside the loop and report back to it. The session and each claim of a
// VIP go through client-go's leaderelection, over locks of this package.
//
// # What it never does
//
// It never moves a VIP because of silence alone, never compares a time written by another host with its own clock,
// never renews a VIP Lease, and never lets an elector's callback decide whether a VIP is answered: answering follows the
// records. It takes no VIP away because the API server is unreachable.
//
// The rules E1 to E11 that comments and tests refer to are in docs/how-it-works.md.
package election
