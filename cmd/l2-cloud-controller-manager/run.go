// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// run stands for election, and controls while this process leads, until SIGTERM.
func (p *process) run() error {
	klog.FromContext(p.ctx).Info("Starting", "version", version.Get().GitVersion)
	var err error
	if p.cloud, err = p.flags.cloud(); err != nil {
		return err
	}
	config, err := p.flags.config()
	if err != nil {
		return err
	}
	if err := p.serve(); err != nil {
		return fmt.Errorf("serving metrics on --metrics-bind-address=%s: %w", p.flags.metricsAddress, err)
	}
	p.leadership, err = stand(p.ctx, config, p.cloud.Options().Namespace, &p.fence)
	if err != nil {
		return fmt.Errorf("standing for election: %w", err)
	}
	p.leading.Store(true)
	config.Wrap(p.fence.wrap)
	return p.control(clientBuilder{config})
}

// control runs the provider, the stock service controller, and the reporter of what no node may announce.
func (p *process) control(clients clientBuilder) error {
	p.cloud.Initialize(clients, p.ctx.Done())
	factory := informers.NewSharedInformerFactory(clients.ClientOrDie("shared-informers"), 0)
	p.cloud.SetInformers(factory)
	if err := p.cloud.StartServiceController(p.ctx, clients.ClientOrDie("service-controller"), p.flags.workers); err != nil {
		return fmt.Errorf("starting the service controller: %w", err)
	}
	if err := p.report(clients); err != nil {
		return err
	}
	factory.Start(p.ctx.Done())
	<-p.ctx.Done()
	return nil
}

// clientBuilder makes clients with a user agent and a rate limit of their own, all behind the fence.
type clientBuilder struct{ config *rest.Config }

var _ cloudprovider.ControllerClientBuilder = clientBuilder{}

// Config is the configuration of one client.
func (b clientBuilder) Config(name string) (*rest.Config, error) {
	return rest.AddUserAgent(rest.CopyConfig(b.config), name), nil
}

// ConfigOrDie is Config, which cannot fail.
func (b clientBuilder) ConfigOrDie(name string) *rest.Config {
	return rest.AddUserAgent(rest.CopyConfig(b.config), name)
}

// Client makes a client.
func (b clientBuilder) Client(name string) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(b.ConfigOrDie(name))
}

// ClientOrDie makes a client, or ends the process with the reason.
func (b clientBuilder) ClientOrDie(name string) kubernetes.Interface {
	client, err := b.Client(name)
	if err != nil {
		exit(err, "Cannot make a client for the API server", "client", name)
	}
	return client
}
