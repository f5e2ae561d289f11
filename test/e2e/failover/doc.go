// SPDX-License-Identifier: Apache-2.0

// Command failover measures, on a real Kubernetes in network namespaces, what clients of a VIP see when its node fails, is drained or
// restarts, and what a thousand VIPs cost. It needs root.
//
//	failover faults   each fault many times over, under 100 new connections a second
//	failover vips     1,000 VIPs: API writes, memory, and how soon they are back when a node dies
//	failover soak     both cores busy, and nothing else wrong: how often does a VIP move?
//	failover report   write the report of what is there
//
// Every fault's raw data is kept in a file of its own, and a run that was stopped goes on where it was. The report and its plots are
// computed from those files alone.
//
// # How it is measured
//
// The client is a process of its own in the client host's network namespace. It opens a connection every 10 ms, whatever becomes of
// those before, and gives each 200 ms. Beside it an ARP watch asks for the VIP every 20 ms from a packet socket. The backend is a
// process on the LAN's gateway, behind a Service without a selector: no fault touches it, and every node may hold the VIP.
//
// Between two faults the bench waits until all is as before: nodes ready, every session seen renewed, every speaker heard by each, the
// VIP answered by its holder alone, and a second without a failed connection.
package main
