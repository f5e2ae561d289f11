// SPDX-License-Identifier: Apache-2.0

// Package e2e proves, on a real Kubernetes in network namespaces, what the README promises. Its tests carry the build tag `e2e`;
// `make test` runs them. They share one cluster, which TestMain brings up and takes down:
//
//	go test -tags e2e -count 1 -timeout 40m ./test/e2e
//
// Environment: L2_CLUSTER names the cluster (default e2e); KEEP=1 leaves it running; GUIDE is the path of a Markdown how-to whose
// blocks and commands are then run section by section; API_OUTAGE is how long the API server is stopped for (default 10s).
//
// Each test leaves the cluster as it found it and waits until all is calm. When one fails, what explains it is kept under
// out/e2e-logs, and the raw data of every load under out/e2e/load.
package e2e
