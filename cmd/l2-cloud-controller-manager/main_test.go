// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

func TestHelpShowsWhatDoesSomething(t *testing.T) {
	process := &process{ctx: t.Context()}
	command, err := process.command()
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	command.SetOut(&help)
	command.SetErr(&help)
	command.SetArgs([]string{"--help"})
	if err := command.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--namespace", "--metrics-bind-address", "--load-balancer-class", "--serve-classless", "--kubeconfig", "--concurrent-service-syncs"} {
		if !strings.Contains(help.String(), flag) {
			t.Errorf("%s is not in the help", flag)
		}
	}
	for _, flag := range []string{"--cluster-cidr", "--tls-cert-file", "--leader-elect", "--webhook-bind-address"} {
		if strings.Contains(help.String(), flag) {
			t.Errorf("%s is in the help", flag)
		}
	}
	for flag, want := range map[string]string{"leader-elect": "false", "secure-port": "0", "cloud-provider": "l2"} {
		if got := command.Flags().Lookup(flag).DefValue; got != want {
			t.Errorf("--%s defaults to %s, want %s", flag, got, want)
		}
	}
}

func TestNothingIsWrittenBehindTheFence(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	var f fence
	client := &http.Client{Transport: f.wrap(http.DefaultTransport)}
	try := func(method string) error {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := try(http.MethodPatch); err != nil {
		t.Errorf("before: %v", err)
	}
	f.close()
	f.wait()
	if err := try(http.MethodPatch); !errors.Is(err, errFenced) {
		t.Errorf("after: %v, want %v", err, errFenced)
	}
	if err := try(http.MethodGet); err != nil {
		t.Errorf("reading after: %v", err)
	}
}

func TestLeaseIsKeptWhileAWriteIsUnderWay(t *testing.T) {
	for name, writing := range map[string]bool{"writing": true, "idle": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				released := false
				done := make(chan struct{})
				close(done)
				p := &process{cloud: provider.New(), leadership: &leadership{cancel: func() { released = true }, done: done}}
				if writing {
					p.fence.enter()
					defer p.fence.writes.Done()
				}
				p.handOver()
				if released == writing {
					t.Errorf("released: %t", released)
				}
			})
		})
	}
}
