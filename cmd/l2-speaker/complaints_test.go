// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// An interface that this node has not is told once on the Services of the VIP, after the plan has settled, and of many VIPs on some only.
func TestMissingInterfacesAreTold(t *testing.T) {
	custom, err := client.NewForConfig(&rest.Config{Host: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := cluster.NewWatcher(fake.NewClientset(), custom, "metallb-system", cluster.Selection{}, func(map[netip.Addr]plan.VIP) {})
	if err != nil {
		t.Fatal(err)
	}
	vips := func(count int, verdict plan.Verdict) map[netip.Addr]plan.VIP {
		all := map[netip.Addr]plan.VIP{}
		for i := range count {
			address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			all[address] = plan.VIP{
				Addr: address, Services: []types.NamespacedName{{Namespace: "default", Name: fmt.Sprint("web-", i)}},
				Nodes: map[string]plan.Verdict{"node-1": verdict, "node-2": {Eligible: true}},
			}
		}
		return all
	}
	missing := plan.Verdict{Reason: plan.NoSuchInterface}
	for _, test := range []struct {
		name  string
		plans []map[netip.Addr]plan.VIP
		want  int
	}{
		{"one VIP", []map[netip.Addr]plan.VIP{vips(1, missing)}, 1},
		{"the same again", []map[netip.Addr]plan.VIP{vips(2, missing), vips(2, missing)}, 2},
		{"another reason", []map[netip.Addr]plan.VIP{vips(1, plan.Verdict{Reason: plan.NotSelected})}, 0},
		{"mended at once", []map[netip.Addr]plan.VIP{vips(1, missing), vips(1, plan.Verdict{Eligible: true})}, 0},
		{"very many", []map[netip.Addr]plan.VIP{vips(300, missing)}, mostComplaints},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				recorder := record.NewFakeRecorder(1000)
				c := newComplaints(&observer{node: "node-1", events: recorder, cluster: watcher})
				ended := make(chan error, 1)
				ctx := t.Context()
				go func() { ended <- c.run(ctx) }()
				for _, plan := range test.plans {
					c.plan(plan)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := len(recorder.Events); got != test.want {
					t.Errorf("%d events, want %d", got, test.want)
				}
				if test.want == 1 {
					if event, want := <-recorder.Events, "Warning announceFailed node node-1 does not announce 10.0.0.0: "+plan.Message(plan.NoSuchInterface); event != want {
						t.Errorf("event %q, want %q", event, want)
					}
				}
			})
		})
	}
}
