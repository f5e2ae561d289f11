// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"maps"
	"math"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// vipTiming is what the elector of a VIP is told. Its renewals are checks in memory; only the first write is real.
var vipTiming = struct{ duration, deadline, retry time.Duration }{15 * time.Second, 10 * time.Second, 5 * time.Second}

// vipLock lets client-go's elector take one VIP for one epoch (E2). Taking it is one compare-and-swap against the very
// record that the claim was decided on. Renewing costs nothing: the Lease is valid while the session it names is, and
// the owner of the lock cancels the elector when the records say otherwise. The elector calls it from one goroutine.
type vipLock struct {
	client    coordinationv1client.LeaseInterface
	namespace string
	node      string
	epoch     Epoch
	claim     Claim
	// vip is what the plan says of it, for the labels.
	vip plan.VIP
	// slot waits for a place among the writes under way, and returns what gives it back.
	slot func(context.Context) (free func(), err error)
	// written is told, once, how the swap ended. A won claim comes with the record.
	written func(object *coordinationv1.Lease, err error)
	done    bool
	held    atomic.Bool
	// sent is set once the API server may have the claim: it is not worth calling off any more.
	sent atomic.Bool
}

// elector is a vipLock that is being elected for.
type elector struct {
	cancel context.CancelFunc
	lock   *vipLock
	// first is set while users have not been told that a VIP which nobody ever held is announced.
	first bool
}

// Get shows the record that the claim was decided on, as free; once taken, as this node's.
func (l *vipLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if l.held.Load() {
		return &resourcelock.LeaderElectionRecord{HolderIdentity: l.node}, nil, nil
	}
	base := l.claim.Base.Object
	if base == nil {
		return nil, nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), names.VIPLease(l.claim.VIP))
	}
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&base.Spec)
	record.HolderIdentity = ""
	return record, []byte(base.ResourceVersion), nil
}

// Create takes a VIP that has no Lease yet.
func (l *vipLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.swap(ctx, record, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: l.namespace, Name: names.VIPLease(l.claim.VIP),
	}}, func(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
		return l.client.Create(ctx, lease, metav1.CreateOptions{})
	})
}

// Update takes a VIP whose Lease names nobody who holds it; afterwards it is the elector's renewal, which costs nothing.
func (l *vipLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.held.Load() {
		return nil
	}
	return l.swap(ctx, record, l.claim.Base.Object.DeepCopy(), func(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
		return l.client.Update(ctx, lease, metav1.UpdateOptions{})
	})
}

func (l *vipLock) swap(ctx context.Context, record resourcelock.LeaderElectionRecord, lease *coordinationv1.Lease, send func(context.Context, *coordinationv1.Lease) (*coordinationv1.Lease, error)) error {
	if l.done {
		return errFenced
	}
	l.done = true
	free, err := l.slot(ctx)
	if err != nil {
		l.written(nil, err)
		return err
	}
	defer free()
	if record.LeaderTransitions < 0 || record.LeaderTransitions >= math.MaxInt32 { // somebody's hand was in it
		record.LeaderTransitions = 0
	}
	lease.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&record)
	lease.Labels, lease.Annotations = maps.Clone(lease.Labels), maps.Clone(lease.Annotations)
	if lease.Labels == nil {
		lease.Labels = map[string]string{}
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	lease.Labels[names.LabelLease] = names.LeaseVIP
	lease.Annotations[names.AnnotationEpoch] = string(l.epoch)
	delete(lease.Annotations, names.AnnotationSuccessor)
	delete(lease.Annotations, names.AnnotationConflict)
	names.DescribeVIP(lease.Labels, lease.Annotations, l.vip.Pool, l.vip.Services)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	l.sent.Store(true)
	answer, err := send(ctx, lease)
	l.held.Store(err == nil)
	l.written(answer, err)
	return err
}

// RecordEvent does nothing: users are told by the Service's events.
func (l *vipLock) RecordEvent(string) {}

// Identity is the node's name, which is what `kubectl get leases` shows as the holder.
func (l *vipLock) Identity() string { return l.node }

// Describe names the Lease.
func (l *vipLock) Describe() string { return l.namespace + "/" + names.VIPLease(l.claim.VIP) }

// run elects until the context is done.
func (l *vipLock) run(ctx context.Context) error {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          l,
		LeaseDuration: vipTiming.duration,
		RenewDeadline: vipTiming.deadline,
		RetryPeriod:   vipTiming.retry,
		Name:          "vip", // of the elector's metrics: one for all, not a series for each VIP there ever was
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(klog.NewContext(ctx, logr.Discard()))
	return nil
}
