// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

func TestFlags(t *testing.T) {
	command := newCommand(&process{ctx: t.Context()})
	for flag, want := range map[string]string{
		"cloud-provider": "l2", "namespace": "metallb-system", "metrics-bind-address": ":7472",
		"load-balancer-class": "", "serve-classless": "true", "share-across-namespaces": "true",
		"kubeconfig": "", "kube-api-qps": "400", "kube-api-burst": "800", "concurrent-service-syncs": "10",
		"logging-format": "text", "v": "0",
	} {
		if found := command.Flags().Lookup(flag); found == nil || found.DefValue != want {
			t.Errorf("--%s: %+v, want the default %q", flag, found, want)
		}
	}
}

func TestBadFlagsSayWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"another provider": {[]string{"--cloud-provider=aws"}, "--cloud-provider=aws: must be l2, this program has no other"},
		"no namespace":     {[]string{"--namespace="}, "--namespace is empty: set it, or POD_NAMESPACE in the environment, as in metallb-system"},
		"no worker":        {[]string{"--concurrent-service-syncs=0"}, "--concurrent-service-syncs=0: must be more than 0"},
		"no requests":      {[]string{"--kube-api-qps=-1"}, "--kube-api-qps=-1 --kube-api-burst=800: both must be more than 0"},
	} {
		t.Run(name, func(t *testing.T) {
			command := newCommand(&process{ctx: t.Context()})
			command.SetOut(io.Discard)
			command.SetErr(io.Discard)
			command.SetArgs(tt.args)
			if err := command.Execute(); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
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
