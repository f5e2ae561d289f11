// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
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
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// requestTimeout bounds each write to the API server, so that a lost answer costs one renewal and not the session.
const requestTimeout = time.Second

// errFenced is the answer of a session's lock once its epoch has ended.
var errFenced = errors.New("the session's epoch has ended")

// session keeps this speaker's session Lease renewed through client-go's elector (E1), an epoch at a time.
type session struct {
	client    coordinationv1client.LeasesGetter
	namespace string
	node      string
	timing    Timing
	metrics   *Metrics
	// describe returns the annotations that tell other speakers about this one. Called from the session's goroutine.
	describe func() map[string]string
	// periods is how many retry periods are to pass between renewals, and doubted says that the records show another session than this one.
	// Called from the session's goroutine.
	periods func() int
	doubted func() bool
	// acknowledged is told of every write that the API server acknowledged, with the time at which it was sent;
	// fenced, that an epoch was ended by somebody else; shortens, before a write, that others may take the session for expired at that
	// time. All are called from the session's goroutine.
	acknowledged func(epoch Epoch, sent time.Time, object *coordinationv1.Lease)
	fenced       func(epoch Epoch, by string)
	shortens     func(until time.Time)

	// flaps counts the sessions of the node in a row that came to a bad end; backoff is what the present one has earned for it. begun is
	// set once this process has had an epoch. All belong to the session's goroutine.
	flaps   int
	backoff time.Duration
	begun   bool
}

// run renews until the context is done, then releases the session: from then on the epoch has ended. Each time the epoch
// is ended by a peer, it goes on with a fresh one.
func (s *session) run(ctx context.Context) error {
	for ctx.Err() == nil {
		epoch := Epoch(s.node + "/" + rand.Text()[:10])
		lock := s.newLock(ctx, epoch)
		for ctx.Err() == nil && !lock.fenced.Load() {
			if err := s.elect(ctx, lock); err != nil {
				return err
			}
		}
		if lock.fenced.Load() && lock.held {
			s.fenced(epoch, lock.fencedBy)
		}
	}
	return nil
}

// elect runs one elector until it gives up, which it does when it cannot renew in time: that ends no epoch (E6), so the
// caller starts another on the same lock.
func (s *session) elect(ctx context.Context, lock *sessionLock) error {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.Discard()))
	defer cancel()
	lock.stop = cancel
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   s.timing.SessionDuration,
		RenewDeadline:   s.timing.RenewDeadline,
		RetryPeriod:     s.timing.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            names.SessionLease(s.node),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("elector of the session: %w", err)
	}
	elector.Run(ctx)
	return nil
}

func (s *session) newLock(ctx context.Context, epoch Epoch) *sessionLock {
	s.backoff = 0
	lock := &sessionLock{
		LeaseLock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: names.SessionLease(s.node)},
			LockConfig: resourcelock.ResourceLockConfig{Identity: string(epoch)},
			Labels:     map[string]string{names.LabelLease: names.LeaseSession},
		},
		session: s,
		epoch:   epoch,
		leaving: ctx.Done(),
	}
	lock.Client = stampingGetter{LeasesGetter: s.client, session: s, lock: lock}
	return lock
}

// sessionLock is client-go's LeaseLock with the care for epochs that the elector does not have: it never renews or
// releases a record that names another epoch than its own. The elector calls it from one goroutine.
type sessionLock struct {
	*resourcelock.LeaseLock
	session *session
	epoch   Epoch
	// held is set once the record has named this epoch, unclear when a write that begins it had no answer: it may have begun.
	held, unclear bool
	// fenced is set when the record, having named this epoch, or perhaps, no longer does; stop then ends the elector.
	fenced atomic.Bool
	stop   context.CancelFunc
	// fencedBy is the epoch of the peer that ended this one, by the record that was last read; empty when it was no peer.
	fencedBy string
	// counted is set once the predecessor's end has been taken in, begunAt when the epoch began.
	counted bool
	begunAt time.Time
	// periods and told are what the last acknowledged write named and said of the speaker; the next is due at due.
	periods int
	told    map[string]string
	due     time.Time
	// leaving is closed when the speaker wants the session released.
	leaving <-chan struct{}
}

// Get shows the elector a record that names another epoch as one without a holder: either this epoch has not begun, and
// its first write ends the predecessor's on this node (E1), or it has ended, and Get says so.
func (l *sessionLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.LeaseLock.Get(ctx)
	switch {
	case apierrors.IsNotFound(err) && (l.held || l.unclear):
		return nil, nil, l.end()
	case err != nil:
		return nil, nil, err
	case Epoch(record.HolderIdentity) == l.epoch:
		l.held = true
	case l.held || l.unclear:
		return nil, nil, l.end()
	default:
		record.HolderIdentity = ""
	}
	return record, raw, nil
}

// Create begins the epoch on a node without a session Lease.
func (l *sessionLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.LeaseLock.Create(ctx, record)
	l.wrote(err)
	return err
}

// wrote notes what the answer to a write says of the epoch: begun, not by this write, or perhaps.
func (l *sessionLock) wrote(err error) {
	l.held = l.held || err == nil
	l.unclear = err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err)
}

// Update renews the epoch, unless it was renewed lately, begins it, or releases it; it releases only when the speaker leaves, and not, as the elector
// would, when renewals failed for a while.
func (l *sessionLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.fenced.Load() {
		return errFenced
	}
	if record.HolderIdentity == "" {
		select {
		case <-l.leaving:
		default:
			return errors.New("a session is released only by a speaker that leaves")
		}
	} else if l.rests(time.Now()) {
		return nil
	}
	err := l.LeaseLock.Update(ctx, record)
	l.wrote(err)
	return err
}

func (l *sessionLock) end() error {
	l.fenced.Store(true)
	l.stop()
	return errFenced
}

// stampingGetter stamps what a session says of its speaker on each write of LeaseLock, which knows nothing of
// annotations, bounds the request, and reports the acknowledgement.
type stampingGetter struct {
	coordinationv1client.LeasesGetter
	session *session
	lock    *sessionLock
}

func (g stampingGetter) Leases(namespace string) coordinationv1client.LeaseInterface {
	return stampingLeases{LeaseInterface: g.LeasesGetter.Leases(namespace), session: g.session, lock: g.lock}
}

type stampingLeases struct {
	coordinationv1client.LeaseInterface
	session *session
	lock    *sessionLock
}

func (l stampingLeases) Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := l.LeaseInterface.Get(ctx, name, opts)
	if err == nil {
		l.lock.fencedBy = lease.Annotations[names.AnnotationFencedBy]
		l.session.succeed(l.lock, lease)
	}
	return lease, err
}

func (l stampingLeases) Create(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.write(ctx, lease, func(ctx context.Context) (*coordinationv1.Lease, error) {
		return l.LeaseInterface.Create(ctx, lease, opts)
	})
}

func (l stampingLeases) Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return l.write(ctx, lease, func(ctx context.Context) (*coordinationv1.Lease, error) {
		return l.LeaseInterface.Update(ctx, lease, opts)
	})
}

func (l stampingLeases) write(ctx context.Context, lease *coordinationv1.Lease, send func(context.Context) (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	delete(lease.Annotations, names.AnnotationFencedBy)
	delete(lease.Annotations, names.AnnotationLeaving)
	delete(lease.Annotations, names.AnnotationWithdraws)
	told, periods := l.session.describe(), l.lock.periods
	maps.Copy(lease.Annotations, told)
	l.session.stampBackoff(l.lock, lease.Annotations, time.Now())
	if transitions := lease.Spec.LeaseTransitions; transitions != nil && *transitions < 0 { // somebody's hand was in it
		lease.Spec.LeaseTransitions = ptr.To[int32](0)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	sent := time.Now()
	if holder(lease) != "" {
		periods = l.lock.stampDuration(lease, sent)
	}
	answer, err := send(ctx)
	l.session.metrics.renewed(err)
	if err == nil {
		l.session.begun, l.lock.counted = true, true
		if l.lock.begunAt.IsZero() {
			l.lock.begunAt = sent
		}
		l.lock.wroteAt(sent, periods, told)
		l.session.acknowledged(l.lock.epoch, sent, answer.DeepCopy()) // LeaseLock writes into its own
	}
	return answer, err
}
