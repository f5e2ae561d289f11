// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

var benchServices = flag.Int("allocation-services", 0, "how many Services TestAllocationBenchmark makes; 0 leaves it out")

const (
	benchNamespace = "e2e-bench"
	benchRange     = "10.100.0.0-10.100.15.255"
	benchWorkers   = 16
)

// TestAllocationBenchmark measures what a person with many Services waits for, and prints it beside what the design wants. A slow
// machine fails nothing: the numbers are for reading, with the load of the machine beside them.
func TestAllocationBenchmark(t *testing.T) {
	n := *benchServices
	if n == 0 {
		t.Skip("run it with make bench-allocation")
	}
	b := begin(t, 15*time.Minute)
	m := &measurement{bench: b, t: t, n: n}
	config := rest.CopyConfig(b.Config)
	config.QPS = -1
	api, err := kubernetes.NewForConfig(config)
	b.must(err)
	m.api = api

	b.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + benchNamespace + "}")
	b.later(m.forget)
	web := lab.Backend{Namespace: benchNamespace, Name: "web", Replicas: 1}
	b.apply(strings.SplitN(web.YAML(), "---\n", 2)[0])
	b.must(b.AwaitReady(b.ctx, web))

	m.record("load of the machine before", loadAverage(), "", "")
	born := m.auditEnd(t)
	m.create()
	m.allocate(born)
	m.restart()
	m.delete()
	m.record("load of the machine after", loadAverage(), "", "")
	m.print()
}

// measurement is one run. Its rows are what is printed.
type measurement struct {
	*bench
	t    *testing.T
	n    int
	api  kubernetes.Interface
	rows [][4]string
}

func (m *measurement) record(what, got, wanted, metallb string) {
	m.rows = append(m.rows, [4]string{what, got, wanted, metallb})
}

func (m *measurement) print() {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%d Services\tmeasured\tdesign\tMetalLB main (0.16), same lab\n", m.n)
	for _, row := range m.rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row[0], row[1], row[2], row[3])
	}
	_ = table.Flush()
	fmt.Println(text.String())
	path, err := m.Out("e2e", "bench-allocation.txt")
	m.must(err)
	m.must(os.WriteFile(path, text.Bytes(), 0o644))
}

// each calls do for every Service's number, several at a time.
func (m *measurement) each(do func(i int) error) {
	m.t.Helper()
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range benchWorkers {
		workers.Go(func() {
			for i := range numbers {
				if err := do(i); err != nil {
					m.t.Error(err)
				}
			}
		})
	}
	for i := range m.n {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	if m.t.Failed() {
		m.t.FailNow()
	}
}

// create makes the Services, and waits until everything that Kubernetes itself does for them has been done.
func (m *measurement) create() {
	services := m.api.CoreV1().Services(benchNamespace)
	m.each(func(i int) error {
		_, err := services.Create(m.ctx, newService(benchName(i), inNamespace(benchNamespace), func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "web"} }), metav1.CreateOptions{})
		return err
	})
	m.must(lab.Until(m.ctx, "every Service to have its EndpointSlice", m.api.DiscoveryV1().RESTClient(), "endpointslices", benchNamespace, &discoveryv1.EndpointSlice{}, func(all []*discoveryv1.EndpointSlice) error {
		ready := 0
		for _, slice := range all {
			if len(slice.Endpoints) > 0 {
				ready++
			}
		}
		return short(ready, m.n)
	}))
	m.must(m.services("to have been tried once", func(s *corev1.Service) bool { return len(s.Finalizers) > 0 }))
}

// allocate makes the pool, and measures until every Service has its address, and until every VIP is announced.
func (m *measurement) allocate(born int64) {
	since, before := m.auditEnd(m.t), m.usage()
	start := time.Now()
	configuration := strings.Join([]string{pool("bench", benchRange), advertisement("bench", "bench")}, "\n---\n")
	m.later(func(ctx context.Context) error { return m.Delete(ctx, configuration) })
	allocated := make(chan error, 1)
	go func() {
		allocated <- m.services("to have its address", func(s *corev1.Service) bool { return len(s.Status.LoadBalancer.Ingress) > 0 })
	}()
	m.must(m.Apply(m.ctx, configuration))
	m.must(<-allocated)
	took := time.Since(start)
	after := m.usage()
	m.must(m.leases("to be held", func(held int) error { return short(held, m.n) }))
	announced := time.Since(start)
	m.events("IPAllocated")
	m.events("nodeAssigned")

	m.record("pool created .. the last address", seconds(took), perThousand(m.n, "≤ 8 s"), perThousand(m.n, "48 s"))
	m.record("pool created .. the last VIP held", seconds(announced), "", "")
	m.record("controller's writes per Service, its whole life until here", m.writes(born, "controller"), "≤ 5", "8.9, speakers' included")
	m.record("of them since the pool", m.writes(since, "controller"), "", "")
	m.record("speakers' writes per Service", m.writes(since, "speaker"), "≤ 4", "")
	m.record("controller's CPU until the last address", after.since(before), "", "")
	m.record("controller's RSS", megabytes(m.usage().memory), "≤ 60 MB", "85 MB")
}

// restart replaces the controller.
func (m *measurement) restart() {
	since := m.auditEnd(m.t)
	_, err := m.Kubectl(m.ctx, "rollout", "restart", "deployment/controller", "-n", lab.Namespace)
	m.must(err)
	m.must(m.AwaitRollout(m.ctx))
	m.must(m.AwaitCalm(m.ctx))
	start := time.Now()
	_, err = m.api.CoreV1().Services(benchNamespace).Create(m.ctx, newService("bench-late", inNamespace(benchNamespace)), metav1.CreateOptions{})
	m.must(err)
	_, err = m.AwaitAddress(m.ctx, benchNamespace, "bench-late")
	m.must(err)
	m.record("after a restart: a new Service has its address in", seconds(time.Since(start)), "", "")
	writes := m.writesOf(m.t, since, "controller", "speaker")
	writes = slices.DeleteFunc(writes, func(r lab.Request) bool { return !strings.HasPrefix(r.Name, "bench-0") })
	m.record("after a restart: writes for the Services that were there", strconv.Itoa(len(writes)), "0", "")
	usage := m.usage()
	m.record("after a restart: controller's CPU, start to here", seconds(usage.cpu), "", "")
	m.record("after a restart: controller's RSS", megabytes(usage.memory), "≤ 60 MB", "")
}

// delete deletes the Services, and measures until all are gone, and until no node holds their VIPs.
func (m *measurement) delete() {
	since, before := m.auditEnd(m.t), m.usage()
	start := time.Now()
	services := m.api.CoreV1().Services(benchNamespace)
	m.must(services.Delete(m.ctx, "bench-late", metav1.DeleteOptions{}))
	m.each(func(i int) error { return services.Delete(m.ctx, benchName(i), metav1.DeleteOptions{}) })
	m.must(lab.Until(m.ctx, "every Service to be gone", m.api.CoreV1().RESTClient(), "services", benchNamespace, &corev1.Service{}, func(all []*corev1.Service) error {
		if len(all) > 0 {
			return fmt.Errorf("%d are left", len(all))
		}
		return nil
	}))
	m.record("deleted .. the last one gone", seconds(time.Since(start)), "", "")
	m.must(m.leases("to be gone", func(held int) error {
		if held > 0 {
			return fmt.Errorf("%d are held", held)
		}
		return nil
	}))
	m.record("deleted .. the last VIP withdrawn", seconds(time.Since(start)), "", "")
	m.record("controller's writes per deleted Service", m.writes(since, "controller"), "", "")
	m.record("speakers' writes per deleted Service", m.writes(since, "speaker"), "", "")
	usage := m.usage()
	m.record("controller's CPU for the deletions", usage.since(before), "", "")
	m.record("controller's RSS after them", megabytes(usage.memory), "≤ 60 MB", "")
}

// services waits until all Services fulfil a condition.
func (m *measurement) services(what string, fulfils func(*corev1.Service) bool) error {
	return lab.Until(m.ctx, "every Service "+what, m.api.CoreV1().RESTClient(), "services", benchNamespace, &corev1.Service{}, func(all []*corev1.Service) error {
		count := 0
		for _, s := range all {
			if fulfils(s) {
				count++
			}
		}
		return short(count, m.n)
	})
}

// leases waits until as many VIP Leases have a holder as judge wants.
func (m *measurement) leases(what string, judge func(held int) error) error {
	return lab.Until(m.ctx, "the VIPs "+what, m.api.CoordinationV1().RESTClient(), "leases", lab.Namespace, &coordinationv1.Lease{}, func(all []*coordinationv1.Lease) error {
		held := 0
		for _, l := range all {
			if strings.HasPrefix(l.Name, "vip-10.100.") && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
				held++
			}
		}
		return judge(held)
	})
}

// events waits until every Service was told something: the last of the writes. Events are limited on their way, so not all may come.
func (m *measurement) events(reason string) {
	ctx, cancel := context.WithTimeout(m.ctx, time.Minute)
	defer cancel()
	seen := 0
	err := lab.Until(ctx, "events "+reason, m.api.CoreV1().RESTClient(), "events", benchNamespace, &corev1.Event{}, func(all []*corev1.Event) error {
		told := map[string]bool{}
		for _, e := range all {
			if e.Reason == reason {
				told[e.InvolvedObject.Name] = true
			}
		}
		seen = len(told)
		return short(seen, m.n)
	})
	m.record("events "+reason, strconv.Itoa(seen), "", "")
	if err != nil {
		m.t.Log(err)
	}
}

// writes is how many writes about Services, their events and their VIPs' Leases a component made for each Service.
func (m *measurement) writes(since int64, account string) string {
	writes := slices.DeleteFunc(m.writesOf(m.t, since, account), func(r lab.Request) bool {
		return !strings.HasPrefix(r.Name, "bench-") && !strings.HasPrefix(r.Name, "vip-10.100.")
	})
	return fmt.Sprintf("%.2f (%s)", float64(len(writes))/float64(m.n), tally(writes))
}

type usage struct {
	leader  string
	started float64 // of its process, in seconds since 1970
	cpu     time.Duration
	memory  int64 // bytes, resident
}

// since is the processor time between two looks.
func (u usage) since(before usage) string {
	if u.leader != before.leader || u.started != before.started {
		return "unknown: another process leads"
	}
	return seconds(u.cpu - before.cpu)
}

// usage is what the leading controller says of itself.
func (m *measurement) usage() usage {
	m.t.Helper()
	leader, err := m.Leader(m.ctx)
	m.must(err)
	text, err := m.Kubectl(m.ctx, "get", "--raw", "/api/v1/namespaces/"+lab.Namespace+"/pods/"+leader+":7472/proxy/metrics")
	m.must(err)
	value := func(name string) float64 {
		for line := range strings.SplitSeq(text, "\n") {
			if number, ok := strings.CutPrefix(line, name+" "); ok {
				value, err := strconv.ParseFloat(number, 64)
				m.must(err)
				return value
			}
		}
		m.t.Fatalf("the controller's metrics have no %s", name)
		return 0
	}
	return usage{
		leader:  leader,
		started: value("process_start_time_seconds"),
		cpu:     time.Duration(value("process_cpu_seconds_total") * float64(time.Second)),
		memory:  int64(value("process_resident_memory_bytes")),
	}
}

// forget deletes what is left of the Services when the benchmark ends early.
func (m *measurement) forget(ctx context.Context) error {
	list, err := m.api.CoreV1().Services(benchNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		err = cmp.Or(err, m.api.CoreV1().Services(benchNamespace).Delete(ctx, s.Name, metav1.DeleteOptions{}))
	}
	return err
}

func benchName(i int) string { return fmt.Sprintf("bench-%05d", i) }

func short(count, want int) error {
	if count < want {
		return fmt.Errorf("%d of %d", count, want)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// perThousand leaves out a figure that was measured with another number of Services.
func perThousand(n int, figure string) string {
	if n != 1000 {
		return ""
	}
	return figure
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
