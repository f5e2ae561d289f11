// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"path/filepath"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// AuditLog is where the API server writes, one JSON event a line, what the product under test asked of it.
func (l Layout) AuditLog() string {
	return filepath.Join(l.Host(topology.ControlPlane), "log", "audit.log")
}

func (l Layout) auditPolicy() string {
	return filepath.Join(l.Host(topology.ControlPlane), "audit-policy.json")
}

// ConfigureAPIServer writes the API server's audit policy: who asked for what, of the ServiceAccounts in the product's
// namespace alone. Without bodies, and without the tests' own requests, that costs next to nothing.
func (l Layout) ConfigureAPIServer() error {
	return writeJSON(l.auditPolicy(), map[string]any{
		"apiVersion": "audit.k8s.io/v1",
		"kind":       "Policy",
		"omitStages": []string{"RequestReceived"},
		"rules": []map[string]any{
			{"level": "Metadata", "userGroups": []string{"system:serviceaccounts:metallb-system"}},
			{"level": "None"},
		},
	})
}
