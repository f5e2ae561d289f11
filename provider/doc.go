// SPDX-License-Identifier: Apache-2.0

// Package provider is the cloud provider "l2": it lets the stock service controller of k8s.io/cloud-provider allocate
// addresses with package ipam.
//
// It translates (package translate) and nothing more. What a Service may have is decided in ipam; finalizers, retries and status patches
// are the stock controller's, which runs unmodified. Between the two stand
//
//   - the load balancer (loadbalancer.go): Ensure, Delete, and the events users read;
//   - the Service informer that the stock controller sees (services.go), the only place that decides which Services
//     are ours and when one must be looked at again;
//   - the Node informer it sees (nodes.go), which never tells of a change;
//   - the event sink that the stock controller writes to (stockevents.go), which drops what says nothing new;
//   - the queue in which all events wait for the API server, ours and its (events.go).
//
// The record of every allocation is the Services' status.loadBalancer. The allocator is seeded from it before the first
// Service is served (seed.go), so a restart moves nothing. No annotation is ever written to a Service.
//
// Around it, for the leader only: pools and their status (pools.go, poolstatus.go), those that are in another namespace
// by mistake (foreign.go), metrics (metrics.go), and the Secret
// that speakers sign with (secret.go). From the Leases of VIPs it learns which freed addresses are still announced
// (quarantine.go) and which another host uses (conflicts.go); it deletes those that are without use (leases.go).
package provider
