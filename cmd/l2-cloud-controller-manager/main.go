// SPDX-License-Identifier: Apache-2.0

// Command l2-cloud-controller-manager gives LoadBalancer Services their addresses. It is the cloud-controller-manager
// of k8s.io/cloud-provider with one controller, the stock service controller, and one provider, "l2". Speakers
// announce what it allocates; when it is away, they go on, and only new Services wait.
package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/component-base/cli"
	cliflag "k8s.io/component-base/cli/flag"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API client and the queues
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	process := &process{ctx: ctx}
	code := 1
	command, err := process.command()
	if err == nil {
		code = cli.Run(command)
	} else {
		klog.Background().Error(err, "Cannot make the command")
	}
	process.handOver()
	stop()
	os.Exit(code)
}

// process is what the parts of one run share. Its fields are set before the controllers start, but for leading, and not changed after.
type process struct {
	ctx        context.Context // ends with SIGTERM
	flags      flags
	fence      fence
	cloud      *provider.Cloud
	leadership *leadership
	leading    atomic.Bool
}

func (p *process) command() (*cobra.Command, error) {
	options, err := defaultOptions()
	if err != nil {
		return nil, err
	}
	var sets cliflag.NamedFlagSets
	p.flags.add(&sets)
	controllers := map[string]app.ControllerInitFuncConstructor{
		names.ServiceLBController: {
			InitContext: app.ControllerInitContext{ClientName: "service-controller"},
			Constructor: provider.StartServiceController,
		},
	}
	command := app.NewCloudControllerManagerCommand(options, p.lead, controllers, names.CCMControllerAliases(), sets, p.ctx.Done())
	describe(command)
	return command, nil
}

// lead is called by the app when flags are parsed and before any controller starts, and returns when this process is
// the leader. So the app itself needs no election, and ours can give the Lease back on SIGTERM.
func (p *process) lead(config *config.CompletedConfig) cloudprovider.Interface {
	cloud, err := cloudprovider.InitCloudProvider(config.ComponentConfig.KubeCloudShared.CloudProvider.Name, "")
	l2, ok := cloud.(*provider.Cloud)
	if err != nil || !ok {
		exit(err, "Set --cloud-provider=l2: this program has no other")
	}
	l2.Configure(p.flags.provider())
	p.cloud = l2
	if err := p.serve(); err != nil {
		exit(err, "Cannot serve metrics", "address", p.flags.metricsAddress)
	}
	p.leadership, err = stand(p.ctx, config.Kubeconfig, p.flags.namespace)
	if err != nil {
		exit(err, "Cannot stand for election")
	}
	p.leading.Store(true)
	config.Kubeconfig.Wrap(p.fence.wrap)
	return l2
}

// handOver ends the leadership in an order that the next leader can rely on: first nothing is decided any more, then
// nothing is written any more, then the Lease is free. While a write is still under way it is not released, but runs out.
func (p *process) handOver() {
	if p.leadership == nil {
		return
	}
	waitFor(p.cloud.Wait)
	p.fence.close()
	if waitFor(p.fence.wait) {
		p.leadership.release()
	}
}

func exit(err error, message string, keysAndValues ...any) {
	klog.Background().Error(err, message, keysAndValues...)
	klog.FlushAndExit(klog.ExitFlushTimeout, 1)
}
