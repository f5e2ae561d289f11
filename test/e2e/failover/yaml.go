// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// What the bench asks of the cluster, as a user would write it.

const (
	namespace   = "failover"
	backendPort = 8080
	// backendAddress is the LAN's gateway, which is no node.
	backendAddress = "192.168.1.1"
)

const namespaceYAML = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n"

// poolYAML is a pool that is announced from every node, and given only to Services that name it.
func poolYAML(name, addresses string) string {
	return fmt.Sprintf(`---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: failover-%[1]s, namespace: metallb-system}
spec: {addresses: [%[2]q], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: failover-%[1]s, namespace: metallb-system}
spec: {ipAddressPools: [failover-%[1]s]}
`, name, addresses)
}

// serviceYAML is a Service whose backend is the gateway's.
func serviceYAML(name, pool string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s, annotations: {metallb.io/address-pool: failover-%[3]s}}
spec:
  type: LoadBalancer
  allocateLoadBalancerNodePorts: false
  ipFamilyPolicy: SingleStack
  ipFamilies: [IPv4]
  ports: [{name: http, port: 80, targetPort: %[4]d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-gateway, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[4]d}]
endpoints: [{addresses: [%[5]s], conditions: {ready: true}}]
`, name, namespace, pool, backendPort, backendAddress)
}

// servicesYAML are many of them: svc-0001 and so on.
func servicesYAML(from, to int, pool string) string {
	var all strings.Builder
	for i := from; i <= to; i++ {
		all.WriteString(serviceYAML(fmt.Sprintf("svc-%04d", i), pool))
	}
	return all.String()
}
