// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"

	"k8s.io/client-go/kubernetes"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	"k8s.io/component-base/featuregate"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/klog/v2"
)

// clusterName is what the stock controller would name load balancers of a cloud by.
const clusterName = "kubernetes"

// StartServiceController runs the stock service controller, with the provider's view of Services and its event filter,
// until ctx is done; Wait waits for it. Call it after SetInformers and before the factory of those informers is started.
func (c *Cloud) StartServiceController(ctx context.Context, kube kubernetes.Interface, workers int) error {
	stock, err := c.newServiceController(kube)
	if err != nil {
		return err
	}
	metrics := controllersmetrics.NewControllerManagerMetrics("cloud-controller-manager")
	c.running.Go(func() { stock.Run(quietly(ctx), workers, metrics) })
	return nil
}

// quietly makes the stock controller log its events, those that are dropped included, for developers only.
func quietly(ctx context.Context) context.Context {
	return klog.NewContext(ctx, klog.FromContext(ctx).V(4))
}

func (c *Cloud) newServiceController(kube kubernetes.Interface) (*servicecontroller.Controller, error) {
	client := &stockClient{Interface: kube, events: c.events, changes: c.changes}
	return servicecontroller.New(c, client, c.services, silentNodes{c.caches.nodes}, clusterName, featuregate.NewFeatureGate())
}
