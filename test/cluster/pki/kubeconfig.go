// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/json"
	"fmt"
)

// Kubeconfig describes how to reach the API server as one user. It is JSON, which every reader of YAML takes.
func Kubeconfig(cluster, server string, authority []byte, user string, client Pair) ([]byte, error) {
	config := map[string]any{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []any{map[string]any{
			"name": cluster,
			"cluster": map[string]any{
				"server":                     server,
				"certificate-authority-data": authority,
			},
		}},
		"users": []any{map[string]any{
			"name": user,
			"user": map[string]any{
				"client-certificate-data": client.Certificate,
				"client-key-data":         client.Key,
			},
		}},
		"contexts": []any{map[string]any{
			"name":    cluster,
			"context": map[string]any{"cluster": cluster, "user": user},
		}},
		"current-context": cluster,
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return append(text, '\n'), nil
}
