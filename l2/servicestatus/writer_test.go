// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const namespace = "metallb-system"

func service(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

// vip is one that all nodes may announce on all interfaces, or on those given.
func vip(address string, interfaces []string, services ...string) plan.VIP {
	v := plan.VIP{Addr: netip.MustParseAddr(address), Nodes: map[string]plan.Verdict{}}
	for _, node := range []string{"node-1", "node-2"} {
		v.Nodes[node] = plan.Verdict{Eligible: true, Interfaces: interfaces}
	}
	for _, each := range services {
		v.Services = append(v.Services, service(each))
	}
	return v
}

// stored is an object as a Writer leaves it.
func stored(node, name string, addresses ...string) *v1beta1.ServiceL2Status {
	e := entry{service: service(name)}
	for _, address := range addresses {
		e.addresses = append(e.addresses, netip.MustParseAddr(address))
	}
	return e.object(namespace, node)
}

// running runs a test in virtual time beside the Writer of node-1.
func running(t *testing.T, s *server, test func(*Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWriter(s, namespace, "node-1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(klog.NewContext(t.Context(), logr.Discard()))
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		test(w)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestObjectsSayWhatIsAnnounced(t *testing.T) {
	four, six := "192.168.1.240", "fd00::240"
	for _, test := range []struct {
		name string
		had  []*v1beta1.ServiceL2Status
		do   func(*Writer)
		// writes and says are afterwards, when all is calm.
		writes, says []string
	}{
		{
			name: "a new Service costs one creation and one status",
			do:   func(w *Writer) { w.Announced(vip(four, nil, "web")) },
			writes: []string{
				"create default.web.node-1", "status default.web.node-1",
			},
			says: []string{"default.web.node-1: 192.168.1.240 on node-1 of default/web "},
		},
		{
			name: "both families are written at once",
			do: func(w *Writer) {
				w.Announced(vip(six, nil, "web"))
				pass(settle / 2)
				w.Announced(vip(four, nil, "web"))
			},
			writes: []string{"create default.web.node-1", "status default.web.node-1"},
			says:   []string{"default.web.node-1: 192.168.1.240,fd00::240 on node-1 of default/web "},
		},
		{
			name: "one family goes",
			had:  []*v1beta1.ServiceL2Status{},
			do: func(w *Writer) {
				w.Announced(vip(six, nil, "web"))
				w.Announced(vip(four, nil, "web"))
				pass(2 * settle)
				w.Withdrawn(netip.MustParseAddr(four))
			},
			writes: []string{"create default.web.node-1", "status default.web.node-1", "status default.web.node-1"},
			says:   []string{"default.web.node-1: fd00::240 on node-1 of default/web "},
		},
		{
			name: "interfaces are named, in order and once",
			do: func(w *Writer) {
				w.Announced(vip(four, []string{"eth1", "eth0"}, "web"))
				w.Announced(vip(six, []string{"eth1"}, "web"))
			},
			writes: []string{"create default.web.node-1", "status default.web.node-1"},
			says:   []string{"default.web.node-1: 192.168.1.240,fd00::240 on node-1 of default/web eth0,eth1"},
		},
		{
			name: "what is repeated, or comes and goes at once, is not written",
			do: func(w *Writer) {
				w.Announced(vip(four, nil, "web"))
				pass(2 * settle)
				w.Announced(vip(four, nil, "web"))
				w.Withdrawn(netip.MustParseAddr(four))
				w.Announced(vip(four, nil, "web"))
				w.Announced(vip("192.168.1.241", nil, "other"))
				w.Withdrawn(netip.MustParseAddr("192.168.1.241"))
			},
			writes: []string{"create default.web.node-1", "status default.web.node-1"},
			says:   []string{"default.web.node-1: 192.168.1.240 on node-1 of default/web "},
		},
		{
			name: "Services that share a VIP have an object each, and one that leaves it none",
			do: func(w *Writer) {
				w.Announced(vip(four, nil, "a", "b"))
				pass(2 * settle)
				w.Announced(vip(four, nil, "b"))
			},
			writes: []string{
				"create default.a.node-1", "status default.a.node-1", "create default.b.node-1", "status default.b.node-1", "delete default.a.node-1",
			},
			says: []string{"default.b.node-1: 192.168.1.240 on node-1 of default/b "},
		},
		{
			name: "a VIP that goes takes its object along",
			do: func(w *Writer) {
				w.Announced(vip(four, nil, "web"))
				pass(2 * settle)
				w.Withdrawn(netip.MustParseAddr(four))
			},
			writes: []string{"create default.web.node-1", "status default.web.node-1", "delete default.web.node-1"},
		},
		{
			name: "a restart writes nothing that is right, and removes what is not",
			had:  []*v1beta1.ServiceL2Status{stored("node-1", "web", four), stored("node-1", "old", "192.168.1.250"), stored("node-2", "other", "192.168.1.251")},
			do:   func(w *Writer) { pass(5 * time.Second); w.Announced(vip(four, nil, "web")); pass(restart) },
			writes: []string{
				"delete default.old.node-1",
			},
			says: []string{
				"default.other.node-2: 192.168.1.251 on node-2 of default/other ", "default.web.node-1: 192.168.1.240 on node-1 of default/web ",
			},
		},
		{
			name: "what another has under the same name is made right",
			had: []*v1beta1.ServiceL2Status{{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default.web.node-1", Labels: map[string]string{"kept": "yes"}},
				Status:     v1beta1.ServiceL2StatusStatus{Node: "node-9"},
			}},
			do: func(w *Writer) { w.Announced(vip(four, nil, "web")) },
			writes: []string{
				"create default.web.node-1", "delete default.web.node-1", "create default.web.node-1", "status default.web.node-1",
			},
			says: []string{"default.web.node-1: 192.168.1.240 on node-1 of default/web "},
		},
		{
			name: "MetalLB's of this node are removed when the speaker starts",
			had: []*v1beta1.ServiceL2Status{{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "l2-x7k2p", Labels: map[string]string{v1beta1.LabelNode: "node-1"}},
			}},
			do:     func(*Writer) { pass(restart) },
			writes: []string{"delete l2-x7k2p"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.had...)
			running(t, s, func(w *Writer) {
				test.do(w)
				pass(time.Minute)
				if diff := cmp.Diff(test.writes, sortedByService(s.wrote())); diff != "" {
					t.Errorf("writes -want +got:\n%s", diff)
				}
				if diff := cmp.Diff(test.says, s.says()); diff != "" {
					t.Errorf("objects -want +got:\n%s", diff)
				}
			})
		})
	}
}

// sortedByService keeps the order of writes to one object; that of different ones is left to chance.
func sortedByService(writes []string) []string {
	var sorted []string
	for _, write := range writes {
		at := len(sorted)
		for at > 0 && object(sorted[at-1]) > object(write) && !strings.HasPrefix(write, "delete") {
			at--
		}
		sorted = append(sorted[:at], append([]string{write}, sorted[at:]...)...)
	}
	return sorted
}

func object(write string) string { _, name, _ := strings.Cut(write, " "); return name }

// What somebody else does to an object of this node is made good; what somebody else made is left alone while both run.
func TestObjectsAreMendedAndOthersLeftAlone(t *testing.T) {
	s := newServer(t)
	running(t, s, func(w *Writer) {
		w.Announced(vip("192.168.1.240", nil, "web"))
		pass(time.Minute)
		s.wrote()
		mended := []string{"default.web.node-1: 192.168.1.240 on node-1 of default/web "}
		for _, harm := range []struct {
			name string
			do   func(*v1beta1.ServiceL2Status)
			want []string
		}{
			{"deleted", func(o *v1beta1.ServiceL2Status) { s.put(o, "DELETED") }, []string{"create default.web.node-1", "status default.web.node-1"}},
			{"address changed", func(o *v1beta1.ServiceL2Status) { o.Status.Addresses = []string{"10.0.0.1"}; s.put(o, "MODIFIED") }, []string{"status default.web.node-1"}},
			{"label changed", func(o *v1beta1.ServiceL2Status) { delete(o.Labels, v1beta1.LabelServiceName); s.put(o, "MODIFIED") }, []string{"update default.web.node-1"}},
		} {
			s.mu.Lock()
			harm.do(s.objects["default.web.node-1"].DeepCopy())
			s.mu.Unlock()
			pass(time.Minute)
			if diff := cmp.Diff(harm.want, s.wrote()); diff != "" {
				t.Errorf("%s: writes -want +got:\n%s", harm.name, diff)
			}
			if diff := cmp.Diff(mended, s.says()); diff != "" {
				t.Errorf("%s: objects -want +got:\n%s", harm.name, diff)
			}
		}
		s.mu.Lock()
		s.put(&v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "l2-other", Labels: map[string]string{v1beta1.LabelNode: "node-1"}}}, "ADDED")
		s.mu.Unlock()
		pass(time.Minute)
		if writes := s.wrote(); len(writes) > 0 {
			t.Errorf("writes to an object of somebody else: %v", writes)
		}
	})
}

// While the API server is away changes are kept, writes are few, and what is written afterwards is what is so then.
func TestOutage(t *testing.T) {
	s := newServer(t)
	running(t, s, func(w *Writer) {
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		for i := range 300 {
			w.Announced(vip(fmt.Sprintf("10.0.%d.%d", i/250, i%250), nil, fmt.Sprintf("web-%03d", i)))
		}
		pass(10 * time.Minute)
		if tries, most := len(s.wrote()), 300*(10+8); tries > most { // one a minute, after 0.5 s, 1 s, 2 s and so on
			t.Errorf("%d tries in 10 minutes, want at most %d", tries, most)
		}
		for i := range 299 {
			w.Withdrawn(netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
		}
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		pass(2 * time.Minute)
		if diff := cmp.Diff([]string{"create default.web-299.node-1", "status default.web-299.node-1"}, s.wrote()); diff != "" {
			t.Errorf("writes -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"default.web-299.node-1: 10.0.1.49 on node-1 of default/web-299 "}, s.says()); diff != "" {
			t.Errorf("objects -want +got:\n%s", diff)
		}
	})
}

// A watch that is behind costs no write more: the API server's own answers count.
func TestWatchThatIsBehind(t *testing.T) {
	s := newServer(t)
	running(t, s, func(w *Writer) {
		s.mu.Lock()
		s.mute = true
		s.mu.Unlock()
		w.Announced(vip("192.168.1.240", nil, "web"))
		pass(2 * settle)
		w.Announced(vip("fd00::240", nil, "web"))
		pass(2 * settle)
		if diff := cmp.Diff([]string{"create default.web.node-1", "status default.web.node-1", "status default.web.node-1"}, s.wrote()); diff != "" {
			t.Errorf("writes -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"default.web.node-1: 192.168.1.240,fd00::240 on node-1 of default/web "}, s.says()); diff != "" {
			t.Errorf("objects -want +got:\n%s", diff)
		}
	})
}

// The objects of a node whose speaker is gone are removed by the first of the others, with one write for each node, and not before it had the
// time to come back.
func TestSweep(t *testing.T) {
	living := func(nodes ...string) map[string]plan.Speaker {
		speakers := map[string]plan.Speaker{}
		for _, node := range nodes {
			speakers[node] = plan.Speaker{}
		}
		return speakers
	}
	foreign := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "l2-abcde", Labels: map[string]string{v1beta1.LabelNode: "node-3"}}}
	had := []*v1beta1.ServiceL2Status{stored("node-2", "a", "10.0.0.1"), stored("node-3", "b", "10.0.0.2"), stored("node-3", "c", "10.0.0.3"), foreign}
	swept := []string{"deletecollection app.kubernetes.io/managed-by=cloud-provider-l2,metallb.io/node=node-3"}
	for _, test := range []struct {
		name string
		do   func(*Writer)
		want []string
	}{
		{"nobody is known yet", func(*Writer) {}, nil},
		{"all are there", func(w *Writer) { w.SetSpeakers(living("node-1", "node-2", "node-3")) }, nil},
		{"one is gone, and this speaker is the first", func(w *Writer) { w.SetSpeakers(living("node-1", "node-2")) }, swept},
		{"one is gone, and another speaker is the first", func(w *Writer) { w.SetSpeakers(living("node-0", "node-1", "node-2")) }, nil},
		{"this one has no session itself", func(w *Writer) { w.SetSpeakers(living("node-2")) }, nil},
		{"one restarts", func(w *Writer) {
			w.SetSpeakers(living("node-1", "node-2"))
			pass(sweepAfter - time.Second)
			w.SetSpeakers(living("node-1", "node-2", "node-3"))
		}, nil},
		{"the first goes, and this one comes after it", func(w *Writer) {
			w.SetSpeakers(living("node-0", "node-1", "node-2"))
			pass(time.Minute)
			w.SetSpeakers(living("node-1", "node-2"))
		}, swept},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, had...)
			running(t, s, func(w *Writer) {
				test.do(w)
				pass(time.Hour)
				if diff := cmp.Diff(test.want, s.wrote()); diff != "" {
					t.Errorf("writes -want +got:\n%s", diff)
				}
			})
		})
	}
}

// A list of many objects comes in pages, and the last of them counts too; at rest nothing is listed.
func TestSweepReadsAllPages(t *testing.T) {
	var had []*v1beta1.ServiceL2Status
	for i := range 2*sweepPage + 1 {
		had = append(had, stored("node-2", fmt.Sprintf("web-%04d", i), "10.0.0.1"))
	}
	had = append(had, stored("node-3", "z", "10.0.0.2"))
	s := newServer(t, had...)
	running(t, s, func(w *Writer) {
		w.SetSpeakers(map[string]plan.Speaker{"node-1": {}, "node-2": {}})
		pass(time.Minute)
		if diff := cmp.Diff([]string{"deletecollection app.kubernetes.io/managed-by=cloud-provider-l2,metallb.io/node=node-3"}, s.wrote()); diff != "" {
			t.Errorf("writes -want +got:\n%s", diff)
		}
		s.mu.Lock()
		lists := s.lists
		s.mu.Unlock()
		pass(time.Hour)
		w.SetSpeakers(map[string]plan.Speaker{"node-1": {}, "node-2": {}})
		pass(time.Hour)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lists != lists {
			t.Errorf("%d lists at rest", s.lists-lists)
		}
	})
}

// No two objects share a name, and each name and label is one that the API server takes.
func TestNames(t *testing.T) {
	long := strings.Repeat("n", 63)
	node := strings.Join([]string{long, long, long, strings.Repeat("n", 59)}, ".") // 251
	seen := map[string]bool{}
	for _, each := range []struct{ namespace, service, node, want string }{
		{"default", "web", "node-1", "default.web.node-1"},
		{"default", "web", "node-1.example.com", "default.web.node-1.example.com"},
		{"default-web", "a", "node-1", "default-web.a.node-1"},
		{"default", "web-a", "node-1", "default.web-a.node-1"},
		{long, long, "node-1", ""},
		{long, long, node, ""},
		{long, long, node + "m", ""},
		{long, long, strings.Repeat("a.", 62) + "a", ""},
		{long, long, strings.Repeat("a.", 62) + "b", ""},
		{long, long, strings.Repeat("-", 1) + node, ""}, // no node's name, but the cut must not depend on that
	} {
		name := Name(types.NamespacedName{Namespace: each.namespace, Name: each.service}, each.node)
		if each.want != "" && name != each.want {
			t.Errorf("name %s, want %s", name, each.want)
		}
		if seen[name] {
			t.Errorf("%s is the name of two", name)
		}
		seen[name] = true
		if strings.HasPrefix(each.node, "-") {
			continue
		}
		if errs := content.IsDNS1123Subdomain(name); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		if errs := validation.IsValidLabelValue(NodeLabel(each.node)); len(errs) > 0 {
			t.Errorf("label of %s: %v", each.node, errs)
		}
	}
}
