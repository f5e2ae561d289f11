// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Gateway is the host that every other takes for its way out; it stays when nodes are cut.
const Gateway = "gateway"

const (
	gatewayAddress = "192.168.1.1"
	gatewayPort    = 8080
)

// GatewayEndpoints make the gateway's web server the ready backend of a Service, beside those it may select: nothing that happens to nodes or
// to pods happens to it. The Service's port has no name.
func GatewayEndpoints(namespace, service string) *discoveryv1.EndpointSlice {
	port, name, protocol, ready := int32(gatewayPort), "", corev1.ProtocolTCP, true
	return &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-gateway", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{gatewayAddress}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
}

// ServeOnGateway starts the gateway's web server, and returns when it serves. It ends by stop, or with ctx.
func (c *Cluster) ServeOnGateway(ctx context.Context) (stop func() error, err error) {
	started := time.Now()
	parse := func(line string) (string, error) { return line, nil }
	args := []string{"serve", "--port", fmt.Sprint(gatewayPort), "--stdin"}
	s, err := startStream(ctx, c, "the gateway's web server", Gateway, args, parse, func(string) time.Time { return started })
	if err != nil {
		return nil, err
	}
	err = s.Await(ctx, started, func(lines []string) error {
		if len(lines) == 0 {
			return errors.New("it does not serve yet")
		}
		return nil
	})
	if err != nil {
		_ = s.Stop()
		return nil, err
	}
	return s.Stop, nil
}
