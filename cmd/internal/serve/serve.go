// SPDX-License-Identifier: Apache-2.0

// Package serve is what both programs show of themselves over plain HTTP: /metrics, /healthz and /readyz. It shows nothing
// that is secret, and takes no orders.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
)

// Check says in a few words how a program is, and whether that is well. It may be called from several goroutines at once.
type Check func() (state string, well bool)

// Always is the Check of a program that is well while it answers at all.
func Always() (state string, well bool) { return "ok", true }

// maxHeader bounds what a stranger may make the program keep in memory; timeouts bound for how long.
const (
	maxHeader   = 16 << 10
	readTimeout = 5 * time.Second
	idleTimeout = time.Minute
	// writeTimeout is more than a scrape of the largest cluster takes.
	writeTimeout = 30 * time.Second
)

// Listen takes the address, such as ":7472", so that a port in use is found before anything else is done.
func Listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: if another program uses the port, choose another with --metrics-bind-address", err)
	}
	return listener, nil
}

// Run serves on a listener until the context is done, and closes it.
func Run(ctx context.Context, listener net.Listener, live, ready Check) error {
	return HTTP(ctx, listener, handler(live, ready))
}

// HTTP serves a handler on a listener until the context is done, and closes it.
func HTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, MaxHeaderBytes: maxHeader, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(live, ready Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", legacyregistry.Handler())
	mux.HandleFunc("GET /healthz", show(live))
	mux.HandleFunc("GET /readyz", show(ready))
	return mux
}

func show(check Check) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		state, well := check()
		if !well {
			http.Error(w, state, http.StatusServiceUnavailable)
			return
		}
		// Nobody is left to tell of a connection that has gone.
		_, _ = io.WriteString(w, state+"\n")
	}
}
