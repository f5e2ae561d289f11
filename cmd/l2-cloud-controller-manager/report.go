// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

// report tells users which VIPs no node may announce, and why, and what L2Advertisements match, until SIGTERM. It is for the leader, after the provider
// has its informers.
func (p *process) report(clients clientBuilder) error {
	const name = "metallb-controller-plan"
	custom, err := client.NewForConfig(clients.ConfigOrDie(name))
	if err != nil {
		return err
	}
	kube := clients.ClientOrDie(name)
	before := toldBefore(p.ctx, kube)
	options := p.cloud.Options()
	reporter, err := cluster.NewReporter(kube, custom, options.Namespace, cluster.Selection{
		ServeClassless:     !options.HideClassless,
		LoadBalancerClass:  options.LoadBalancerClass,
		IgnoreExcludeLabel: options.IgnoreExcludeLabel,
	}, p.cloud.Services(), func(refusal cluster.Refusal) { p.tell(refusal, before) }, p.cloud.Covered)
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

// announcement is what an event told of a Service.
type announcement struct {
	service types.UID
	message string
}

// toldBefore is what a former leader told, and what the API server still has: it is not told again.
func toldBefore(ctx context.Context, kube kubernetes.Interface) map[announcement]bool {
	told := map[announcement]bool{}
	events, err := kube.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("reason", provider.ReasonNotAnnounced).String(),
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot read which addresses were not announced before: users are told again")
		return told
	}
	for _, event := range events.Items {
		told[announcement{event.InvolvedObject.UID, event.Message}] = true
	}
	return told
}

// tell writes an event on each Service of the VIP, unless a former leader did.
func (p *process) tell(refusal cluster.Refusal, before map[announcement]bool) {
	klog.FromContext(p.ctx).Info("not announced", "vip", refusal.VIP.Addr, "services", refusal.VIP.Services, "reason", refusal.Message)
	for _, service := range refusal.Services {
		this := announcement{service.UID, refusal.Message}
		if before[this] {
			delete(before, this) // once; when it is so again later, that is news
			continue
		}
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
