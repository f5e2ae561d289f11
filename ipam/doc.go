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
//     request no longer admits it, or when no pool has it any more. A pool that cannot be read takes nothing away.
//   - The same Services and pools lead to the same addresses, in whatever order they arrive, as long as nothing was
//     released: pools by priority and name, the lowest address first.
//   - Finding, taking and freeing an address cost the same in a /28 and in a /64, empty or nearly full.
//   - Every refusal is one sentence that a user reads in an event and can act on.
//
// range.go parses what pools are made of, free.go finds free addresses in them, pool.go says whom a pool serves,
// request.go what a Service asks for, sharing.go who may share, allocator.go puts it together.
package ipam
