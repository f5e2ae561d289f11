// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// report tells users which VIPs no node may announce, and why, until SIGTERM. It is for the leader, after the provider
// has its informers.
func (p *process) report(clients clientBuilder) error {
	const name = "metallb-controller-plan"
	custom, err := client.NewForConfig(clients.ConfigOrDie(name))
	if err != nil {
		return err
	}
	options := p.cloud.Options()
	reporter, err := cluster.NewReporter(clients.ClientOrDie(name), custom, options.Namespace, cluster.Selection{
		ServeClassless:     !options.HideClassless,
		LoadBalancerClass:  options.LoadBalancerClass,
		IgnoreExcludeLabel: options.IgnoreExcludeLabel,
	}, p.tell)
	if err != nil {
		return fmt.Errorf("watching what speakers see: %w", err)
	}
	legacyregistry.CustomMustRegister(&unannounced{count: reporter.Unannounced})
	p.reporting.Go(func() {
		if err := reporter.Run(p.ctx); err != nil {
			exit(err, "Cannot tell which addresses no node may announce")
		}
	})
	return nil
}

func (p *process) tell(refusal cluster.Refusal) {
	klog.FromContext(p.ctx).Info("not announced", "vip", refusal.VIP.Addr, "services", refusal.VIP.Services, "reason", refusal.Message)
	for _, service := range refusal.Services {
		p.cloud.NotAnnounced(p.ctx, service, refusal.Message)
	}
}

// unannounced counts VIPs by reason when somebody looks. There is a series for each of the six reasons of package plan that
// concern a VIP.
type unannounced struct {
	metrics.BaseStableCollector
	count func() map[plan.Reason]int
}

var unannouncedVIPs = metrics.NewDesc("cloud_provider_l2_vips_without_eligible_node",
	"Number of VIPs that no node may announce, by reason.", []string{"reason"}, nil, metrics.ALPHA, "")

// DescribeWithStability implements metrics.StableCollector.
func (*unannounced) DescribeWithStability(descs chan<- *metrics.Desc) { descs <- unannouncedVIPs }

// CollectWithStability implements metrics.StableCollector.
func (u *unannounced) CollectWithStability(values chan<- metrics.Metric) {
	for reason, count := range u.count() {
		values <- metrics.NewLazyConstMetric(unannouncedVIPs, metrics.GaugeValue, float64(count), string(reason))
	}
}
