// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	_ "embed"
	"fmt"
	"text/template"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// Node is the API object of a node, made before kubelet registers so that it has its labels from the first moment.
func Node(node topology.Host) map[string]any {
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata":   map[string]any{"name": node.Name, "labels": node.Labels()},
		"spec": map[string]any{
			"podCIDR":  node.PodRange4(),
			"podCIDRs": []any{node.PodRange4(), node.PodRange6()},
		},
	}
}

//go:embed dns.yaml
var dnsText string

var dnsTemplate = template.Must(template.New("dns.yaml").Parse(dnsText))

// DNS is the manifest of CoreDNS.
func DNS(image string) ([]byte, error) {
	var manifest bytes.Buffer
	err := dnsTemplate.Execute(&manifest, map[string]any{"Image": image, "Address": topology.DNSService})
	if err != nil {
		return nil, fmt.Errorf("writing the manifest of CoreDNS: %w", err)
	}
	return manifest.Bytes(), nil
}
