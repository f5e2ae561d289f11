// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	test "github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot/snapshottest"
)

// serve is an API server that has what a snapshot has, and an event on each Service, and a kubeconfig that leads to it.
func serve(t *testing.T, s *snapshot.Snapshot) (kubeconfig string) {
	t.Helper()
	type list struct{ apiVersion, kind, items any }
	const ours = "/namespaces/metallb-system/"
	lists := map[string]list{
		"/api/v1/services":                                     {"v1", "ServiceList", s.Services},
		"/api/v1/nodes":                                        {"v1", "NodeList", s.Nodes},
		"/api/v1/namespaces":                                   {"v1", "NamespaceList", s.Namespaces},
		"/apis/discovery.k8s.io/v1/endpointslices":             {"discovery.k8s.io/v1", "EndpointSliceList", s.EndpointSlices},
		"/apis/apps/v1/daemonsets":                             {"apps/v1", "DaemonSetList", s.DaemonSets},
		"/apis/apps/v1/deployments":                            {"apps/v1", "DeploymentList", s.Deployments},
		"/api/v1" + ours + "pods":                              {"v1", "PodList", s.Pods},
		"/apis/coordination.k8s.io/v1" + ours + "leases":       {"coordination.k8s.io/v1", "LeaseList", s.Leases},
		"/apis/metallb.io/v1beta1" + ours + "ipaddresspools":   {"metallb.io/v1beta1", "IPAddressPoolList", s.Pools},
		"/apis/metallb.io/v1beta1" + ours + "l2advertisements": {"metallb.io/v1beta1", "L2AdvertisementList", s.Advertisements},
	}
	return kubeconfigOf(t, func(w http.ResponseWriter, r *http.Request) {
		found, is := lists[r.URL.Path]
		var answer any = map[string]any{"apiVersion": found.apiVersion, "kind": found.kind, "items": found.items}
		name, ofService := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "involvedObject.kind=Service,involvedObject.name=")
		switch {
		case r.URL.Path == "/version":
			answer = map[string]string{"gitVersion": s.Version}
		case r.URL.Path == "/api/v1/namespaces/default/events" && ofService:
			answer = corev1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}, Items: []corev1.Event{{Reason: "IPAllocated", Message: "Assigned IP to " + name, LastTimestamp: metav1.NewTime(test.Begin)}}}
		case !is:
			w.WriteHeader(http.StatusNotFound)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
}

// kubeconfigOf is one that leads to an API server, with the namespace shop.
func kubeconfigOf(t *testing.T, answers http.HandlerFunc) (kubeconfig string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answers(w, r)
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "config")
	text := `{"apiVersion": "v1", "kind": "Config", "current-context": "a", "clusters": [{"name": "a", "cluster": {"server": "` + server.URL +
		`"}}], "contexts": [{"name": "a", "context": {"cluster": "a", "namespace": "shop"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// The events of a Service are told with it and with its address, unless that is another's too.
func TestExplanationHasEvents(t *testing.T) {
	shared := func(s *snapshot.Snapshot) {
		s.Services = append(s.Services, test.Service("api", test.VIP))
		for i, service := range s.Services {
			service.Annotations = map[string]string{"metallb.io/allow-shared-ip": "one"}
			service.Spec.Ports[0].Port = int32(80 + i)
		}
	}
	for name, tc := range map[string]struct {
		subject string
		change  func(*snapshot.Snapshot)
		want    string
	}{
		"of a Service":                 {"default/web", nil, "IPAllocated: Assigned IP to web"},
		"of an address":                {test.VIP, nil, "IPAllocated: Assigned IP to web"},
		"of an address of nobody":      {"192.168.1.241", nil, ""},
		"of an address that is shared": {test.VIP, shared, ""},
		"of one of those who share it": {"default/api", shared, "IPAllocated: Assigned IP to api"},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.Healthy()
			if tc.change != nil {
				tc.change(s)
			}
			var out, complaints bytes.Buffer
			command := newCommand(streams{in: strings.NewReader(""), out: &out, errors: &complaints})
			command.SetArgs([]string{"explain", tc.subject, "--ask-speakers=false", "--kubeconfig=" + serve(t, s)})
			if err := command.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			told := out.String()
			if has := strings.Contains(told, "Events\n"); has != (tc.want != "") || !strings.Contains(told, tc.want) {
				t.Errorf("want the event %q:\n%s%s", tc.want, told, complaints.String())
			}
			if !strings.Contains(told, test.VIP) && tc.subject == test.VIP || strings.Contains(complaints.String(), "404") {
				t.Errorf("it could not see what there is:\n%s%s", told, complaints.String())
			}
		})
	}
}
