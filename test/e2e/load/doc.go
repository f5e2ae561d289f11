// SPDX-License-Identifier: Apache-2.0

// Package load measures what a client of a VIP sees while something happens to the cluster behind it.
//
// It asks for a page at a fixed rate, on a new TCP connection each time, and on schedule whether or not earlier requests
// have been answered (an open loop: a client that waits for its answer before it asks again hides the outage it is
// measuring). What it promises to tell: how many requests failed, the longest time between two successes (the gap), and
// how late the measuring machine itself was, so that a stall of the machine is not taken for a stall of the service.
//
// Run sends; Summarize is pure and judges what was sent. The probe runs both inside the client's network namespace.
package load
