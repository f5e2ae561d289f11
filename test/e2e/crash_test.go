// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

var crashes = flag.Int("crashes", 40, "how often TestCrashLosesAndDuplicatesNothing kills the controller")

const (
	crashNamespace = "e2e-crash" // of the Services, of their pool and of the controller's Lease
	crashPool      = 64          // addresses
	crashServices  = 12          // of each of three editors: the pool suffices, and addresses come back into use
)

// TestCrashLosesAndDuplicatesNothing kills the controller at one of its writes, before the API server gets it or before the
// controller gets the answer, and starts it again, while Services come, go and change: 40 times, or with `make test-long` 200
// times. It is the command as shipped, and dies by SIGKILL. Only the wait for its predecessor's leadership to end is cut short: no write of it is under way any
// more, which is what that wait is for.
func TestCrashLosesAndDuplicatesNothing(t *testing.T) {
	b := begin(t, 10*time.Minute)
	binary, err := b.BuildController(b.ctx)
	b.must(err)
	b.controllers(0)
	b.must(b.AwaitPods(b.ctx, lab.Namespace, "metallb", "to be speakers only", func(pods []*corev1.Pod) error {
		for _, p := range pods {
			if p.Labels["component"] == "controller" {
				return fmt.Errorf("%s is there", p.Name)
			}
		}
		return nil
	}))
	b.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: "+crashNamespace+"}", strings.Replace(pool("crash", "10.99.0.0/26"), lab.Namespace, crashNamespace, 1))
	b.later(b.forget)
	gate, err := b.NewGate()
	b.must(err)
	defer gate.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	b.must(gate.WriteKubeconfig(kubeconfig))
	path, err := b.Out("e2e", "crash-controller.log")
	b.must(err)
	said, err := os.Create(path)
	b.must(err)
	defer said.Close()
	start := func() *lab.Controller {
		t.Helper()
		controller, err := lab.StartController(binary, said, "--kubeconfig="+kubeconfig, "--namespace="+crashNamespace, "--metrics-bind-address=127.0.0.1:0")
		b.must(err)
		return controller
	}

	w := b.witness(t)
	var editors sync.WaitGroup
	editing, stopEditing := context.WithCancel(b.ctx)
	defer stopEditing()
	for i := range 3 {
		e := b.editor(t, i)
		editors.Go(func() { e.edit(editing) })
	}

	random := rand.New(rand.NewPCG(1, 2))
	begun, before, own := time.Now(), 0, 0
	for i := 0; i < *crashes; i++ {
		after := random.IntN(2) == 0
		cut := gate.Open(1+random.IntN(48), after)
		controller := start()
		select {
		case <-cut:
			if !after {
				before++
			}
		case <-controller.Ended:
			// An API server that does not answer for seconds costs a leader its Lease: that is one more end, though none of ours.
			if own++; own > *crashes/4 {
				t.Fatalf("the controller ended by itself %d times in %d: see %s", own, i+own, path)
			}
			i--
		case <-time.After(20 * time.Second):
			controller.Kill()
			t.Fatalf("crash %d: 20 s without as many writes: see %s", i, path)
		case <-b.ctx.Done():
			controller.Kill()
			t.Fatal(context.Cause(b.ctx))
		}
		controller.Kill()
		gate.Drain()
		if err := b.API.CoordinationV1().Leases(crashNamespace).Delete(b.ctx, names.ControllerLease, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		if w.failed() {
			t.Fatalf("after crash %d", i)
		}
	}
	t.Logf("%d crashes in %v, %d of them before the write was sent; %d ends of its own", *crashes, time.Since(begun).Round(time.Second), before, own)

	stopEditing()
	editors.Wait()
	gate.Open(0, false)
	controller := start()
	defer controller.Kill()
	b.must(w.await(b.ctx, "every Service to have an address and nobody else's", func(now map[types.UID]*corev1.Service) error {
		held := map[string]bool{}
		for _, s := range now {
			for _, addr := range lab.Addresses(s) {
				held[addr.String()] = true
			}
		}
		for _, s := range now {
			switch addrs := lab.Addresses(s); {
			case s.DeletionTimestamp != nil:
				return fmt.Errorf("%s is still there", s.Name)
			case s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(s.Finalizers) > 0:
				return fmt.Errorf("%s has finalizers %q", s.Name, s.Finalizers)
			case len(addrs) == 0 && held[s.Annotations["metallb.io/loadBalancerIPs"]]: // it never had one, and was told to ask for another's
			case s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(addrs) != 1:
				return fmt.Errorf("%s has %v", s.Name, addrs)
			}
		}
		return nil
	}))
	b.must(b.countsAreRight(w))
	t.Logf("%d changes of Services were seen; %d Services were there in all, %d at the end", w.changes, len(w.first), len(w.now))
}

// countsAreRight waits until the pool's status counts just the addresses that Services have.
func (b *bench) countsAreRight(w *witness) error {
	assigned := len(w.holders())
	for field, want := range map[string]int{"assignedIPv4": assigned, "availableIPv4": crashPool - assigned} {
		_, err := b.Kubectl(b.ctx, "wait", "ipaddresspool/e2e-crash", "-n", crashNamespace, fmt.Sprintf("--for=jsonpath={.status.%s}=%d", field, want), "--timeout=30s")
		if err != nil {
			return err
		}
	}
	return nil
}

// forget deletes the Services of the test. There may be no controller left to take their finalizers away.
func (b *bench) forget(ctx context.Context) error {
	services := b.API.CoreV1().Services(crashNamespace)
	list, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		_, err := services.Patch(ctx, s.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err == nil {
			err = services.Delete(ctx, s.Name, metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// witness sees every state of the test's Services, in order, and says when one of them breaks a rule: no two Services hold one
// address, and a Service that nobody asked to change keeps the address it was first seen with. A Service that is being deleted holds
// nothing any more, whatever its status says.
type witness struct {
	t       *testing.T
	changed chan struct{}

	mu      sync.Mutex // guards what follows
	now     map[types.UID]*corev1.Service
	first   map[types.UID]netip.Addr
	changes int
	broken  bool
}

func (b *bench) witness(t *testing.T) *witness {
	t.Helper()
	w := &witness{t: t, changed: make(chan struct{}, 1), now: map[types.UID]*corev1.Service{}, first: map[types.UID]netip.Addr{}}
	ctx, stop := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	seen, err := b.WatchServices(ctx, crashNamespace, w.see)
	b.must(err)
	go func() { done <- seen() }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error("watching Services:", err)
		}
	})
	return w
}

func (w *witness) see(s *corev1.Service, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	if gone {
		delete(w.now, s.UID)
	} else {
		w.now[s.UID] = s
		w.judge(s)
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// judge looks at a Service that has just changed. Call it with mu held.
func (w *witness) judge(s *corev1.Service) {
	if s.DeletionTimestamp != nil {
		return
	}
	addrs := lab.Addresses(s)
	for _, addr := range addrs {
		for _, other := range w.now {
			if other.UID != s.UID && other.DeletionTimestamp == nil && slices.Contains(lab.Addresses(other), addr) {
				w.breaks("%s is in the status of %s and of %s", addr, s.Name, other.Name)
			}
		}
	}
	kept, held := w.first[s.UID]
	switch {
	case !held && len(addrs) > 0:
		w.first[s.UID] = addrs[0]
	case held && strings.HasPrefix(s.Name, "stable-") && !slices.Equal(addrs, []netip.Addr{kept}):
		w.breaks("%s had %s and has %v, and nobody asked for that", s.Name, kept, addrs)
	}
}

func (w *witness) breaks(format string, args ...any) {
	w.broken = true
	w.t.Errorf(format, args...)
}

func (w *witness) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// holders are the addresses in statuses, with the names of who has them.
func (w *witness) holders() map[netip.Addr]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	holders := map[netip.Addr]string{}
	for _, s := range w.now {
		for _, addr := range lab.Addresses(s) {
			holders[addr] = s.Name
		}
	}
	return holders
}

// await waits until judge is content with the Services as they are now.
func (w *witness) await(ctx context.Context, what string, judge func(map[types.UID]*corev1.Service) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		w.mu.Lock()
		missing := judge(maps.Clone(w.now))
		w.mu.Unlock()
		if missing == nil {
			return nil
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, missing)
		}
	}
}

// editor makes, changes and deletes Services of its own. Stable ones are changed only in ways that must not cost them their address.
type editor struct {
	t      *testing.T
	number int
	random *rand.Rand
	api    kubernetes.Interface
	alive  []string
	made   int
}

func (b *bench) editor(t *testing.T, number int) *editor {
	t.Helper()
	config := rest.CopyConfig(b.Config)
	config.QPS = -1
	api, err := kubernetes.NewForConfig(config)
	b.must(err)
	return &editor{t: t, number: number, random: rand.New(rand.NewPCG(3, uint64(number))), api: api}
}

// edit goes on until ctx is done, at no more than 40 edits a second: the API server is the machine's, too.
func (e *editor) edit(ctx context.Context) {
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		if err := e.step(ctx); err != nil && ctx.Err() == nil {
			e.t.Error("editing Services:", err)
			return
		}
	}
}

func (e *editor) step(ctx context.Context) error {
	services := e.api.CoreV1().Services(crashNamespace)
	choice := e.random.IntN(10)
	if len(e.alive) == 0 || choice < 4 && len(e.alive) < crashServices {
		e.made++
		name := fmt.Sprintf("%s-%d-%d", []string{"stable", "stable", "restless"}[e.random.IntN(3)], e.number, e.made)
		_, err := services.Create(ctx, newService(name, inNamespace(crashNamespace)), metav1.CreateOptions{})
		if err == nil {
			e.alive = append(e.alive, name)
		}
		return err
	}
	i := e.random.IntN(len(e.alive))
	name := e.alive[i]
	if choice < 7 {
		e.alive = slices.Delete(e.alive, i, i+1)
		return services.Delete(ctx, name, metav1.DeleteOptions{})
	}
	patches := []string{
		fmt.Sprintf(`{"metadata":{"annotations":{"example.com/edit":"%d"}}}`, e.random.Int()),
		fmt.Sprintf(`{"metadata":{"labels":{"edit":"%d"}}}`, e.random.IntN(1000)),
		fmt.Sprintf(`{"spec":{"ports":[{"port":%d}]}}`, 80+e.random.IntN(3)),
	}
	if strings.HasPrefix(name, "restless-") {
		patches = append(patches,
			fmt.Sprintf(`{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":"10.99.0.%d"}}}`, e.random.IntN(crashPool)),
			`{"metadata":{"annotations":{"metallb.io/loadBalancerIPs":null}}}`,
			`{"spec":{"type":"ClusterIP"}}`,
			`{"spec":{"type":"LoadBalancer"}}`,
		)
	}
	_, err := services.Patch(ctx, name, types.MergePatchType, []byte(patches[e.random.IntN(len(patches))]), metav1.PatchOptions{})
	return err
}
