// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

func (r *rig) createLease(lease *coordinationv1.Lease) {
	r.t.Helper()
	if _, err := r.kube.CoordinationV1().Leases(ourNamespace).Create(r.t.Context(), lease, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

func (r *rig) updateLease(lease *coordinationv1.Lease) {
	r.t.Helper()
	if _, err := r.kube.CoordinationV1().Leases(ourNamespace).Update(r.t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
}

// announced is a one-address pool whose Service's VIP node-1 holds.
func announced() []runtime.Object {
	return objects(addressPool("a", "192.168.1.240/32"), service("former", holding("192.168.1.240")),
		sessionLease("node-1", "node-1/x", epoch), vipLease("192.168.1.240", "node-1", "node-1/x"))
}

// TestFreedAddressIsWithdrawnBeforeItIsReused: whatever way the holder lets go, the next Service has the address at once.
func TestFreedAddressIsWithdrawnBeforeItIsReused(t *testing.T) {
	for name, letGo := range map[string]func(*rig){
		"Lease released":                 func(r *rig) { r.updateLease(vipLease("192.168.1.240", "", "node-1/x")) },
		"session released":               func(r *rig) { r.updateLease(sessionLease("node-1", "", epoch)) },
		"speaker started again":          func(r *rig) { r.updateLease(sessionLease("node-1", "node-1/y", epoch)) },
		"taken over and session is gone": func(r *rig) { r.updateLease(vipLease("192.168.1.240", "node-2", "node-2/x")) },
		"Lease deleted": func(r *rig) {
			if err := r.kube.CoordinationV1().Leases(ourNamespace).Delete(r.t.Context(), "vip-192.168.1.240", metav1.DeleteOptions{}); err != nil {
				r.t.Fatal(err)
			}
			r.settle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, announced(), func(r *rig) {
				r.remove("former")
				if r.exists("former") {
					t.Error("the deletion waits for the withdrawal")
				}
				r.create(service("next"))
				time.Sleep(20 * time.Second)
				r.has("next", "")
				letGo(r)
				r.settle()
				r.has("next", "192.168.1.240")
			})
		})
	}
}

func TestSpeakerTakesOverDuringTheWithdrawal(t *testing.T) {
	play(t, Options{}, append(announced(), sessionLease("node-2", "node-2/x", epoch)), func(r *rig) {
		r.remove("former")
		r.create(service("next"))
		r.updateLease(vipLease("192.168.1.240", "node-2", "node-2/x"))
		time.Sleep(20 * time.Second)
		r.has("next", "")
		r.updateLease(vipLease("192.168.1.240", "", "node-2/x"))
		r.settle()
		r.has("next", "192.168.1.240")
	})
}

func TestAddressNobodyAnnouncedIsFreeAtOnce(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("former", holding("192.168.1.240")), service("next", born(1))), func(r *rig) {
		r.has("next", "")
		r.remove("former")
		r.has("next", "192.168.1.240")
	})
}

func TestEveryWayToFreeAnAddressWithdrawsIt(t *testing.T) {
	red := func(pool *v1beta1.IPAddressPool) {
		pool.Spec.AllocateTo = selecting("team", "red")
	}
	for name, free := range map[string]func(*rig){
		"Service deleted":  func(r *rig) { r.remove("former") },
		"finalizer undone": func(r *rig) { r.vanish("former") },
		"type changed": func(r *rig) {
			r.edit("former", func(svc *v1.Service) { svc.Spec.Type, svc.Status = v1.ServiceTypeClusterIP, v1.ServiceStatus{} })
		},
		"another one asked for": func(r *rig) {
			other, off := addressPool("b", "10.0.0.0/32"), false
			other.Spec.AutoAssign = &off
			r.createPool(other)
			r.edit("former", annotated("metallb.io/loadBalancerIPs", "10.0.0.0"))
		},
		"pool reserved": func(r *rig) { r.editPool("a", red) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, announced(), func(r *rig) {
				r.create(service("next", func(svc *v1.Service) { svc.Labels = map[string]string{"team": "red"} }))
				free(r)
				time.Sleep(10 * time.Second)
				r.has("next", "")
				r.updateLease(vipLease("192.168.1.240", "", "node-1/x"))
				r.settle()
				r.has("next", "192.168.1.240")
			})
		})
	}
}

func TestQuarantineIsRebuiltAtStart(t *testing.T) {
	for name, tt := range map[string]struct {
		lease *coordinationv1.Lease
		want  string
	}{
		"holder lives":      {vipLease("192.168.1.240", "node-1", "node-1/x"), ""},
		"released":          {vipLease("192.168.1.240", "", "node-1/x"), "192.168.1.240"},
		"its session ended": {vipLease("192.168.1.240", "node-1", "node-1/old"), "192.168.1.240"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("next"), sessionLease("node-1", "node-1/x", epoch), tt.lease), func(r *rig) {
				r.has("next", tt.want)
			})
		})
	}
}

// TestClaimThatComesLate is a speaker that takes a VIP when its Service is gone already: the address was free, and is not.
func TestClaimThatComesLate(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), sessionLease("node-1", "node-1/x", epoch), service("former", holding("192.168.1.240"))), func(r *rig) {
		r.remove("former")
		time.Sleep(time.Second)
		r.createLease(vipLease("192.168.1.240", "node-1", "node-1/x"))
		r.create(service("next"))
		time.Sleep(10 * time.Second)
		r.has("next", "")
		r.updateLease(vipLease("192.168.1.240", "", "node-1/x"))
		r.settle()
		r.has("next", "192.168.1.240")
	})
}

// TestLeaseTheCacheDoesNotShow: the API server is asked, and its answer is waited for.
func TestLeaseTheCacheDoesNotShow(t *testing.T) {
	play(t, Options{}, objects(addressPool("a", "192.168.1.240/32"), service("former", holding("192.168.1.240"))), func(r *rig) {
		var away atomic.Bool
		away.Store(true)
		r.kube.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, apierrors.NewInternalError(errors.New("no answer"))
		})
		r.remove("former")
		r.create(service("next"))
		time.Sleep(5 * time.Second)
		r.has("next", "")
		away.Store(false)
		time.Sleep(leaseRetry + leaseSweepPeriod)
		r.settle()
		r.has("next", "192.168.1.240")
		r.wantTold("a")
	})
}

func TestOverdueWithdrawalIsToldOnce(t *testing.T) {
	play(t, Options{}, announced(), func(r *rig) {
		r.remove("former")
		r.create(service("next"))
		time.Sleep(ipam.QuarantineLimit - time.Second)
		r.has("next", "")
		r.wantTold("a")
		time.Sleep(time.Second)
		r.has("next", "192.168.1.240")
		time.Sleep(2 * ipam.QuarantineLimit)
		r.wantTold("a", "WithdrawalOverdue: node node-1 did not withdraw 192.168.1.240 within 30 s after its last Service was gone "+
			"(Lease metallb-system/vip-192.168.1.240): Services may have the address again; look at the speaker of that Lease")
		r.wantLeases("speaker-node-1", "vip-192.168.1.240")
	})
}

// TestOverdueWithdrawalWithoutAPool is told on the Lease.
func TestOverdueWithdrawalWithoutAPool(t *testing.T) {
	play(t, Options{}, announced(), func(r *rig) {
		r.deletePool("a")
		r.has("former", "")
		time.Sleep(ipam.QuarantineLimit + time.Second)
		if told := r.told("vip-192.168.1.240"); len(told) != 1 || !strings.HasPrefix(told[0], "WithdrawalOverdue: node node-1 did not withdraw") {
			t.Errorf("told: %q", told)
		}
	})
}

// TestOverdueAddressStaysFree: the same holder does not put it in quarantine again; a new one does.
func TestOverdueAddressStaysFree(t *testing.T) {
	play(t, Options{}, append(announced(), sessionLease("node-2", "node-2/x", epoch)), func(r *rig) {
		r.remove("former")
		time.Sleep(2 * ipam.QuarantineLimit)
		r.updateLease(vipLease("192.168.1.240", "node-2", "node-2/x"))
		r.create(service("next"))
		r.has("next", "")
		if !slices.ContainsFunc(r.told("next"), func(event string) bool { return strings.Contains(event, "being withdrawn") }) {
			t.Errorf("told: %v", r.told("next"))
		}
		time.Sleep(2 * ipam.QuarantineLimit)
		r.has("next", "192.168.1.240")
	})
}

func TestServiceCreatedAgainWaitsForItsAddress(t *testing.T) {
	play(t, Options{}, append(announced(), addressPool("b", "10.0.0.0/28")), func(r *rig) {
		r.vanish("former")
		again := service("former")
		again.UID = "uid-again"
		r.create(again)
		r.has("former", "")
		r.updateLease(vipLease("192.168.1.240", "", "node-1/x"))
		r.settle()
		r.has("former", "192.168.1.240")
	})
}

// TestShortWithdrawalsAreNotTold: an address that is withdrawn within a second ends the wait for it without a word.
func TestShortWithdrawalsAreNotTold(t *testing.T) {
	const failure = "no free IPv4 address in pool a: 0 of 1 in use, 1 being withdrawn or in conflict with another host"
	assigned := []string{`IPAllocated: Assigned IP ["192.168.1.240"]`}
	for name, tt := range map[string]struct {
		takes time.Duration
		want  []string
	}{
		"at once":     {0, append(assigned, "EnsuredLoadBalancer: Ensured load balancer")},
		"in a moment": {700 * time.Millisecond, append(assigned, "EnsuredLoadBalancer: Ensured load balancer")},
		"late": {3 * time.Second, append(assigned, `AllocationFailed: Failed to allocate IP for "default/next": `+failure,
			"SyncLoadBalancerFailed: Error syncing load balancer: failed to ensure load balancer: "+failure)},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Options{}, announced(), func(r *rig) {
				r.remove("former")
				r.create(service("next"))
				time.Sleep(tt.takes)
				r.updateLease(vipLease("192.168.1.240", "", "node-1/x"))
				r.settle()
				r.has("next", "192.168.1.240")
				r.wantTold("next", tt.want...)
			})
		})
	}
}

// TestRequestsAboutLeasesAreMadeTogether: each takes 20 ms, and 1,000 of them less than 3 s. No more than eight are under way.
func TestRequestsAboutLeasesAreMadeTogether(t *testing.T) {
	const leases = 1000
	for name, sweepAll := range map[string]func(context.Context, *sweep){
		"deletions": func(ctx context.Context, s *sweep) {
			for i := range leases {
				vip := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
				s.allocator.Quarantine(vip, ipam.UnknownNode, s.now())
				s.useless = append(s.useless, useless{vipLease(vip.String(), "", ""), "a test", vip})
			}
			s.deleteUseless(ctx)
		},
		"questions": func(ctx context.Context, s *sweep) {
			for i := range leases {
				s.allocator.Quarantine(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)}), ipam.UnknownNode, s.now())
			}
			s.endQuarantines(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowLeases{Interface: fake.NewClientset()}
				cloud := New()
				cloud.clients.kube = slow
				cloud.caches.leases = newLeaseInformer(slow, ourNamespace)
				began := time.Now()
				s := &sweep{Cloud: cloud, overdue: map[netip.Addr]claim{}}
				sweepAll(t.Context(), s)
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("took %s", took)
				}
				if slow.most.Load() > leaseRequests || slow.asked.Load() != leases {
					t.Errorf("%d requests, %d at once", slow.asked.Load(), slow.most.Load())
				}
				if left := cloud.allocator.Quarantined(); len(left) > 0 {
					t.Errorf("%d addresses are in quarantine still", len(left))
				}
			})
		})
	}
}

// slowLeases is an API server that has no Leases, and takes 20 ms to say so.
type slowLeases struct {
	kubernetes.Interface
	asked, now, most atomic.Int32
}

func (s *slowLeases) CoordinationV1() coordinationclient.CoordinationV1Interface {
	return &slowCoordination{s.Interface.CoordinationV1(), s}
}

type slowCoordination struct {
	coordinationclient.CoordinationV1Interface
	slow *slowLeases
}

func (c *slowCoordination) Leases(namespace string) coordinationclient.LeaseInterface {
	return &slowLeaseClient{c.CoordinationV1Interface.Leases(namespace), c.slow}
}

type slowLeaseClient struct {
	coordinationclient.LeaseInterface
	slow *slowLeases
}

func (c *slowLeaseClient) wait() {
	c.slow.asked.Add(1)
	now := c.slow.now.Add(1)
	defer c.slow.now.Add(-1)
	for most := c.slow.most.Load(); now > most && !c.slow.most.CompareAndSwap(most, now); most = c.slow.most.Load() {
	}
	time.Sleep(20 * time.Millisecond)
}

func (c *slowLeaseClient) Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error) {
	c.wait()
	return c.LeaseInterface.Get(ctx, name, options)
}

func (c *slowLeaseClient) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	c.wait()
	return c.LeaseInterface.Delete(ctx, name, options)
}
