// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// drainRequests is the length of a hand-over's measurement: fifteen seconds.
const drainRequests = 15 * lab.Rate

// longestCrashGap is how long a client may see nothing when a node dies.
const longestCrashGap = 2 * time.Second

func TestDrainMovesTheVIPAndLosesNothing(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("drained")
	report := b.under(a, drainRequests, func(*lab.Load) { b.drain(a) })
	b.lost(a, report)
}

// A drain evicts backends too. With a delay before they stop serving that costs nothing either. Without one the cluster loses what it routes to
// pods that are gone, whoever announces the VIP.
func TestDrainThatEvictsBackendsLosesNothing(t *testing.T) {
	b := begin(t, 3*time.Minute)
	web := lab.Backend{Namespace: namespace, Name: "evicted", Replicas: 3, Delay: 3}
	b.apply(pool("evicted", lan), advertisement("evicted", "evicted"), web.YAML())
	b.must(b.AwaitReady(b.ctx, web))
	a := announced{name: web.Name, vip: b.address(web.Name)}
	a.holder = b.holder(a.vip, lab.Anybody)
	b.lost(a, b.under(a, drainRequests, func(*lab.Load) { b.drain(a) }))
}

// drain drains the VIP's holder and waits until another node holds the VIP.
func (b *bench) drain(a announced) {
	b.t.Helper()
	b.uncordons(a.holder)
	start := time.Now()
	_, err := b.Kubectl(b.ctx, "drain", a.holder, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
	b.must(err)
	b.t.Logf("%s drained in %v; %s is on %s", a.holder, round(time.Since(start)), a.vip, b.holder(a.vip, lab.AnybodyBut(a.holder)))
}

func TestCableCutMovesTheVIP(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.lose(b.announce("cut"), b.Cut)
}

// The node's carrier stays; the switch drops what it sends and what is sent to it.
func TestIsolationMovesTheVIP(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.lose(b.announce("isolated"), b.Isolate)
}

// lose takes the VIP's holder off the LAN under load.
func (b *bench) lose(a announced, how func(context.Context, string) error) {
	b.t.Helper()
	heal := b.later(func(ctx context.Context) error { return b.Heal(ctx, a.holder) })
	var next string
	report := b.under(a, 0, func(*lab.Load) {
		start := time.Now()
		b.must(how(b.ctx, a.holder))
		var err error
		next, err = b.AwaitHolder(b.ctx, a.vip, lab.AnybodyBut(a.holder))
		b.must(err)
		b.t.Logf("%s went from %s to %s in %v", a.vip, a.holder, next, round(time.Since(start)))
	})
	if report.Gap.Length > longestCrashGap {
		b.t.Errorf("the longest gap was %v, want at most %v", round(report.Gap.Length), longestCrashGap)
	}
	b.holder(a.vip, func(node string) bool { return node == next })
	heal()
	b.must(b.AwaitCalm(b.ctx))
	b.holder(a.vip, lab.Anybody) // the one that came back does not answer beside it
}

func TestSpeakerPodDeletedLosesNothing(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("restarted")
	report := b.under(a, drainRequests, func(*lab.Load) {
		b.must(b.deletePods("component=speaker", a.holder))
		b.must(b.AwaitCalm(b.ctx))
	})
	b.lost(a, report)
	b.holder(a.vip, lab.Anybody)
}

func TestControllerPodKilledTouchesNoAnnouncedVIP(t *testing.T) {
	b := begin(t, 3*time.Minute)
	a := b.announce("untouched")
	report := b.under(a, 0, func(*lab.Load) {
		b.must(b.deletePods("component=controller", "", "--grace-period=0", "--force"))
		start := time.Now()
		b.apply(service("meanwhile"))
		addr := b.address("meanwhile")
		b.t.Logf("a Service created meanwhile has %s after %v", addr, round(time.Since(start)))
		if addr == a.vip {
			t.Errorf("the new Service got %s, which is in use", addr)
		}
	})
	b.lost(a, report)
	if now := b.holder(a.vip, lab.Anybody); now != a.holder {
		t.Errorf("%s went from %s to %s, want it untouched", a.vip, a.holder, now)
	}
}

// deletePods deletes the product's pods with a label, on one node or on all, and waits until they are gone.
func (b *bench) deletePods(selector, node string, flags ...string) error {
	pods, err := b.API.CoreV1().Pods(lab.Namespace).List(b.ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return err
	}
	args := []string{"delete", "pod", "-n", lab.Namespace}
	pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return node != "" && p.Spec.NodeName != node })
	for _, p := range pods.Items {
		args = append(args, p.Name)
	}
	_, err = b.Kubectl(b.ctx, append(args, flags...)...)
	return err
}
