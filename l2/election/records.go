// SPDX-License-Identifier: Apache-2.0

package election

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Records is this speaker's picture of all session and VIP Leases: what one watch delivered, and what the
// API server answered to its own reads and writes, whichever is newer. One goroutine owns it.
type Records struct {
	sessions map[string]Session
	leases   map[netip.Addr]Lease
	// versions of every object held, by name: an older one never replaces a newer one.
	versions map[string]uint64
	// watched is the newest version that the watch has delivered.
	watched uint64
	// ahead are the VIPs whose Lease was answered in a version newer than that.
	ahead map[netip.Addr]struct{}
	// sessionChanges counts changes of who has a session and where it announces, for what is derived from that.
	sessionChanges uint64
	// vipChanges counts changes of which VIPs have a Lease.
	vipChanges uint64
	// holderChanges counts changes of who holds VIPs.
	holderChanges uint64
}

// MaxSessionDuration bounds what is read of a session's duration, which anybody may have written: a speaker that is gone is fenced after it.
const MaxSessionDuration = time.Hour

// NewRecords returns an empty picture.
func NewRecords() *Records {
	return &Records{
		sessions: map[string]Session{},
		leases:   map[netip.Addr]Lease{},
		versions: map[string]uint64{},
		ahead:    map[netip.Addr]struct{}{},
	}
}

// Listed replaces the picture with a complete list. Objects that an answer showed in a newer version are kept.
func (r *Records) Listed(objects []*coordinationv1.Lease, version string, now time.Time) {
	listed := parseVersion(version)
	if listed < r.watched { // versions went back: the API server's store was restored, and nothing that is held counts
		*r = *NewRecords()
		r.sessionChanges = uint64(now.UnixNano())
		r.holderChanges, r.vipChanges = r.sessionChanges, r.sessionChanges
	}
	r.watched = max(r.watched, listed)
	present := make(map[string]bool, len(objects))
	for _, object := range objects {
		present[object.Name] = true
		r.merge(object, now)
	}
	for name, have := range r.versions {
		if !present[name] && have <= listed {
			r.forget(name)
		}
	}
	r.settle()
}

// Watched takes in one object that the watch delivered.
func (r *Records) Watched(object *coordinationv1.Lease, now time.Time) {
	r.watched = max(r.watched, parseVersion(object.ResourceVersion))
	r.merge(object, now)
	r.settle()
}

// Deleted takes in a deletion that the watch delivered; object is the last version of what was deleted.
func (r *Records) Deleted(object *coordinationv1.Lease) {
	version := parseVersion(object.ResourceVersion)
	r.watched = max(r.watched, version)
	if r.versions[object.Name] <= version {
		r.forget(object.Name)
	}
	r.settle()
}

// Progressed takes in a bookmark: the watch has delivered everything up to this version.
func (r *Records) Progressed(version string) {
	r.watched = max(r.watched, parseVersion(version))
	r.settle()
}

// Answered takes in an object from an answer of the API server to a read or a write of this speaker.
func (r *Records) Answered(object *coordinationv1.Lease, now time.Time) {
	r.merge(object, now)
}

// Gone takes in the answer that an object does not exist. version is what was held when the question was asked: an
// object that has come since is not forgotten, or its session's VIPs would look free.
func (r *Records) Gone(name string, version string) {
	if r.versions[name] <= parseVersion(version) {
		r.forget(name)
	}
}

func (r *Records) merge(object *coordinationv1.Lease, now time.Time) {
	version := parseVersion(object.ResourceVersion)
	if version <= r.versions[object.Name] {
		return
	}
	if vip, ok := names.ParseVIPLease(object.Name); ok {
		r.versions[object.Name] = version
		lease := Lease{
			VIP:       vip,
			Holder:    holder(object),
			Epoch:     Epoch(object.Annotations[names.AnnotationEpoch]),
			Successor: object.Annotations[names.AnnotationSuccessor],
			NeverHeld: holder(object) == "" && object.Spec.AcquireTime == nil,
			Ahead:     version > r.watched,
			Object:    object,
		}
		if text, contested := object.Annotations[names.AnnotationConflict]; contested {
			lease.Contested = true
			conflict, _ := names.ParseConflict(text) // one that cannot be read is with a host unknown
			lease.ContestedBy = conflict.MAC
		}
		old, had := r.leases[vip]
		if old.Holder != lease.Holder || old.Epoch != lease.Epoch {
			r.holderChanges++
		}
		if !had {
			r.vipChanges++
		}
		if giver, ok := r.sessions[lease.Holder]; ok && lease.Successor != "" && giver.Epoch == lease.Epoch {
			giver.GaveAt = now
			r.sessions[lease.Holder] = giver
		}
		r.leases[vip] = lease
		if version > r.watched {
			r.ahead[vip] = struct{}{}
		}
		return
	}
	if node, ok := names.ParseSessionLease(object.Name); ok {
		r.versions[object.Name] = version
		old := r.sessions[node]
		session := Session{Node: node, Epoch: Epoch(holder(object)), ChangedAt: now, Object: object}
		session.Duration = DefaultTiming().SessionDuration
		if seconds := object.Spec.LeaseDurationSeconds; seconds != nil && *seconds > 0 {
			session.Duration = min(time.Duration(*seconds)*time.Second, MaxSessionDuration)
		}
		session.Since, session.GaveAt = old.Since, old.GaveAt
		if old.Epoch != session.Epoch {
			session.Since, session.GaveAt = now, time.Time{}
		}
		if session.Epoch == "" {
			session.AliveAt = old.AliveAt
			if old.Epoch != "" {
				session.AliveAt = old.ChangedAt
			}
		}
		_, session.Withdraws = object.Annotations[names.AnnotationWithdraws]
		_, session.BacksOff = object.Annotations[names.AnnotationBackOff]
		_, session.Leaving = object.Annotations[names.AnnotationLeaving]
		r.sessions[node] = session
		if old.Epoch != session.Epoch || describes(old.Object) != describes(object) {
			r.sessionChanges++
		}
	}
}

// settle clears the marks of answers that the watch has caught up with.
func (r *Records) settle() {
	for vip := range r.ahead {
		lease, ok := r.leases[vip]
		if ok && parseVersion(lease.Object.ResourceVersion) > r.watched {
			continue
		}
		delete(r.ahead, vip)
		if ok {
			lease.Ahead = false
			r.leases[vip] = lease
		}
	}
}

func (r *Records) forget(name string) {
	delete(r.versions, name)
	if vip, ok := names.ParseVIPLease(name); ok {
		delete(r.leases, vip)
		r.holderChanges++
		r.vipChanges++
	}
	if node, ok := names.ParseSessionLease(name); ok {
		delete(r.sessions, node)
		r.sessionChanges++
	}
}

// describes is what a session Lease says of its speaker, beside its epoch.
func describes(object *coordinationv1.Lease) string {
	if object == nil {
		return ""
	}
	return strings.Join([]string{
		object.Annotations[names.AnnotationMACs], object.Annotations[names.AnnotationInterfaces], object.Annotations[names.AnnotationLeaving],
		object.Annotations[names.AnnotationBackOff],
	}, "\n")
}

// macs maps the hardware addresses that speakers announce from to their nodes. One that several sessions name is that of a speaker whose session goes on, as
// after a node's change of name, and then that of the first by name: all must read the same.
func (r *Records) macs() MACs {
	macs := MACs{Nodes: map[string]string{}, Complete: true}
	for node, session := range r.sessions {
		list := parseMACs(session.Object.Annotations[names.AnnotationMACs])
		if len(list) == 0 && session.Epoch != "" && !saysNoneUp(session.Object.Annotations[names.AnnotationInterfaces]) {
			macs.Complete = false
		}
		for _, mac := range list {
			other, taken := macs.Nodes[mac]
			live, otherLive := session.Epoch != "", r.sessions[other].Epoch != ""
			if !taken || live && !otherLive || live == otherLive && node < other {
				macs.Nodes[mac] = node
			}
		}
	}
	return macs
}

// parseMACs reads a list of hardware addresses of Ethernet, and leaves out what is none.
func parseMACs(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if mac, err := net.ParseMAC(part); err == nil && len(mac) == 6 {
			list = append(list, mac.String())
		}
	}
	return list
}

// epochs is the present epoch of each node that has a session.
func (r *Records) epochs() map[string]string {
	epochs := map[string]string{}
	for node, session := range r.sessions {
		if session.Epoch != "" {
			epochs[node] = string(session.Epoch)
		}
	}
	return epochs
}

func holder(object *coordinationv1.Lease) string {
	if object.Spec.HolderIdentity == nil {
		return ""
	}
	return *object.Spec.HolderIdentity
}

// parseVersion reads a resourceVersion, which the API promises to be a number that grows (KEP-5504); anything else
// counts as oldest.
func parseVersion(version string) uint64 {
	number, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return number
}
