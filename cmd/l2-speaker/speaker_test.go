// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/cluster"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
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
		{[]string{"--node-name=n", "--namespace=n", "--flap-backoff=-1s"}, "--flap-backoff=-1s: must be 0, which turns it off, or up to 2m0s"},
		{[]string{"--node-name=n", "--namespace=n", "--flap-backoff=2m1s"}, "--flap-backoff=2m1s: must be 0, which turns it off, or up to 2m0s"},
		{[]string{"--node-name=n", "--namespace=n", "--rebalance-interval=-1ns"}, "--rebalance-interval=-1ns: must be 0, which turns it off, or more"},
		{[]string{"--node-name=n", "--namespace=n", "--gratuitous-interval=9s"}, "--gratuitous-interval=9s: must be 0, which turns it off, or at least 10s"},
		{[]string{"--node-name=n", "--namespace=n", "--gratuitous-interval=-1m"}, "--gratuitous-interval=-1m0s: must be 0"},
		{[]string{"--node-name=n", "--namespace=n", "--heartbeat-port=0"}, "--heartbeat-port=0: must be a port, from 1 to 65535"},
		{[]string{"--node-name=n", "--namespace=n", "--heartbeat-port=65536"}, "--heartbeat-port"},
		{[]string{"--node-name=n", "--namespace=n", "--metrics-bind-address=7472"}, "--metrics-bind-address=7472: address 7472: missing port in address: write for example :7472"},
		{[]string{"probe", "192.168.1.0/24"}, `"192.168.1.0/24": must be the IPv4 or IPv6 address of one host`},
		{[]string{"probe", "224.0.0.1"}, `"224.0.0.1": must be`},
		{[]string{"probe", "192.168.1.240", "--timeout=1h"}, "--timeout=1h0m0s: must be from 100ms to 1m0s"},
		{[]string{"status", "--output=xml"}, "--output=xml: must be 'text' or 'json'"},
		{[]string{"status", "--status-socket=/nonexistent"}, "no speaker listens on /nonexistent: run this in the container of a running speaker"},
		{[]string{"stats"}, `unknown command "stats"`},
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

// A user who reads --help learns the unit and the default of every flag that has one.
func TestHelpTellsUnitAndDefault(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	t.Setenv("POD_NAMESPACE", "")
	o := &options{}
	flags := pflag.NewFlagSet("speaker", pflag.ContinueOnError)
	o.addFlags(flags)
	flags.VisitAll(func(flag *pflag.Flag) {
		usage, said := flag.Usage, strings.ToLower(flag.Usage)
		switch {
		case !strings.HasSuffix(usage, ".") || strings.ToUpper(usage[:1]) != usage[:1]:
			t.Errorf("--%s: not a sentence: %s", flag.Name, usage)
		case flag.DefValue == "" && !strings.Contains(said, "default:") && !strings.Contains(said, "empty:"):
			t.Errorf("--%s has no default, and its help does not say what that means: %s", flag.Name, usage)
		case flag.Value.Type() == "duration" && !strings.Contains(said, "how long") && !strings.Contains(said, "how often") && !strings.Contains(said, "time between"):
			t.Errorf("--%s is a time, and its help does not say so: %s", flag.Name, usage)
		case flag.Value.Type() == "duration" && flag.Name != "leave-within" && !strings.Contains(usage, "0: "):
			t.Errorf("--%s can be turned off, and its help does not say how: %s", flag.Name, usage)
		}
	})
	for name, want := range map[string]string{ // an API: dashboards and overlays have them
		"flap-backoff": "2s", "rebalance-interval": "1s", "gratuitous-interval": "0s", "heartbeat-port": "7946", "metrics-bind-address": ":7472",
		"leave-within": "20s", "failover": "default", "on-api-loss": "keep", "status-socket": "/run/l2-speaker/status.sock",
	} {
		flag := flags.Lookup(name)
		if flag == nil {
			t.Errorf("--%s is gone", name)
			continue
		}
		if flag.DefValue != want {
			t.Errorf("--%s is %s by default, want %s", name, flag.DefValue, want)
		}
	}
}

// What flags say reaches the election.
func TestFlagsSetTheTiming(t *testing.T) {
	fast, usual := election.FastTiming(), election.DefaultTiming()
	for _, test := range []struct {
		args   []string
		change func(*election.Timing)
	}{
		{nil, func(*election.Timing) {}},
		{[]string{"--failover=fast"}, func(timing *election.Timing) { *timing = fast }},
		{[]string{"--flap-backoff=0"}, func(timing *election.Timing) { timing.FenceBackoff = 0 }},
		{[]string{"--flap-backoff=30s", "--rebalance-interval=0"}, func(timing *election.Timing) { timing.FenceBackoff, timing.RebalanceInterval = 30*time.Second, 0 }},
	} {
		o := &options{}
		flags := pflag.NewFlagSet("speaker", pflag.ContinueOnError)
		o.addFlags(flags)
		if err := flags.Parse(append([]string{"--node-name=n", "--namespace=n"}, test.args...)); err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err != nil {
			t.Errorf("%v: %v", test.args, err)
		}
		want := usual
		test.change(&want)
		if diff := cmp.Diff(want, o.timing()); diff != "" {
			t.Errorf("%v: %s", test.args, diff)
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
	told := &toldStatuses{}
	o := &observer{node: "node-1", events: recorder, cluster: watcher, statuses: told, services: map[netip.Addr][]types.NamespacedName{}}
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
		want := float64(0)
		if step.series != nil {
			want = 1
		}
		if got := value(t, "cloud_provider_l2_announced_vips"); got != want {
			t.Errorf("cloud_provider_l2_announced_vips is %v, want %v", got, want)
		}
	}
	if want := (toldStatuses{announced: 4, withdrawn: 1}); *told != want {
		t.Errorf("ServiceL2Statuses were told %+v, want %+v", *told, want)
	}
}

// How long a Service waited for its first announcement is counted once for each that is newer than the speaker.
func TestFirstAnnouncementsAreTimed(t *testing.T) {
	began := time.Now()
	service := func(name string, created time.Time) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(created)}}
	}
	kube := fake.NewClientset(service("older", began.Add(-time.Hour)), service("newer", began.Add(time.Millisecond)), service("ahead", began.Add(time.Hour)))
	custom, err := client.NewForConfig(&rest.Config{Host: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := cluster.NewWatcher(kube, custom, "metallb-system", cluster.Selection{}, func(map[netip.Addr]plan.VIP) {})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	running.Go(func() { _ = watcher.Run(t.Context()) })
	for _, name := range []string{"older", "newer", "ahead"} {
		for watcher.ServiceUID(types.NamespacedName{Namespace: "default", Name: name}) == "" { // until the watch has brought it
			if err := t.Context().Err(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	counted := func() (uint64, float64) {
		seen, err := testutil.GetHistogramVecFromGatherer(legacyregistry.DefaultGatherer, "cloud_provider_l2_service_announcement_duration_seconds", nil)
		if err != nil {
			t.Fatal(err)
		}
		return seen.GetAggregatedSampleCount(), seen.GetAggregatedSampleSum()
	}
	countBefore, sumBefore := counted()
	o := &observer{node: "node-1", began: began, cluster: watcher}
	for _, test := range []struct {
		service string
		count   uint64
	}{
		{"older", 0}, {"gone", 0}, {"newer", 1}, {"ahead", 2}, // the API server's clock is an hour ahead of this node's
	} {
		o.FirstAnnounced(plan.VIP{Services: []types.NamespacedName{{Namespace: "default", Name: test.service}}})
		count, sum := counted()
		if count, sum := count-countBefore, sum-sumBefore; count != test.count || sum < 0 || sum > time.Since(began).Seconds() {
			t.Errorf("after %s: %d counted, %v s in all; want %d, and no more than has passed", test.service, count, sum, test.count)
		}
	}
}

// toldStatuses counts what ServiceL2Statuses are told.
type toldStatuses struct{ announced, withdrawn, speakers int }

func (s *toldStatuses) Announced(plan.VIP)                  { s.announced++ }
func (s *toldStatuses) Withdrawn(netip.Addr)                { s.withdrawn++ }
func (s *toldStatuses) SetSpeakers(map[string]plan.Speaker) { s.speakers++ }

// A conflict is told on every Service of the VIP, with the other host's MAC and the interface, and whether the VIP is announced all the same.
func TestConflictsAreTold(t *testing.T) {
	custom, err := client.NewForConfig(&rest.Config{Host: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := cluster.NewWatcher(fake.NewClientset(), custom, "metallb-system", cluster.Selection{}, func(map[netip.Addr]plan.VIP) {})
	if err != nil {
		t.Fatal(err)
	}
	recorder := record.NewFakeRecorder(10)
	o := &observer{node: "node-1", events: recorder, cluster: watcher, statuses: &toldStatuses{}, services: map[netip.Addr][]types.NamespacedName{}}
	vip := plan.VIP{Addr: netip.MustParseAddr("192.168.1.240"), Services: []types.NamespacedName{{Namespace: "default", Name: "a"}, {Namespace: "default", Name: "b"}}}
	for _, test := range []struct {
		name      string
		unclaimed bool
		when      string
		want      string
	}{
		{"before the first claim", true, "Unclaimed", `Warning AddressConflict another host, 02:00:00:00:00:99 on eth7 of node "node-1", has 192.168.1.240, which is not announced therefore: give that host another address, or take this one out of the pool`},
		{"while it is announced", false, "Announced", `Warning AddressConflict another host, 02:00:00:00:00:99 on eth7 of node "node-1", announces 192.168.1.240 too: give that host another address, or take this one out of the pool`},
	} {
		t.Run(test.name, func(t *testing.T) {
			o.Conflict(vip, election.Sighting{VIP: vip.Addr, MAC: "02:00:00:00:00:99", Interface: "eth7", Unclaimed: test.unclaimed})
			for range vip.Services {
				if event := <-recorder.Events; event != test.want {
					t.Errorf("event %q,\nwant %q", event, test.want)
				}
			}
			if got := value(t, "cloud_provider_l2_address_conflicts_total", "eth7", test.when); got != 1 {
				t.Errorf("counted %v, want 1", got)
			}
		})
	}
}

// value of the series of a metric whose labels have the given values, in order of the labels' names.
func value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var has []string
			for _, label := range metric.GetLabel() {
				has = append(has, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(has, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return 0
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
