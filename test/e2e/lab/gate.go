// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Gate stands between the API server and a controller that runs outside the cluster, and can cut it off at any of its writes. What
// passes is not changed. Its methods may be called from several goroutines.
type Gate struct {
	listener net.Listener
	proxy    *httputil.ReverseProxy

	mu     sync.Mutex // guards what follows, and adding to writes
	left   int        // writes until the cut; 0: no cut is planned
	after  bool       // the write at which it happens reaches the API server, and its answer nobody
	closed chan struct{}
	shut   bool

	writes sync.WaitGroup // under way to the API server
}

var errCut = errors.New("the gate is shut")

// NewGate opens a gate on a port of its own, without credentials: whoever comes through is the administrator.
func (c *Cluster) NewGate() (*Gate, error) {
	transport, err := rest.TransportFor(c.Config)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(c.Config.Host)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	g := &Gate{closed: make(chan struct{})}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches
		ModifyResponse: g.answer,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	server := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(g.listener)
	return g, nil
}

// Close closes the gate for good.
func (g *Gate) Close() error { return g.listener.Close() }

// WriteKubeconfig writes a kubeconfig that leads through the gate.
func (g *Gate) WriteKubeconfig(path string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: gate, cluster: {server: "http://%s"}}]
contexts: [{name: gate, context: {cluster: gate}}]
current-context: gate
`, g.listener.Addr())
	return os.WriteFile(path, []byte(text), 0o600)
}

// Open lets everything pass again, and plans the next cut at the n-th write (0: never): before it is sent, or after it was sent and
// before its answer is seen. Renewals of Leases are no writes here. The channel is closed when the cut has happened.
func (g *Gate) Open(n int, after bool) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.after, g.shut, g.closed = n, after, false, make(chan struct{})
	return g.closed
}

// Drain waits until the API server has answered every write that reached it. Call it when the controller is dead.
func (g *Gate) Drain() { g.writes.Wait() }

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isWrite(r) {
		if g.isShut() {
			panic(http.ErrAbortHandler)
		}
		g.proxy.ServeHTTP(w, r)
		return
	}
	if !g.enter(r) {
		panic(http.ErrAbortHandler)
	}
	defer g.writes.Done()
	// A write that has left is not recalled when its sender dies.
	g.proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
}

// enter tells whether a write may pass.
func (g *Gate) enter(r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	if g.left > 0 && !strings.Contains(r.URL.Path, "/leases") {
		if g.left--; g.left == 0 {
			g.shut = true
			close(g.closed)
			if !g.after {
				return false
			}
		}
	}
	g.writes.Add(1)
	return true
}

// answer keeps answers from a controller that has been cut off.
func (g *Gate) answer(r *http.Response) error {
	if g.isShut() {
		return errCut
	}
	return nil
}

func (g *Gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }
