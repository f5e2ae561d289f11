// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

const pools = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools"

// newPool is a pool as an API server sends it.
func newPool(name string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: "metallb.io/v1beta1", Kind: "IPAddressPool"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: name, ResourceVersion: "7"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []string{"192.168.1.240/28"}},
	}
}

// newClient talks to an API server that has one pool and tells of no change. It wants JSON whatever the caller's
// configuration prefers: an API server has no protobuf for a CRD.
func newClient(t *testing.T) *client.Client {
	t.Helper()
	answer := func(w http.ResponseWriter, object any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(object); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pools, func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Get("sendInitialEvents") == "true": // as an API server that does not know it
			http.Error(w, "sendInitialEvents is forbidden", http.StatusUnprocessableEntity)
		case query.Get("watch") != "":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			answer(w, &v1beta1.IPAddressPoolList{
				TypeMeta: metav1.TypeMeta{APIVersion: "metallb.io/v1beta1", Kind: "IPAddressPoolList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"},
				Items:    []v1beta1.IPAddressPool{*newPool("lan")},
			})
		}
	})
	mux.HandleFunc("PUT "+pools+"/lan/status", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("content type is %q", got)
		}
		var pool v1beta1.IPAddressPool
		if err := json.NewDecoder(r.Body).Decode(&pool); err != nil {
			t.Error(err)
		}
		pool.ResourceVersion = "8"
		answer(w, &pool)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}}
	c, err := client.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStatusIsWrittenWhereTheAPIServerKeepsIt(t *testing.T) {
	pool := newPool("lan")
	pool.Status.AssignedIPv4 = 3
	got, err := newClient(t).IPAddressPools("metallb-system").UpdateStatus(t.Context(), pool, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := pool.DeepCopy()
	want.ResourceVersion = "8"
	want.TypeMeta = got.TypeMeta
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestInformerHoldsTypedObjects(t *testing.T) {
	informer := client.NewIPAddressPoolInformer(newClient(t), "metallb-system", 0)
	go informer.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer has not synced")
	}
	held, err := informer.GetIndexer().ByIndex(cache.NamespaceIndex, "metallb-system")
	if err != nil || len(held) != 1 {
		t.Fatalf("held %v, %v", held, err)
	}
	if pool, ok := held[0].(*v1beta1.IPAddressPool); !ok || pool.Name != "lan" {
		t.Errorf("held %#v", held[0])
	}
}
