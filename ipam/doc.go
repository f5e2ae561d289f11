// SPDX-License-Identifier: Apache-2.0

// Package ipam decides which Service gets which address of which pool.
//
// It is pure: no Kubernetes type, no clock, no goroutine, no I/O. Time is an argument, so that a history of calls can
// be written down as a table and always ends the same way. An Allocator belongs to whoever holds its lock; it has none.
//
// It promises:
//
//   - No address is held by two Services unless the sharing rules allow it (sharing.go).
//   - An address is never taken from a Service because something else changed. A Service loses one only when its own
//     request no longer admits it, when no pool has it any more, or when another host answers for it and a better one
//     can be had, thrice within ten minutes at most. A pool that cannot be read takes nothing away.
//   - Pools are tried by priority and name, and hand out the lowest address first. Services that wait are served oldest
//     first, so that those that were there before their pool get the same addresses in whatever order they came.
//   - An address that a node still answers for is given to nobody (withheld.go).
//   - Finding, taking and freeing an address cost the same in a /28 and in a /64, empty or nearly full.
//   - Every refusal is one sentence that a user reads in an event and can act on.
//
// What pools are made of: parse.go reads it, range.go calculates with it, free.go finds what is free in it. pool.go says
// whom a pool serves, placement.go which pool has an address, usage.go how many there are. request.go says what a Service
// asks for, fit.go whether it may go on holding what it holds, choose.go what it gets, sharing.go with whom, joining.go
// where it can join others, holding.go who holds what. withheld.go and memory.go know of addresses that are nobody's and not like others. allocator.go puts it
// together.
package ipam
