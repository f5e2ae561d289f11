// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// bench is one test's hold on the cluster. What it did is undone when the test ends, last things first.
type bench struct {
	*lab.Cluster
	t        *testing.T
	ctx      context.Context
	undo     []func(context.Context) error
	pools    bool              // the test applied some
	services []*corev1.Service // that are kept until the test ends
}

// begin gives the test its hold on the cluster, for so long. Its end is one cleanup: keep what explains a failure, undo, wait for calm.
func begin(t *testing.T, limit time.Duration) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("the test's limit of %v is over", limit))
	b := &bench{Cluster: shared, t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			b.Diagnose(t.Name(), os.Stderr)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		for _, undo := range slices.Backward(b.undo) {
			if err := undo(ctx); err != nil {
				t.Error("cleaning up:", err)
			}
		}
		if b.pools {
			if err := b.awaitNoPools(ctx); err != nil {
				t.Error("after the test:", err)
			}
		}
		if err := b.AwaitCalmSince(ctx, time.Now().Add(-renewals)); err != nil {
			t.Error("after the test:", err)
		}
	})
	return b
}

// later undoes something when the test ends, or before when the returned function is called.
func (b *bench) later(undo func(context.Context) error) (now func()) {
	done := false
	once := func(ctx context.Context) error {
		if done {
			return nil
		}
		done = true
		return undo(ctx)
	}
	b.undo = append(b.undo, once)
	return func() {
		b.t.Helper()
		b.must(once(b.ctx))
	}
}

// renewals is how long a speaker takes to renew its session twice: one that is older is not a living one's.
const renewals = 2 * time.Second

// awaitNoPools returns when the controller uses none of the pools that are deleted: it lets such a change rest for a moment, in which the next test's
// Services would have addresses of theirs.
func (b *bench) awaitNoPools(ctx context.Context) error {
	left, err := b.Kubectl(ctx, "get", "ipaddresspools", "-n", lab.Namespace, "-o", "name")
	if err != nil || strings.TrimSpace(left) != "" {
		return err // a pool that stays serves
	}
	s, err := b.API.CoreV1().Services(namespace).Create(ctx, newService("no-pool"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = b.AwaitEvent(ctx, s.Namespace, s.Name, "AllocationFailed", func(e corev1.Event) bool { return e.InvolvedObject.UID == s.UID })
	return errors.Join(err, b.removed(ctx, s))
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// apply applies YAML for as long as the test runs, or until the returned function is called.
func (b *bench) apply(yaml ...string) (remove func()) {
	b.t.Helper()
	all := strings.Join(yaml, "\n---\n")
	b.pools = b.pools || strings.Contains(all, "kind: IPAddressPool")
	remove = b.later(func(ctx context.Context) error { return b.Delete(ctx, all) })
	b.must(b.Apply(b.ctx, all))
	return remove
}

// address waits for a Service's address.
func (b *bench) address(service string) netip.Addr {
	b.t.Helper()
	addr, err := b.AwaitAddress(b.ctx, namespace, service)
	b.must(err)
	return addr
}

// pending waits for the event that says why a Service has no address, and returns its message.
func (b *bench) pending(service string) string {
	b.t.Helper()
	message := b.event(service, "AllocationFailed")
	b.must(b.AwaitService(b.ctx, namespace, service, "to have no address", func(s *corev1.Service) error {
		if addrs := lab.Addresses(s); len(addrs) > 0 {
			return fmt.Errorf("it has %v", addrs)
		}
		return nil
	}))
	return message
}

// event waits for an event on a Service and returns its message. Events outlive their objects: those of an earlier Service of that
// name do not count.
func (b *bench) event(service, reason string) string {
	b.t.Helper()
	s, err := b.API.CoreV1().Services(namespace).Get(b.ctx, service, metav1.GetOptions{})
	b.must(err)
	event, err := b.AwaitEvent(b.ctx, namespace, service, reason, func(e corev1.Event) bool { return e.InvolvedObject.UID == s.UID })
	b.must(err)
	return event.Message
}

// soon is how long what comes about at once may take on a busy machine. Only a test that fails waits as long.
const soon = 30 * time.Second

// settles is how long a census may go on finding something else than the Lease says: a VIP that is handed over is answered by both for a
// moment. How short that is, is told by watches of packets.
const settles = 2 * longestBoth

// holder waits until the VIP's Lease names an accepted node and that node alone answers ARP for it.
func (b *bench) holder(vip netip.Addr, accept func(string) bool) string {
	b.t.Helper()
	node, err := b.AwaitHolder(b.ctx, vip, accept)
	b.must(err)
	for limit := time.Now().Add(settles); ; {
		asking := time.Now()
		who, err := b.Answering(b.ctx, vip)
		b.must(err)
		if slices.Equal(who, []string{node}) {
			return node
		}
		if asking.After(limit) {
			b.t.Fatalf("%s is answered by %v, its Lease names %s", vip, who, node)
		}
		node, err = b.AwaitHolder(b.ctx, vip, accept) // it may have moved meanwhile
		b.must(err)
	}
}

// nobody fails the test when somebody answers ARP for an address.
func (b *bench) nobody(vip netip.Addr) {
	b.t.Helper()
	who, err := b.Answering(b.ctx, vip)
	b.must(err)
	if len(who) != 0 {
		b.t.Errorf("%s is answered by %v, want nobody", vip, who)
	}
}

// cordon cordons nodes for as long as the test runs, or until the returned function is called.
func (b *bench) cordon(nodes ...string) (uncordon func()) {
	b.t.Helper()
	uncordon = b.uncordons(nodes...)
	_, err := b.Kubectl(b.ctx, append([]string{"cordon"}, nodes...)...)
	b.must(err)
	return uncordon
}

// controllers scales the controller for as long as the test runs, or until the returned function is called.
func (b *bench) controllers(replicas int) (back func()) {
	b.t.Helper()
	scale := func(ctx context.Context, replicas int) error {
		_, err := b.Kubectl(ctx, "scale", "deployment/controller", "-n", lab.Namespace, fmt.Sprintf("--replicas=%d", replicas))
		return err
	}
	back = b.later(func(ctx context.Context) error { return scale(ctx, 1) })
	b.must(scale(b.ctx, replicas))
	return back
}

// uncordons uncordons nodes when the test ends, or when the returned function is called.
func (b *bench) uncordons(nodes ...string) (now func()) {
	return b.later(func(ctx context.Context) error {
		_, err := b.Kubectl(ctx, append([]string{"uncordon"}, nodes...)...)
		return err
	})
}

// announced is a Service that is up: its name, its VIP and who holds that.
type announced struct {
	name   string
	vip    netip.Addr
	holder string
}

func (a announced) url() string { return "http://" + a.vip.String() + "/" }

// announce brings up a Service whose backend is no pod and on no node: what is done to nodes then happens to the VIP alone, and who has no
// CPU to spare for pods does not make connections fail. It checks that the client is served.
func (b *bench) announce(name string) announced {
	b.t.Helper()
	stop, err := b.ServeOnGateway(context.WithoutCancel(b.ctx))
	b.must(err)
	b.later(func(context.Context) error { return stop() })
	b.apply(pool(name, lan), advertisement(name, name), served(name))
	a := announced{name: name, vip: b.address(name)}
	a.holder = b.holder(a.vip, lab.Anybody)
	_, err = b.Get(b.ctx, a.url())
	b.must(err)
	return a
}

// under loads the Service while something is done to the cluster, and for so many requests in all and at least five seconds of
// successes after it.
func (b *bench) under(a announced, requests int, do func(*lab.Load)) load.Report {
	b.t.Helper()
	l, err := b.StartLoad(b.ctx, strings.ReplaceAll(b.t.Name(), "/", "-"), a.url())
	b.must(err)
	stopped := false
	defer func() {
		if !stopped {
			_, _ = l.Stop()
		}
	}()
	do(l)
	b.must(l.AwaitSuccesses(b.ctx, 5*lab.Rate))
	b.must(l.AwaitTotal(b.ctx, requests))
	stopped = true
	report, err := l.Stop()
	b.must(err)
	b.t.Logf("%d new connections, %d failed %v; longest gap %v; p50 %v, p99 %v; measured within %v\n    %s", report.Requests, report.Failures, report.Errors,
		round(report.Gap.Length), round(report.P50), round(report.P99), round(report.Late), report.Strip(150))
	return report
}

// lost fails the test when any new connection failed.
func (b *bench) lost(a announced, report load.Report) {
	b.t.Helper()
	if report.Failures == 0 {
		return
	}
	moved, err := b.MovedAt(b.ctx, a.vip)
	b.must(err)
	if across := report.AcrossMove(moved); across == report.Failures && across <= openAtOnce {
		b.t.Logf("%d connections that were open when the VIP moved broke, as established ones do; no new one failed", across)
		return
	}
	b.t.Errorf("%d of %d new connections failed %v, want none", report.Failures, report.Requests, report.Errors)
	if report.Late > busy {
		b.t.Errorf("but this machine was too busy to judge: the client itself was up to %v late", round(report.Late))
	}
}

// openAtOnce is how many connections of the load are open at one moment, at most, while each takes under 20 ms.
const openAtOnce = 2

// busy is a lateness of the client that a healthy machine does not have; requests time out after twice that.
const busy = 100 * time.Millisecond

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
