// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// namespace is where the tests' Services live.
const namespace = "default"

// lan is what pools may have of the LAN: addresses that no host has.
const lan = "192.168.1.240-192.168.1.249"

// pool is an IPAddressPool of the tests. Its name carries a prefix, so that nobody's own configuration is touched.
func pool(name string, addresses ...string) string { return poolWith(name, "", addresses...) }

// poolWith adds fields to the spec, one a line.
func poolWith(name, fields string, addresses ...string) string {
	list, _ := json.Marshal(addresses)
	return fmt.Sprintf(`apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: e2e-%s, namespace: metallb-system}
spec:
  addresses: %s
%s`, name, list, indent(fields))
}

// advertisement announces pools from every node and interface.
func advertisement(name string, pools ...string) string { return advertisementWith(name, "", pools...) }

func advertisementWith(name, fields string, pools ...string) string {
	var named []string
	for _, p := range pools {
		named = append(named, "e2e-"+p)
	}
	list, _ := json.Marshal(named)
	return fmt.Sprintf(`apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: e2e-%s, namespace: metallb-system}
spec:
  ipAddressPools: %s
%s`, name, list, indent(fields))
}

// service is a LoadBalancer Service without backends, with annotations given as key, value, key, value.
func service(name string, annotations ...string) string { return serviceWith(name, "", annotations...) }

func serviceWith(name, fields string, annotations ...string) string {
	set := map[string]string{}
	for i := 0; i+1 < len(annotations); i += 2 {
		set[annotations[i]] = annotations[i+1]
	}
	text, _ := json.Marshal(set)
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s, annotations: %s}
spec:
  type: LoadBalancer
  selector: {app: nobody}
  ports: [{port: 80}]
%s`, name, namespace, text, indent(fields))
}

// served is a Service with a ready backend, the LAN's gateway: it is announced at once, and reached when the web server there runs.
func served(name string, annotations ...string) string {
	endpoints, _ := yaml.Marshal(lab.GatewayEndpoints(namespace, name))
	return service(name, annotations...) + "---\n" + string(endpoints)
}

func indent(fields string) string {
	if fields == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(fields), "\n", "\n  ") + "\n"
}
