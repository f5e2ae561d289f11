// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// writes to Leases that a speaker has under way at once, when it takes or hands over many VIPs.
const writes = 32

// stuck is how long the decision loop may not have turned before the kubelet is told, so that it restarts the speaker.
const stuck = 10 * time.Second

// run wires the parts of the speaker and runs them until the context is done.
func run(ctx context.Context, o *options) error {
	log := klog.FromContext(ctx)
	log.Info("Speaker starts", "version", version.Get().GitVersion, "node", o.node, "namespace", o.namespace, "failover", o.failover, "onAPILoss", o.onAPILoss)
	clients, err := newClients(o.kubeconfig)
	if err != nil {
		return err
	}

	// The parts outlive the context: VIPs are handed over after it is done.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()

	broadcaster := record.NewBroadcaster(record.WithContext(running))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clients.events.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	observer := &observer{
		node:     o.node,
		events:   broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "metallb-speaker", Host: o.node}),
		services: map[netip.Addr][]types.NamespacedName{},
	}

	var speaker *election.Speaker
	announcer, err := announce.New(log.WithName("announce"), announce.Config{
		ExcludeInterfaces: regexp.MustCompile(o.excludedInterfaces), // validated
		Alive:             func() bool { return speaker.Alive() },
		AnnounceOnReturn:  func() bool { return speaker.Fresh() },
		Metrics:           announce.NewMetrics(legacyregistry.MustRegister),
	})
	if err != nil {
		return fmt.Errorf("announcer: %w", err)
	}
	transport := membership.NewTransport(running, membership.TransportConfig{})
	speaker = election.NewSpeaker(ctx, election.Config{
		Node: o.node, Namespace: o.namespace, Timing: o.timing(), WithdrawOnAPILoss: o.onAPILoss == "withdraw",
		Leases: clients.leases.CoordinationV1(), Sessions: clients.session.CoordinationV1(), Announcer: announcer, Sender: transport, Observer: observer,
		LeaveWithin: o.leaveWithin, Writes: writes,
	})
	watcher, err := cluster.NewWatcher(clients.kube, clients.custom, o.namespace, o.selection, func(vips map[netip.Addr]plan.VIP) { speaker.SetPlan(vips) })
	if err != nil {
		return err
	}
	observer.cluster = watcher

	failed := make(chan error, 8)
	start := func(name string, part func(context.Context) error) {
		parts.Go(func() {
			if err := part(running); err != nil && running.Err() == nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("announcer", announcer.Run)
	start("heartbeats", transport.Run)
	start("cluster", watcher.Run)
	start("key of heartbeats", func(ctx context.Context) error { return watchKey(ctx, clients.kube, o.namespace, speaker.SetKey) })
	start("gateway", func(ctx context.Context) error { watchGateway(ctx, speaker.SetGateway); return nil })
	start("LAN", func(ctx context.Context) error { relay(ctx, announcer, transport, speaker); return nil })
	if o.metricsAddress != "" {
		start("metrics", func(ctx context.Context) error {
			return serve(ctx, o.metricsAddress, func() bool { return speaker.TurnedWithin(stuck) }, watcher.HasSynced)
		})
	}

	elected := make(chan error, 1)
	go func() { elected <- speaker.Run(ctx) }()
	select {
	case err = <-elected:
	case err = <-failed:
	}
	return err
}

// relay passes on what the LAN shows: interfaces, sightings and heartbeats.
func relay(ctx context.Context, announcer *announce.Announcer, transport *membership.Transport, speaker *election.Speaker) {
	interfaces := func() {
		var locals []election.LocalInterface
		var carriers []membership.Interface
		for _, each := range announcer.Interfaces() {
			if !each.Up {
				continue
			}
			locals = append(locals, election.LocalInterface{Name: each.Name, MAC: each.MAC.String(), Addresses: each.Prefixes})
			carriers = append(carriers, membership.Interface{Name: each.Name, Index: each.Index, Addresses: each.Prefixes})
		}
		transport.SetInterfaces(carriers)
		speaker.SetInterfaces(locals)
	}
	interfaces()
	for {
		select {
		case <-ctx.Done():
			return
		case <-announcer.Changes():
			interfaces()
		case sighting := <-announcer.Sightings():
			if sighting.Kind == announce.KindProbe {
				speaker.Rival(sighting.Addr, sighting.MAC.String(), sighting.Interface)
			} else {
				speaker.Sight(sighting.Addr, sighting.MAC.String(), sighting.Interface)
			}
		case datagram := <-transport.Datagrams():
			speaker.Hear(datagram.Data, datagram.At)
		}
	}
}

// clients have a budget each, so that no kind of request starves another: least of all the renewal of the session.
type clients struct {
	kube, leases, session, events kubernetes.Interface
	custom                        *client.Client
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
	config.UserAgent = "l2-speaker/" + version.Get().GitVersion
	config.Dial = (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 5 * time.Second, Control: giveUpSoon}).DialContext
	c := &clients{}
	if c.kube, err = kubernetes.NewForConfig(budget(config, 50, 100)); err != nil {
		return nil, err
	}
	if c.leases, err = kubernetes.NewForConfig(budget(config, 500, 1000)); err != nil {
		return nil, err
	}
	if c.session, err = kubernetes.NewForConfig(budget(config, 20, 20)); err != nil {
		return nil, err
	}
	if c.events, err = kubernetes.NewForConfig(budget(config, 20, 100)); err != nil {
		return nil, err
	}
	if c.custom, err = client.NewForConfig(budget(config, 20, 50)); err != nil {
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

// serve offers metrics and health until the context is done.
func serve(ctx context.Context, address string, alive, synced func() bool) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", legacyregistry.Handler())
	mux.HandleFunc("GET /healthz", healthy(alive, "the decision loop does not turn"))
	mux.HandleFunc("GET /readyz", healthy(func() bool { return alive() && synced() }, "the cluster's objects are not listed yet"))
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.ListenAndServe(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (is another program on %s using the port? see --metrics-bind-address)", err, hostname())
	}
	return nil
}

func healthy(check func() bool, otherwise string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !check() {
			http.Error(w, otherwise, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "this node"
	}
	return name
}
