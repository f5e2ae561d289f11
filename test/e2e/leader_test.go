// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

const (
	// longestWithoutLeader is how long a new Service may wait when the leader of two controllers dies.
	longestWithoutLeader = 5 * time.Second
	// longestHandOver is how long it may wait while the leader hands over.
	longestHandOver = 2 * time.Second
)

// twoControllers scales the controller to two for as long as the test runs, and returns the one that leads.
func (b *bench) twoControllers() (leader string) {
	b.t.Helper()
	b.controllers(2)
	b.must(b.AwaitRollout(b.ctx))
	leader, err := b.Leader(b.ctx)
	b.must(err)
	return leader
}

func TestKilledLeaderIsReplaced(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.apply(pool("replaced", "10.98.2.0/24"))
	b.ready("replaced")
	leader := b.twoControllers()
	start := time.Now()
	b.must(b.KillPod(leader))
	s := b.made(t, newService("after-a-crash"))
	b.drawn(t, s, "10.98.2.0/24")
	took := time.Since(start)
	now, err := b.Leader(b.ctx)
	b.must(err)
	t.Logf("%v after the leader %s was killed a new Service had its address from %s", round(took), leader, now)
	if now == leader {
		t.Errorf("%s led before and leads again: it was not killed, or nobody stood by", leader)
	}
	if took > longestWithoutLeader {
		t.Errorf("that took %v, want at most %v", took, longestWithoutLeader)
	}
}

// While both controllers are replaced, Services are made, ten a second at most, and none waits long.
func TestRolloutHandsOverAtOnce(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.apply(pool("rolled", "10.98.2.0/24"))
	b.ready("rolled")
	b.twoControllers()
	var waits []time.Duration
	var services []*corev1.Service
	over, stop := context.WithCancel(b.ctx)
	defer stop()
	var making sync.WaitGroup
	making.Go(func() {
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for i := 0; over.Err() == nil; i++ {
			<-pace.C
			start := time.Now()
			s, err := b.API.CoreV1().Services(namespace).Create(b.ctx, newService(fmt.Sprintf("rolled-%03d", i)), metav1.CreateOptions{})
			if err == nil {
				services = append(services, s)
				_, err = b.AwaitAddress(b.ctx, namespace, s.Name)
			}
			if err != nil {
				t.Error(err)
				return
			}
			waits = append(waits, time.Since(start))
		}
	})
	_, err := b.Kubectl(b.ctx, "rollout", "restart", "deployment/controller", "-n", lab.Namespace)
	b.must(err)
	b.must(b.AwaitRollout(b.ctx))
	stop()
	making.Wait()
	b.must(b.removed(b.ctx, services...))
	if len(waits) == 0 {
		t.Fatal("no Service was made")
	}
	slices.Sort(waits)
	longest := waits[len(waits)-1]
	t.Logf("%d Services, one after the other: half had their address within %v, all within %v", len(waits), round(waits[len(waits)/2]), round(longest))
	if longest > longestHandOver {
		t.Errorf("one waited %v, want at most %v", longest, longestHandOver)
	}
}

// ready waits until the controller uses a pool.
func (b *bench) ready(pool string) {
	b.t.Helper()
	_, err := b.Kubectl(b.ctx, "wait", "ipaddresspool/e2e-"+pool, "-n", lab.Namespace, "--for=condition=Ready", "--timeout=30s")
	b.must(err)
}
