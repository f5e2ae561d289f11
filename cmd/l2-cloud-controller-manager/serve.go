// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// serve answers /metrics, /healthz and /readyz until SIGTERM. A controller that stands by is ready: a rollout
// must not wait for it to lead.
func (p *process) serve() error {
	listener, err := net.Listen("tcp", p.flags.metricsAddress)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", legacyregistry.Handler())
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case !p.leading.Load():
			io.WriteString(w, "ok: standing by\n")
		case p.cloud.Ready():
			io.WriteString(w, "ok: leading\n")
		default:
			http.Error(w, "leading, but the addresses in use are still being read", http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	context.AfterFunc(p.ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			exit(err, "Cannot serve metrics", "address", p.flags.metricsAddress)
		}
	}()
	klog.Background().V(1).Info("Serving metrics", "address", listener.Addr())
	return nil
}
