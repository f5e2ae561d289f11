// SPDX-License-Identifier: Apache-2.0

// Package plan answers, for every VIP and node: may the node announce the VIP, and if not, why not; and in which order the
// nodes stand that may.
//
// It is pure: cluster state in, verdicts out, without clients, clocks or goroutines. Speakers run it to know what to
// claim, the controller to tell users why an address is not announced. The same input has the same answer everywhere.
//
// Compute decides who is eligible (compute.go), with the rules of L2Advertisements (advertisement.go), endpoints
// (endpoints.go) and nodes (node.go) read apart. Candidates orders them (candidates.go). Every refusal is a named Reason
// (reason.go).
//
// # Eligible
//
// A VIP is an address in the status of a LoadBalancer Service of ours that is not being deleted. It must be in a pool, every
// Service on it must be covered by an L2Advertisement, and one of them must have an endpoint. Then a node is eligible that
//
//   - exists, runs a speaker, and is not excluded by the label, NetworkUnavailable or the out-of-service taint;
//   - is selected, for every Service on the VIP, by an L2Advertisement that covers it;
//   - has an endpoint of every Service on the VIP that has externalTrafficPolicy Local and any endpoint at all;
//   - has an interface that those L2Advertisements allow, and that is up;
//   - is not cordoned, as long as some other node is eligible.
package plan
