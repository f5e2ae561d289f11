// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

// A speaker knows its own objects only: with 200 speakers, a watch of all by each would be 200 copies of every change.
func TestServiceL2StatusInformerAsksForItsOwn(t *testing.T) {
	const selector = "metallb.io/node=node-1"
	var mu sync.Mutex
	asked := map[string]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		mu.Lock()
		asked[query.Get("labelSelector")] = true
		mu.Unlock()
		switch {
		case query.Get("sendInitialEvents") == "true": // as an API server that does not know it
			http.Error(w, "sendInitialEvents is forbidden", http.StatusUnprocessableEntity)
		case query.Get("watch") != "":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(&v1beta1.ServiceL2StatusList{
				TypeMeta: metav1.TypeMeta{APIVersion: "metallb.io/v1beta1", Kind: "ServiceL2StatusList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"},
				Items: []v1beta1.ServiceL2Status{{
					ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "default.web.node-1", ResourceVersion: "7"},
					Status:     v1beta1.ServiceL2StatusStatus{Node: "node-1"},
				}},
			}); err != nil {
				t.Error(err)
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c, err := client.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	informer := client.NewServiceL2StatusInformer(c.ServiceL2Statuses("metallb-system"), selector)
	go informer.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer has not synced")
	}
	if held, ok := informer.GetStore().List()[0].(*v1beta1.ServiceL2Status); !ok || held.Status.Node != "node-1" {
		t.Errorf("held %#v", informer.GetStore().List())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || !asked[selector] {
		t.Errorf("asked for %v", asked)
	}
}
