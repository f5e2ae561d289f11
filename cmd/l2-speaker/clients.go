// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

// clients have a budget each, so that no kind of request starves another: least of all the renewal of the session.
type clients struct {
	kube, leases, session, doubts, events kubernetes.Interface
	custom, statuses                      *client.Client
}

func newClients(kubeconfig string) (*clients, error) {
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, fmt.Errorf("how to reach the API server: %w", err)
	}
	// Protobuf makes less garbage than JSON. Custom resources have none, and their client asks for JSON.
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	config.DisableCompression = true // a wire of the same LAN is cheaper than the API server's time
	config.UserAgent = "l2-speaker/" + version.Get().GitVersion
	config.Dial = (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 5 * time.Second, Control: giveUpSoon}).DialContext
	c := &clients{}
	if c.kube, err = kubernetes.NewForConfig(budget(config, 50, 100)); err != nil {
		return nil, err
	}
	leases := budget(config, 500, 1000)
	wire, err := rest.HTTPClientFor(leases)
	if err != nil {
		return nil, err
	}
	if c.leases, err = kubernetes.NewForConfigAndClient(leases, wire); err != nil {
		return nil, err
	}
	// Who doubts whether a VIP is its own waits 300 ms for the answer: behind no claim, and on a connection that is open.
	if c.doubts, err = kubernetes.NewForConfigAndClient(budget(config, 100, 200), wire); err != nil {
		return nil, err
	}
	if c.session, err = kubernetes.NewForConfig(budget(config, 20, 20)); err != nil {
		return nil, err
	}
	// Nobody waits for events and status objects: when a thousand VIPs come or move at once, they leave the API server to
	// the Leases and to the controller's addresses.
	if c.events, err = kubernetes.NewForConfig(budget(config, 10, 10)); err != nil {
		return nil, err
	}
	if c.custom, err = client.NewForConfig(budget(config, 20, 50)); err != nil {
		return nil, err
	}
	if c.statuses, err = client.NewForConfig(budget(config, 10, 5)); err != nil {
		return nil, err
	}
	return c, nil
}

func budget(config *rest.Config, qps float32, burst int) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = qps, burst
	return config
}

// giveUpSoon makes the kernel end a connection whose data nobody acknowledges for 3 s: one that died with a cable would
// otherwise be used for many seconds after the cable is back.
func giveUpSoon(_, _ string, connection syscall.RawConn) error {
	var failed error
	err := connection.Control(func(descriptor uintptr) {
		failed = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 3000)
	})
	if err != nil {
		return err
	}
	return failed
}
