// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestHealthIsWhatTheChecksSay(t *testing.T) {
	listener, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loaded := false
	ShowConfiguration(func() bool { return loaded }, func() bool { return true })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, listener, Always, func() (string, bool) { return "the pools are not listed yet", false })
	}()
	for _, test := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/readyz", 503, "the pools are not listed yet\n"},
		{"GET", "/metrics", 200, "metallb_k8s_client_config_loaded_bool 0\n"},
		{"GET", "/metrics", 200, "metallb_k8s_client_config_stale_bool 1\n"},
		{"GET", "/", 404, ""},
		{"POST", "/healthz", 405, ""},
	} {
		request, err := http.NewRequest(test.method, "http://"+listener.Addr().String()+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.code || !strings.Contains(string(body), test.body) {
			t.Errorf("%s %s: %d %.200q, %v", test.method, test.path, response.StatusCode, body, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run after its context was done: %v", err)
	}
	if _, err := http.Get("http://" + listener.Addr().String() + "/healthz"); err == nil {
		t.Error("it answers although it has ended")
	}
}

func TestAPortInUseNamesTheFlag(t *testing.T) {
	listener, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := Listen(listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "--metrics-bind-address") {
		t.Errorf("error %v", err)
	}
}
