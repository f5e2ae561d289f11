// SPDX-License-Identifier: Apache-2.0

// Package membership is the member list: which speakers are heard on the wire that carries the VIPs, and since when
// one is silent (rule E11, and what E4 and E9 need to know).
//
// Every speaker multicasts a signed heartbeat each period, over IPv4 and IPv6, on every interface it announces on. Its
// parts know nothing of each other:
//
//   - Key signs and checks heartbeats, Keys does so while the key changes (key.go, keys.go, heartbeat.go).
//   - Judge keeps the member list and judges silence. It is pure: time is an argument (judge.go, witness.go).
//   - Transport sends and receives datagrams (transport.go, socket.go).
//
// # What it promises
//
// A heartbeat counts once, however many families and interfaces it arrived by, and whatever is replayed. What is
// dropped has a named reason, which is also a metric's label. A datagram is never longer than MaxDatagram. A flood
// fills a bounded queue and nothing else. A new key, another period and a growing cluster make nobody look silent: the old key is
// believed for a while, and every sender is judged by the period it announces.
//
// # What it never does
//
// It decides about no VIP and ends no session. It never compares a time written by another host with the local clock: a
// heartbeat says how long ago something was, not when. It never takes "A says that B said" for hearing: a speaker reports only
// what it heard itself. It learns from nobody but members who sign with the cluster's key.
//
// # The member list
//
// An entry is an epoch, that is, one session of the speaker on one node. Judge.Sessions brings the records (the session
// Leases), which decide which epoch of a node is its present one:
//
//	epoch                          is heard    counts as member     is a witness   reports are believed
//	no records known yet           yes         yes                  yes            yes
//	named by the records           yes         yes                  yes            yes
//	never named by them            yes         if no named one is   no             no
//	named by them before           no: ended   no                   no             no
//
// An epoch that the records do not name yet is heard, because a watch may be behind the LAN; but it may also be a recording
// of the node's past, so it vouches for nothing. While no records are known, an epoch ends when one of its node that was first
// heard later is heard and itself is silent.
package membership
