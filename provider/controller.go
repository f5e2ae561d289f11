// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	genericcontrollermanager "k8s.io/controller-manager/app"
	"k8s.io/controller-manager/controller"
	"k8s.io/klog/v2"
)

// StartServiceController runs the stock service controller with the provider's view of Services and its event filter.
func StartServiceController(init app.ControllerInitContext, completed *config.CompletedConfig, cloud cloudprovider.Interface) app.InitFunc {
	return func(ctx context.Context, manager genericcontrollermanager.ControllerContext) (controller.Interface, bool, error) {
		l2, ok := cloud.(*Cloud)
		if !ok {
			return nil, false, fmt.Errorf("cloud provider %q cannot be used here: only %q can", cloud.ProviderName(), Name)
		}
		stock, err := l2.newServiceController(completed.ClientBuilder.ClientOrDie(init.ClientName), completed.ComponentConfig.KubeCloudShared.ClusterName)
		if err != nil {
			return nil, false, err
		}
		workers := int(completed.ComponentConfig.ServiceController.ConcurrentServiceSyncs)
		l2.running.Go(func() { stock.Run(quietly(ctx), workers, manager.ControllerManagerMetrics) })
		return nil, true, nil
	}
}

// quietly makes the stock controller log its events, those that are dropped included, for developers only.
func quietly(ctx context.Context) context.Context {
	return klog.NewContext(ctx, klog.FromContext(ctx).V(4))
}

func (c *Cloud) newServiceController(kube kubernetes.Interface, clusterName string) (*servicecontroller.Controller, error) {
	client := &stockClient{Interface: kube, events: c.clients.events, changes: c.changes}
	return servicecontroller.New(c, client, c.services, silentNodes{c.caches.nodes}, clusterName, feature.DefaultFeatureGate)
}
