// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

func TestBadFlagsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--namespace=n"}, "--node-name is empty: set it, or NODE_NAME"},
		{[]string{"--node-name=n"}, "--namespace is empty: set it, or POD_NAMESPACE"},
		{[]string{"--node-name=n", "--namespace=n", "--failover=faster"}, "--failover=faster: must be 'default' or 'fast'"},
		{[]string{"--node-name=n", "--namespace=n", "--on-api-loss=panic"}, "--on-api-loss=panic: must be 'keep' or 'withdraw'"},
		{[]string{"--node-name=n", "--namespace=n", "--leave-within=0s"}, "--leave-within=0s: must be more than 0"},
		{[]string{"--node-name=n", "--namespace=n", "--exclude-interfaces=("}, "--exclude-interfaces: "},
	} {
		t.Setenv("NODE_NAME", "")
		t.Setenv("POD_NAMESPACE", "")
		command := newCommand()
		command.SilenceErrors = true
		command.SetArgs(test.args)
		if err := command.Execute(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.args, err, test.want)
		}
	}
}

// Each Service on a VIP is told once which node announces it, however often the plan changes, and its series goes with it.
func TestServicesAreToldOnce(t *testing.T) {
	kube := fake.NewClientset()
	custom, err := client.NewForConfig(&rest.Config{Host: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := cluster.NewWatcher(kube, custom, "metallb-system", cluster.Selection{}, func(map[netip.Addr]plan.VIP) {})
	if err != nil {
		t.Fatal(err)
	}
	recorder := record.NewFakeRecorder(10)
	o := &observer{node: "node-1", events: recorder, cluster: watcher, services: map[netip.Addr][]types.NamespacedName{}}
	a, b := types.NamespacedName{Namespace: "default", Name: "a"}, types.NamespacedName{Namespace: "default", Name: "b"}
	vip := netip.MustParseAddr("192.168.1.240")

	for _, step := range []struct {
		do     func()
		events int
		series []string
	}{
		{func() { o.Announced(plan.VIP{Addr: vip, Services: []types.NamespacedName{a}}) }, 1, []string{"default/a"}},
		{func() { o.Announced(plan.VIP{Addr: vip, Services: []types.NamespacedName{a}}) }, 0, []string{"default/a"}},
		{func() { o.Announced(plan.VIP{Addr: vip, Services: []types.NamespacedName{a, b}}) }, 1, []string{"default/a", "default/b"}},
		{func() { o.Announced(plan.VIP{Addr: vip, Services: []types.NamespacedName{b}}) }, 0, []string{"default/b"}},
		{func() { o.Withdrawn(vip) }, 0, nil},
	} {
		step.do()
		if got := len(recorder.Events); got != step.events {
			t.Errorf("%d events, want %d", got, step.events)
		}
		for range len(recorder.Events) {
			if event := <-recorder.Events; event != `Normal nodeAssigned announcing from node "node-1" with protocol "layer2"` {
				t.Errorf("event %q", event)
			}
		}
		if diff := cmp.Diff(step.series, announcedServices(t)); diff != "" {
			t.Errorf("metallb_speaker_announced: %s", diff)
		}
	}
}

func announcedServices(t *testing.T) []string {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var services []string
	for _, family := range families {
		if family.GetName() != "metallb_speaker_announced" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "service" {
					services = append(services, label.GetValue())
				}
			}
		}
	}
	return services
}

func TestDefaultRoute(t *testing.T) {
	_, everything, _ := net.ParseCIDR("0.0.0.0/0")
	_, subnet, _ := net.ParseCIDR("192.168.1.0/24")
	_, half, _ := net.ParseCIDR("0.0.0.0/1")
	for _, test := range []struct {
		destination *net.IPNet
		want        bool
	}{{nil, true}, {everything, true}, {subnet, false}, {half, false}} {
		if got := isDefault(test.destination); got != test.want {
			t.Errorf("isDefault(%v) = %v, want %v", test.destination, got, test.want)
		}
	}
}
