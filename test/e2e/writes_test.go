// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// What a Service may cost the API server, by the design.
const (
	maxControllerWrites = 5
	maxSpeakerWrites    = 4 // with its VIP announced
)

// TestWrites counts, in the API server's audit log, what the product writes.
func TestWrites(t *testing.T) {
	b := begin(t, 2*time.Minute)
	var all []*corev1.Service
	create := func(t *testing.T, prefix string) (made []*corev1.Service) {
		for i := range 10 {
			made = append(made, b.kept(t, newService(fmt.Sprintf("%s-%d", prefix, i))))
		}
		return made
	}
	cheap := func(t *testing.T, since int64, services []*corev1.Service) {
		requests := b.writesOf(t, since, "controller")
		for i, s := range services {
			writes := about(requests, s.Name)
			if i == 0 {
				t.Logf("%s cost %d writes: %s", s.Name, len(writes), tally(writes))
			}
			if len(writes) == 0 || len(writes) > maxControllerWrites {
				t.Errorf("%s cost %d writes, want at most %d: %s", s.Name, len(writes), maxControllerWrites, tally(writes))
			}
		}
	}

	t.Run("a Service that waits for its pool costs at most 5", func(t *testing.T) {
		since := b.auditEnd(t)
		waiting := create(t, "waits")
		for _, s := range waiting {
			b.told(t, s, "AllocationFailed")
		}
		b.apply(pool("written", "10.98.0.0/24"))
		for _, s := range waiting {
			b.drawn(t, s, "10.98.0.0/24")
			b.told(t, s, "IPAllocated")
		}
		cheap(t, since, waiting)
		all = append(all, waiting...)
	})
	t.Run("a Service that does not wait costs at most 5", func(t *testing.T) {
		since := b.auditEnd(t)
		served := create(t, "served")
		for _, s := range served {
			b.drawn(t, s, "10.98.0.0/24")
			b.told(t, s, "IPAllocated", "EnsuredLoadBalancer")
		}
		cheap(t, since, served)
		all = append(all, served...)
	})

	// No L2Advertisement covers the pool, which each Service is told of once, some seconds later.
	for _, s := range all {
		b.told(t, s, "NotAnnounced")
	}

	// Each of these is followed by a new Service, so that whatever was caused before it has been done.
	for i, tc := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"annotations and managed fields of others", func(t *testing.T) {
			for _, s := range all {
				b.patch(t, s, `{"metadata":{"annotations":{"example.com/touched":"yes"}}}`)
			}
		}},
		{"a node's labels", func(t *testing.T) {
			patch := func(value string) {
				_, err := b.API.CoreV1().Nodes().Patch(b.ctx, "node-1", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"example.com/touched":%s}}}`, value), metav1.PatchOptions{})
				b.must(err)
			}
			patch(`"yes"`)
			patch("null")
		}},
		{"a pool that nobody uses", func(t *testing.T) {
			b.apply(poolWith("unused", "autoAssign: false", "10.98.1.0/24"))
		}},
		{"the controller's restart", func(t *testing.T) {
			_, err := b.Kubectl(b.ctx, "rollout", "restart", "deployment/controller", "-n", lab.Namespace)
			b.must(err)
			b.must(b.AwaitRollout(b.ctx))
			b.must(b.AwaitCalm(b.ctx))
		}},
	} {
		t.Run("a Service that has its address costs nothing: "+tc.name, func(t *testing.T) {
			since := b.auditEnd(t)
			tc.do(t)
			last := b.kept(t, newService(fmt.Sprintf("after-%d", i)))
			b.drawn(t, last, "10.98.0.0/24")
			b.told(t, last, "IPAllocated", "EnsuredLoadBalancer")
			requests := b.writesOf(t, since, "controller", "speaker")
			if len(about(requests, last.Name)) == 0 {
				t.Error("the audit log knows nothing of the Service that came last")
			}
			for _, s := range all {
				if writes := about(requests, s.Name); len(writes) > 0 {
					t.Errorf("%s cost %d writes: %s", s.Name, len(writes), tally(writes))
				}
			}
		})
	}

	t.Run("a pool's status is written at most once a second", func(t *testing.T) {
		since, start := b.auditEnd(t), time.Now()
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for i := 0; time.Since(start) < 3*time.Second; i++ {
			<-pace.C
			b.drawn(t, b.kept(t, newService(fmt.Sprintf("status-%03d", i))), "10.98.0.0/24")
		}
		writes := 0
		var last, soonest time.Time
		least := time.Hour
		for _, r := range b.writesOf(t, since, "controller") {
			if r.What() != "ipaddresspools/status.metallb.io" || r.Name != "e2e-written" {
				continue
			}
			if writes++; !last.IsZero() && r.At.Sub(last) < least {
				least, soonest = r.At.Sub(last), r.At
			}
			last = r.At
		}
		took := time.Since(start)
		t.Logf("%d writes in %v, the closest two %v apart", writes, took.Round(time.Millisecond), least)
		// These are times of arrival: one that was late on its way is close to the next.
		if writes == 0 || writes > 1+int(took/time.Second) || least < 500*time.Millisecond {
			t.Errorf("%d writes of the pool's status in %v; the one at %v came %v after another", writes, took, soonest, least)
		}
	})
}

// kept creates a Service for as long as the test, not the subtest, runs.
func (b *bench) kept(t *testing.T, s *corev1.Service) *corev1.Service {
	t.Helper()
	created, err := b.API.CoreV1().Services(s.Namespace).Create(b.ctx, s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.services) == 0 {
		b.later(func(ctx context.Context) error { return b.removed(ctx, b.services...) })
	}
	b.services = append(b.services, created)
	return created
}

// told waits for events about a Service.
func (b *bench) told(t *testing.T, s *corev1.Service, reasons ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, soon)
	defer cancel()
	for _, reason := range reasons {
		if _, err := b.AwaitEvent(ctx, s.Namespace, s.Name, reason, func(e corev1.Event) bool { return e.InvolvedObject.UID == s.UID }); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) patch(t *testing.T, s *corev1.Service, patch string) {
	t.Helper()
	if _, err := b.API.CoreV1().Services(s.Namespace).Patch(b.ctx, s.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) auditEnd(t *testing.T) int64 {
	t.Helper()
	end, err := b.AuditEnd()
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// writesOf are the writes of some ServiceAccounts since a place in the audit log, the steady ones left out.
func (b *bench) writesOf(t *testing.T, since int64, accounts ...string) []lab.Request {
	t.Helper()
	requests, err := b.AuditSince(since)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(requests, func(r lab.Request) bool {
		return !r.Writes() || r.Steady() || !slices.Contains(accounts, r.Account)
	})
}

// about are the requests about a Service itself and its events.
func about(requests []lab.Request, service string) []lab.Request {
	var those []lab.Request
	for _, r := range requests {
		if r.Resource == "services" && r.Name == service || r.Resource == "events" && strings.HasPrefix(r.Name, service+".") {
			those = append(those, r)
		}
	}
	return those
}

// tally says how often each kind of request was made.
func tally(requests []lab.Request) string {
	counts := map[string]int{}
	for _, r := range requests {
		counts[r.Verb+" "+r.What()]++
	}
	var text []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		text = append(text, fmt.Sprintf("%d %s", counts[what], what))
	}
	return strings.Join(text, ", ")
}
