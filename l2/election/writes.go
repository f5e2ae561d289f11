// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"maps"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// do runs a request beside the loop, a bounded number at a time.
func (s *Speaker) do(ctx context.Context, request func(context.Context)) {
	s.work.Go(func() {
		if free, err := s.slot(ctx); err == nil {
			defer free()
			request(ctx)
		}
	})
}

// slot waits for a place among the writes under way.
func (s *Speaker) slot(ctx context.Context) (free func(), err error) { return place(ctx, s.slots) }

// When a thousand Services come together, all nodes compete for the API server with the controller, which gives the rest their addresses.
// No client waits for a VIP that nobody ever held: few of them are claimed at a time, and each place rests for longer the longer the
// API server took. One that answers in 5 ms gets 85 a second from each node, and one in distress is left to the controller.
const (
	firstClaims    = 3
	firstClaimRest = 6 // times as long as the write took
	firstClaimMost = time.Second
)

// firstSlot is slot for the claim of a VIP that nobody ever held.
func (s *Speaker) firstSlot(ctx context.Context) (free func(), err error) {
	leave, err := place(ctx, s.firsts)
	if err != nil {
		return nil, err
	}
	among, err := s.slot(ctx)
	if err != nil {
		leave()
		return nil, err
	}
	began := time.Now()
	return func() {
		among()
		time.AfterFunc(min(firstClaimRest*time.Since(began), firstClaimMost), leave)
	}, nil
}

func place(ctx context.Context, places chan struct{}) (free func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// claim takes a VIP through client-go's elector (E2), which then keeps running until the VIP is lost.
func (s *Speaker) claim(ctx context.Context, claim Claim) {
	if former, ok := s.electors[claim.VIP]; ok {
		former.cancel()
	}
	electing, cancel := context.WithCancel(ctx)
	s.beginLoss(claim, s.view.Now)
	slot := s.slot
	if claim.First {
		slot = s.firstSlot
	}
	var lock *vipLock
	lock = &vipLock{
		client: s.leases, namespace: s.config.Namespace, node: s.config.Node, epoch: s.view.Epoch, claim: claim, vip: s.plan[claim.VIP], slot: slot,
		written: func(object *coordinationv1.Lease, err error) {
			if err != nil {
				cancel()
			}
			if err != nil && lock.sent.Load() {
				s.refresh(ctx, names.VIPLease(claim.VIP), version(claim.Base.Object))
			}
			s.post(func() {
				if err == nil {
					s.records.Answered(object, time.Now())
				}
				s.core.ClaimEnded(claim.VIP, err == nil, time.Now())
			})
			s.log.V(4).Info("Claim", "vip", claim.VIP, "node", s.config.Node, "reason", claim.Reason, "err", err)
		},
	}
	s.electors[claim.VIP] = elector{cancel: cancel, lock: lock, first: claim.First}
	s.work.Go(func() {
		defer cancel()
		if err := lock.run(electing); err != nil {
			s.log.Error(err, "Cannot elect", "vip", claim.VIP)
		}
		if !lock.done {
			s.post(func() { s.core.ClaimEnded(claim.VIP, false, time.Now()) })
		}
	})
}

// fence ends another speaker's session by a compare-and-swap against the record that was judged (E4).
func (s *Speaker) fence(ctx context.Context, fence Fence) {
	own := string(s.view.Epoch)
	s.do(ctx, func(ctx context.Context) {
		object := fence.Session.Object.DeepCopy()
		object.Spec.HolderIdentity = ptr.To("")
		annotate(object, names.AnnotationFencedBy, own)
		if s.swap(ctx, object) {
			s.config.Metrics.fenced(fence)
			s.log.Info("Ended the session of another speaker: its VIPs are free", "node", fence.Session.Node, "epoch", fence.Session.Epoch, "reason", fence.Reason)
		}
	})
}

// mark writes on the Lease of a VIP that nobody holds who else has the address. The Lease may have to be made for it.
func (s *Speaker) mark(ctx context.Context, mark Mark) {
	vip := s.plan[mark.VIP]
	s.do(ctx, func(ctx context.Context) {
		object := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.config.Namespace, Name: names.VIPLease(mark.VIP)}}
		if mark.Base.Object != nil {
			object = mark.Base.Object.DeepCopy()
		}
		annotate(object, names.AnnotationConflict, mark.Conflict.Format())
		object.Labels = maps.Clone(object.Labels)
		if object.Labels == nil {
			object.Labels = map[string]string{}
		}
		object.Labels[names.LabelLease] = names.LeaseVIP
		names.DescribeVIP(object.Labels, object.Annotations, vip.Pool, vip.Services)
		s.swap(ctx, object)
	})
}

// name writes the successor of a VIP on its Lease (E8).
func (s *Speaker) name(ctx context.Context, naming Naming) {
	s.do(ctx, func(ctx context.Context) {
		object := naming.Base.Object.DeepCopy()
		annotate(object, names.AnnotationSuccessor, naming.Successor)
		if s.swap(ctx, object) && naming.Successor != "" {
			level := 4
			if naming.Again { // somebody should know that it does not go as it should
				level = 0
			}
			s.log.V(level).Info("Hand over VIP: the successor is asked to take it", "vip", naming.VIP, "from", s.config.Node, "to", naming.Successor, "reason", naming.Reason)
		}
	})
}

// release gives back a VIP Lease that this speaker holds.
func (s *Speaker) release(ctx context.Context, lease Lease) {
	s.do(ctx, func(ctx context.Context) {
		object := lease.Object.DeepCopy()
		object.Spec.HolderIdentity = ptr.To("")
		annotate(object, names.AnnotationEpoch, "")
		annotate(object, names.AnnotationSuccessor, "")
		s.swap(ctx, object)
	})
}

// read asks the API server who holds some VIPs (E7). Whether this speaker's own session goes on is asked once for all of them. Reads do not wait for
// writes, and are not given up when Core yields: a server that is slow is not helped by being asked again.
func (s *Speaker) read(ctx context.Context, vips []netip.Addr) {
	if len(vips) == 0 {
		return
	}
	own := version(s.records.sessions[s.config.Node].Object)
	session, ended := false, make(chan struct{})
	s.work.Go(func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		session = s.get(ctx, s.doubts, names.SessionLease(s.config.Node), own)
	})
	for _, vip := range vips {
		of := version(s.records.leases[vip].Object)
		s.work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			free, err := place(ctx, s.readers)
			if err == nil {
				defer free()
			}
			answered := err == nil && s.get(ctx, s.doubts, names.VIPLease(vip), of)
			<-ended
			s.post(func() { s.core.ReadEnded(vip, answered && session, time.Now()) })
		})
	}
}

// swap writes an object against its UID and version, or creates one that has none, and says whether the API server took it. A refused or unclear
// answer is followed by a read (E3).
func (s *Speaker) swap(ctx context.Context, object *coordinationv1.Lease) bool {
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var answer *coordinationv1.Lease
	var err error
	if object.ResourceVersion == "" {
		answer, err = s.leases.Create(bounded, object, metav1.CreateOptions{})
	} else {
		answer, err = s.leases.Update(bounded, object, metav1.UpdateOptions{})
	}
	if err != nil {
		s.log.V(4).Info("Write refused", "lease", object.Name, "err", err)
		s.refresh(ctx, object.Name, object.ResourceVersion)
		return false
	}
	s.post(func() { s.records.Answered(answer, time.Now()) })
	return true
}

// refresh reads a Lease into the records, which had it in the given version.
func (s *Speaker) refresh(ctx context.Context, name, version string) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s.get(ctx, s.leases, name, version)
}

// get reads a Lease into the records and says whether the API server answered.
func (s *Speaker) get(ctx context.Context, from coordinationv1client.LeaseInterface, name, version string) bool {
	object, err := from.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.post(func() { s.records.Gone(name, version) })
	case err != nil:
		return false
	default:
		s.post(func() { s.records.Answered(object, time.Now()) })
	}
	return true
}

func annotate(object *coordinationv1.Lease, key, value string) {
	object.Annotations = maps.Clone(object.Annotations)
	if value == "" {
		delete(object.Annotations, key)
		return
	}
	if object.Annotations == nil {
		object.Annotations = map[string]string{}
	}
	object.Annotations[key] = value
}

// version of an object, or that of one which never was.
func version(object *coordinationv1.Lease) string {
	if object == nil {
		return "0"
	}
	return object.ResourceVersion
}
