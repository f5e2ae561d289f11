// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

const namespace = "failover"

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

// vipService is a Service of an address from a pool, without a selector: its backend is the gateway.
func vipService(name, pool string) *corev1.Service {
	single, noPorts := corev1.IPFamilyPolicySingleStack, false
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"metallb.io/address-pool": "failover-" + pool}},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			AllocateLoadBalancerNodePorts: &noPorts,
			IPFamilyPolicy:                &single,
			IPFamilies:                    []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:                         []corev1.ServicePort{{Port: 80}},
		},
	}
}

// manyPrefix begins the names of the many Services.
const manyPrefix = "svc-"

// manyNames of Services: svc-0001 and so on.
func manyNames(count int) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("%s%04d", manyPrefix, i+1))
	}
	return all
}

// creators is how many Services are created at once.
const creators = 8

// createServices makes Services of a pool with their backends. Those that are there stay.
func (r *rig) createServices(ctx context.Context, pool string, names ...string) error {
	config := rest.CopyConfig(r.Config)
	config.QPS, config.Burst = 2000, 2000 // the product is what is measured
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	queue := make(chan string)
	failed := make([]error, creators)
	var working sync.WaitGroup
	for i := range failed {
		working.Go(func() {
			for name := range queue {
				if failed[i] == nil {
					failed[i] = createService(ctx, api, pool, name)
				}
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	working.Wait()
	return errors.Join(failed...)
}

func createService(ctx context.Context, api kubernetes.Interface, pool, name string) error {
	if _, err := api.DiscoveryV1().EndpointSlices(namespace).Create(ctx, lab.GatewayEndpoints(namespace, name), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the backend of %s: %w", name, err)
	}
	if _, err := api.CoreV1().Services(namespace).Create(ctx, vipService(name, pool), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	return nil
}
