// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/component-base/metrics"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/serve"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

var update = flag.Bool("update", false, "write what commands print into testdata")

// report is a status with everything in it that can be printed.
func report() inspect.Status {
	span := func(seconds inspect.Seconds) *inspect.Seconds { return &seconds }
	return inspect.Status{
		APIVersion: inspect.APIVersion, Kind: inspect.KindStatus, Version: "v0.1.0", Node: "node-1", Running: 4711,
		Session: inspect.Session{Epoch: "node-1/AAAAAAAAAA", Renewed: span(12.34), Duration: 4},
		WhyNot:  election.BackOff, BackOff: 3.21,
		Isolated: true,
		Gateway:  &inspect.Gateway{Address: netip.MustParseAddr("192.168.1.1"), Answered: span(2.5)},
		Period:   0.1, SilencePeriods: 5.5,
		Interfaces: []inspect.Interface{
			{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.11/24"), netip.MustParsePrefix("fd00::b/64")}},
			{Name: "eth1", MAC: "02:00:00:00:01:01"},
		},
		ExcludeInterfaces: "^lo$",
		Speakers: []inspect.Speaker{
			{Node: "node-1", Self: true, Epoch: "node-1/AAAAAAAAAA", MACs: []string{"02:00:00:00:00:01"}, Acknowledged: span(12.34), Period: 0.1},
			{Node: "node-2", Epoch: "node-2/BBBBBBBBBB", Leaving: true, BacksOff: true, Heard: true, HeardAgo: span(0.05), ReportedAgo: span(0.04), GatewayAnswers: true, Acknowledged: span(0.7)},
			{Node: "node-3", Epoch: "node-3/CCCCCCCCCC", HeardAgo: span(321), ReportedAgo: span(321)},
			{Node: "node-4", Epoch: "node-4/DDDDDDDDDD"},
		},
		VIPs: []inspect.VIP{
			{Address: netip.MustParseAddr("192.168.1.240"), State: inspect.Announcing, Pool: "lan", Services: []string{"default/a", "default/b"}, Holder: "node-1", Held: span(86400), Moves: 3},
			{Address: netip.MustParseAddr("192.168.1.241"), State: inspect.HandingOver, Pool: "lan", Services: []string{"default/c"}, Holder: "node-1", Held: span(7), Successor: "node-2", Reason: "Cordoned"},
			{Address: netip.MustParseAddr("fd00::f0"), State: inspect.InConflict, Conflict: &inspect.Conflict{MAC: "02:00:00:00:00:99", Interface: "eth0", Node: "node-3"}},
		},
		Dropped: map[string]map[string]uint64{"arp": {"NotAnnounced": 12, "Truncated": 1}, "heartbeat": {"duplicate": 99}},
	}
}

// What users read is in testdata; -update writes it.
func TestOutput(t *testing.T) {
	address := netip.MustParseAddr("192.168.1.240")
	healthy := report()
	healthy.Session.Fresh, healthy.Session.Renewed = true, nil
	healthy.WhyNot, healthy.BackOff, healthy.Takes, healthy.Isolated, healthy.Gateway = "", 0, true, false, nil
	healthy.Speakers, healthy.VIPs, healthy.Dropped = nil, nil, nil
	for _, test := range []struct {
		file string
		text func(*bytes.Buffer) error
	}{
		{"status.txt", func(out *bytes.Buffer) error { return printStatus(out, "text", report()) }},
		{"status.json", func(out *bytes.Buffer) error { return printStatus(out, "json", report()) }},
		{"status-healthy.txt", func(out *bytes.Buffer) error { return printStatus(out, "text", healthy) }},
		{"probe-two.txt", func(out *bytes.Buffer) error {
			return printProbe(out, inspect.Probe{Node: "node-1", Address: address, Interfaces: []string{"eth0"}, Answers: []inspect.Answer{
				{MAC: "02:00:00:00:00:02", Interface: "eth0", Node: "node-2"}, {MAC: "02:00:00:00:00:99", Interface: "eth0"},
			}})
		}},
		{"probe-nobody.txt", func(out *bytes.Buffer) error {
			return printProbe(out, inspect.Probe{Node: "node-1", Address: address, Interfaces: []string{"eth0", "eth1"}})
		}},
		{"probe-own.txt", func(out *bytes.Buffer) error {
			return printProbe(out, inspect.Probe{Node: "node-1", Address: address, Interfaces: []string{"eth0"}, Own: inspect.OwnAnnounced})
		}},
		{"probe-incomplete.txt", func(out *bytes.Buffer) error {
			return printProbe(out, inspect.Probe{Address: address, Interfaces: []string{"eth0"}, Own: inspect.OwnConfigured, Incomplete: "no speaker listens",
				Answers: []inspect.Answer{{MAC: "02:00:00:00:00:02", Interface: "eth0"}}})
		}},
	} {
		t.Run(test.file, func(t *testing.T) {
			var out bytes.Buffer
			if err := test.text(&out); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", test.file)
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func printStatus(out *bytes.Buffer, format string, status inspect.Status) error {
	return (&asking{output: format}).print(out, status, func(out io.Writer) { writeStatus(out, status) })
}

func printProbe(out *bytes.Buffer, probe inspect.Probe) error {
	return (&asking{output: "text"}).print(out, probe, func(out io.Writer) { writeProbe(out, probe, time.Second) })
}

// The command asks through a socket that only its own user may use, that takes the place of a dead predecessor's, and that goes with the speaker.
func TestStatusThroughTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.sock")
	serving := func(handler http.Handler) (stop func()) {
		t.Helper()
		listener, err := listenLocally(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serve.HTTP(ctx, listener, handler) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	run := func(args ...string) (string, error) {
		command := newCommand()
		command.SilenceErrors = true
		var out bytes.Buffer
		command.SetOut(&out)
		command.SetArgs(append(args, "--status-socket="+path))
		err := command.ExecuteContext(t.Context())
		return out.String(), err
	}

	if _, err := run("status"); err == nil || !strings.Contains(err.Error(), "no speaker listens on "+path) {
		t.Errorf("without a socket: %v", err)
	}
	stop := serving(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(report()) }))
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode of the socket %v, %v", info.Mode(), err)
	}
	text, err := run("status", "-o", "json")
	var got inspect.Status
	if err != nil || json.Unmarshal([]byte(text), &got) != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if diff := cmp.Diff(report(), got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("status -want +got:\n%s", diff)
	}
	stop()

	left, err := listenLocally(path) // a predecessor that is killed leaves its socket behind
	if err != nil {
		t.Fatal(err)
	}
	left.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	left.Close()
	if _, err := run("status"); err == nil || !strings.Contains(err.Error(), "no speaker listens on "+path) {
		t.Errorf("with the socket of a dead speaker: %v", err)
	}
	stop = serving(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "it does not turn", http.StatusServiceUnavailable)
	}))
	defer stop()
	if _, err := run("status"); err == nil || !strings.Contains(err.Error(), "the speaker does not answer: it does not turn") {
		t.Errorf("a speaker that is stuck: %v", err)
	}
}

// A file that is no socket is not removed.
func TestListenLocallyRemovesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if listener, err := listenLocally(path); err == nil {
		listener.Close()
		t.Error("it listens in place of a file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// The speaker's own handler: a loop that turns is asked, and what it says is completed by what the process knows; one that does not is an error.
func TestStatusHandler(t *testing.T) {
	leases := fake.NewClientset().CoordinationV1()
	speaker := election.NewSpeaker(t.Context(), election.Config{
		Node: "node-1", Namespace: "metallb-system", Timing: election.DefaultTiming(), Leases: leases, Doubts: leases,
	})
	path := filepath.Join(t.TempDir(), "status.sock")
	listener, err := listenLocally(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.HTTP(ctx, listener, statusHandler(speaker, &options{excludedInterfaces: announce.DefaultExcludeInterfaces}))
	}()
	if _, err := askStatus(ctx, path); err == nil || !strings.Contains(err.Error(), "decision loop of node node-1, which does not turn") {
		t.Errorf("a loop that does not run: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDroppedIsReadFromTheMetrics(t *testing.T) {
	registry := metrics.NewKubeRegistry()
	counter := func(name string, labels ...string) *metrics.CounterVec {
		vec := metrics.NewCounterVec(&metrics.CounterOpts{Name: name}, labels)
		registry.MustRegister(vec)
		return vec
	}
	packets := counter("cloud_provider_l2_dropped_packets_total", "reason", "protocol")
	packets.WithLabelValues("NotAnnounced", "arp").Add(3)
	packets.WithLabelValues("HopLimit", "ndp").Add(2)
	packets.WithLabelValues("Truncated", "ndp").Add(0)
	counter("memberlist_heartbeats_dropped_total", "reason").WithLabelValues("forged").Inc()
	counter("something_else_total", "reason").WithLabelValues("forged").Inc()
	want := map[string]map[string]uint64{"arp": {"NotAnnounced": 3}, "ndp": {"HopLimit": 2}, "heartbeat": {"forged": 1}}
	if diff := cmp.Diff(want, dropped(registry)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
