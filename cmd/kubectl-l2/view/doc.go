// SPDX-License-Identifier: Apache-2.0

// Package view works out, from a snapshot, what `kubectl l2 status` and `kubectl l2 explain` tell. It is pure.
//
// It decides nothing by itself: addresses are judged by an ipam.Allocator that is given the records as the controller is given them when
// it starts, announcing by l2/plan with the same state as the speakers'. So it cannot disagree with what runs, but for what only a
// running program remembers: which address a Service that was deleted had (10 minutes), and since when a conflict is known.
package view
