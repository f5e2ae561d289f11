// SPDX-License-Identifier: Apache-2.0

// Package lab is the test bench of the end-to-end tests and the demo: a test cluster with the product on it, the client host beside
// it, and the things one can do to them and see of them.
//
// What it promises: everything goes through what a user has (the cluster command, kubectl, the Kubernetes API, a client on the
// LAN), so that a test passes only if a user would have succeeded; and nothing waits by sleeping where the API server can say
// when something happens. It never looks inside the product.
package lab
