// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	test "github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot/snapshottest"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
)

var update = flag.Bool("update", false, "write what is printed to testdata")

// golden compares what people read with what they read before.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); go test -update writes it anew:\n%s", file, diff)
	}
}

func printed(output string) (*options, *bytes.Buffer, *bytes.Buffer) {
	var out, complaints bytes.Buffer
	return &options{streams: streams{out: &out, errors: &complaints}, output: output}, &out, &complaints
}

// sick is a cluster with a Service that waits and one that nobody may announce.
func sick() *snapshot.Snapshot {
	s := test.Healthy()
	s.Pools[0].Spec.Addresses = []string{"192.168.1.240-192.168.1.241"}
	s.Services = append(s.Services, test.Service("dark", "192.168.1.241"), test.Service("late"))
	return s
}

func all(*corev1.Service) bool { return true }

func TestStatusForPeople(t *testing.T) {
	for name, format := range map[string]string{"status.txt": "", "status-wide.txt": "wide"} {
		o, out, _ := printed(format)
		if err := (&statusOptions{options: o}).show(ageless(view.StatusOf(sick(), all))); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

// ageless leaves out times, since ages are told by the clock.
func ageless(status view.Status) view.Status {
	for i := range status.VIPs {
		status.VIPs[i].Since = nil
	}
	for i := range status.Speakers {
		status.Speakers[i].Since = nil
	}
	return status
}

func TestExplanationForPeople(t *testing.T) {
	s := sick()
	for _, service := range s.Services {
		o, out, _ := printed("")
		e := view.NewExplainer(s).Service(service)
		for i := range e.Addresses {
			e.Addresses[i].Since = nil
		}
		o.tell(e)
		golden(t, "explain-"+service.Name+".txt", out.String())
	}
}

func TestDiagnosisForPeople(t *testing.T) {
	o, out, _ := printed("")
	o.tellDiagnosis(doctor.Examine(sick()))
	golden(t, "doctor.txt", out.String())
}

// JSON and YAML say the same, with a version, and are read again.
func TestFormatsForPrograms(t *testing.T) {
	status := view.StatusOf(sick(), all)
	o, out, _ := printed("json")
	if done, err := o.print(status); !done || err != nil {
		t.Fatal(done, err)
	}
	var back view.Status
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.APIVersion != "cloud-provider-l2/v1" || back.Kind != "Status" {
		t.Fatalf("%v: %s", err, out)
	}
	var fromYAML view.Status
	o, text, _ := printed("yaml")
	if done, err := o.print(status); !done || err != nil {
		t.Fatal(done, err)
	}
	if err := yaml.Unmarshal(text.Bytes(), &fromYAML); err != nil {
		t.Fatal(err)
	}
	addresses := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff(back, fromYAML, addresses, cmp.Comparer(func(a, b view.VIP) bool { return a.Address == b.Address && a.Node == b.Node })); diff != "" {
		t.Error(diff)
	}
}

// Colours are for terminals only.
func TestNoColourInFiles(t *testing.T) {
	var buffer bytes.Buffer
	if paintFor(&buffer) {
		t.Error("a buffer is painted")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if paintFor(file) {
		t.Error("a file is painted")
	}
	if got := paint(true).in(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
}

// While watching, only what changed is shown again, and what is there no more is shown once, as Gone.
func TestChangedOnly(t *testing.T) {
	holder := "node-3"
	remove := func(s *snapshot.Snapshot, name string) {
		s.Services = slices.DeleteFunc(s.Services, func(service *corev1.Service) bool { return service.Name == name })
	}
	for name, tc := range map[string]struct {
		change func(*snapshot.Snapshot)
		want   []string // address, Service, node and state of each row
	}{
		"nothing": {func(*snapshot.Snapshot) {}, nil},
		"another node has it": {func(s *snapshot.Snapshot) {
			for _, lease := range s.Leases {
				if lease.Name == "vip-"+test.VIP {
					lease.Spec.HolderIdentity = &holder
					lease.Annotations["cloud-provider-l2/epoch"] = "node-3/e"
				}
			}
		}, []string{"192.168.1.240 default/web node-3 Announcing"}},
		"its Service is deleted":           {func(s *snapshot.Snapshot) { remove(s, "dark") }, []string{"192.168.1.241 default/dark <none> Gone", "<pending> default/late <none> NoAddress"}},
		"its Service is not asked for now": {func(s *snapshot.Snapshot) { s.Service("default", "dark").Labels["tier"] = "" }, []string{"192.168.1.241 default/dark <none> Gone"}},
		"its Service moves": {func(s *snapshot.Snapshot) {
			s.Pools[0].Spec.Addresses = []string{"192.168.1.240-192.168.1.242"}
			s.Service("default", "dark").Status.LoadBalancer.Ingress[0].IP = "192.168.1.242"
			remove(s, "late")
		}, []string{"192.168.1.242 default/dark <none> NoReadyEndpoints", "192.168.1.241 default/dark <none> Gone", "<pending> default/late <none> Gone"}},
		"who waited has an address": {func(s *snapshot.Snapshot) {
			remove(s, "dark")
			s.Service("default", "late").Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.1.241"}}
		}, []string{"192.168.1.241 default/late <none> NoReadyEndpoints"}},
		"who waited is deleted": {func(s *snapshot.Snapshot) { remove(s, "late") }, []string{"<pending> default/late <none> Gone"}},
		"who waits cannot be told": {func(s *snapshot.Snapshot) {
			s.Namespaces, s.Unread = nil, []snapshot.Unread{{What: snapshot.Namespaces, Why: "forbidden"}}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := func(service *corev1.Service) bool { _, hidden := service.Labels["tier"]; return !hidden }
			s := sick()
			for _, service := range s.Services {
				service.Labels = map[string]string{}
			}
			before := view.StatusOf(s, want)
			tc.change(s)
			var got []string
			for _, row := range vipRows(changedOnly(before, view.StatusOf(s, want))) {
				got = append(got, fmt.Sprint(row[0], " ", row[1], " ", row[3], " ", row[4]))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

// Bad use is refused with what to write, before anything is asked of a cluster.
func TestBadUse(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"status", "-o", "xml"}, `--output=xml: must be one of ["wide" "json" "yaml"]`},
		{[]string{"explain", "web", "-o", "wide"}, `--output=wide: must be one of ["json" "yaml"]`},
		{[]string{"status", "-l", "a in"}, "--selector: "},
		{[]string{"explain"}, "accepts 1 arg(s), received 0"},
		{[]string{"doctor", "web"}, "unknown command"},
	} {
		var out bytes.Buffer
		command := newCommand(streams{in: strings.NewReader(""), out: &out, errors: &out})
		command.SetArgs(append(tc.args, "--kubeconfig=/dev/null"))
		if err := command.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.want)
		}
	}
}

// When nothing can be examined, doctor's exit status says that and not that something is wrong.
func TestDoctorWithoutCluster(t *testing.T) {
	var out bytes.Buffer
	command := newCommand(streams{in: strings.NewReader(""), out: &out, errors: &out})
	command.SetArgs([]string{"doctor", "--server=http://127.0.0.1:1", "--kubeconfig=/dev/null"})
	err := command.ExecuteContext(t.Context())
	var status exitStatus
	if !errors.As(err, &status) || status != exitFailed || !strings.Contains(out.String(), "127.0.0.1:1") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// Completion scripts are there for the shells that kubectl has.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out bytes.Buffer
		command := newCommand(streams{in: strings.NewReader(""), out: &out, errors: &out})
		command.SetArgs([]string{"completion", shell})
		if err := command.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "kubectl-l2") {
			t.Errorf("%s: %v: %.200s", shell, err, out.String())
		}
	}
}
