// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

func TestFlags(t *testing.T) {
	command := newCommand(&process{ctx: t.Context()})
	for flag, want := range map[string]string{
		"cloud-provider": "l2", "cloud-config": "", "namespace": "metallb-system", "metrics-bind-address": ":7472",
		"load-balancer-class": "", "serve-classless": "true", "share-across-namespaces": "true", "ignore-exclude-lb": "false",
		"kubeconfig": "", "kube-api-qps": "400", "kube-api-burst": "800", "concurrent-service-syncs": "32",
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
		"no provider":      {[]string{"--cloud-provider="}, "--cloud-provider=: must be l2, this program has no other"},
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

// What the file says holds unless a flag says something else.
func TestFlagsOverruleTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cloud.yaml")
	text := "apiVersion: cloud-provider-l2/v1\nkind: CloudConfig\nnamespace: lb\nloadBalancerClass: example.com/l2\nserveClassless: false\nshareAcrossNamespaces: false\nignoreExcludeLB: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POD_NAMESPACE", "pod-namespace")
	fromFile := provider.Options{Namespace: "lb", LoadBalancerClass: "example.com/l2", HideClassless: true, SeparateNamespaces: true, IgnoreExcludeLabel: true}
	for name, tt := range map[string]struct {
		args []string
		want provider.Options
	}{
		"neither":       {nil, provider.Options{Namespace: "pod-namespace"}},
		"file":          {[]string{"--cloud-config=" + file}, fromFile},
		"flags":         {[]string{"--namespace=x", "--serve-classless=false"}, provider.Options{Namespace: "x", HideClassless: true}},
		"all flags win": {[]string{"--cloud-config=" + file, "--namespace=metallb-system", "--load-balancer-class=", "--serve-classless", "--share-across-namespaces", "--ignore-exclude-lb=false"}, provider.Options{Namespace: "metallb-system"}},
		"one flag wins": {[]string{"--cloud-config=" + file, "--share-across-namespaces=true"},
			provider.Options{Namespace: "lb", LoadBalancerClass: "example.com/l2", HideClassless: true, IgnoreExcludeLabel: true}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &process{ctx: t.Context()}
			if err := newCommand(p).ParseFlags(tt.args); err != nil {
				t.Fatal(err)
			}
			cloud, err := p.flags.cloud()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, cloud.Options()); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadSettingsSayWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cloud.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: cloud-provider-l2/v1\nkind: CloudConfig\nnamespaces: lb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ arg, want string }{
		"no namespace":  {"--namespace=", `namespace "" is not the name of a namespace, as in metallb-system: `},
		"no class":      {"--load-balancer-class=a b", `loadBalancerClass "a b" cannot be that of a Service, as in example.com/l2: `},
		"no file":       {"--cloud-config=" + file + ".none", "--cloud-config: open "},
		"no such field": {"--cloud-config=" + file, "--cloud-config=" + file + `: unknown field "namespaces": correct or remove it; besides apiVersion and kind there are namespace, `},
	} {
		t.Run(name, func(t *testing.T) {
			p := &process{ctx: t.Context()}
			if err := newCommand(p).ParseFlags([]string{tt.arg}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.flags.cloud(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s…", err, tt.want)
			}
		})
	}
}

func TestNothingIsWrittenBehindTheFence(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	leads := true
	f := fence{leads: func() bool { return leads }}
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
	leads = false // the process stood still for longer than its Lease
	if err := try(http.MethodPatch); !errors.Is(err, errFenced) {
		t.Errorf("when the Lease may be another's: %v, want %v", err, errFenced)
	}
	leads = true // it has taken the Lease again, but what it knows is old
	if err := try(http.MethodPatch); !errors.Is(err, errFenced) {
		t.Errorf("after that: %v, want %v", err, errFenced)
	}
	f = fence{leads: f.leads}
	if err := try(http.MethodPatch); err != nil {
		t.Errorf("another process: %v", err)
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
				p := &process{fence: fence{leads: func() bool { return true }}, cloud: provider.New(), leadership: &leadership{cancel: func() { released = true }, done: done}}
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
