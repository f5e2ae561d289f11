// SPDX-License-Identifier: Apache-2.0

package election

import (
	"math"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

var testVIP = netip.MustParseAddr("192.168.1.240")

func sessionObject(node string, epoch Epoch, version int) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: names.SessionLease(node), ResourceVersion: strconv.Itoa(version)},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(string(epoch)), LeaseDurationSeconds: ptr.To[int32](4)},
	}
}

func vipObject(node string, epoch Epoch, version int) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: names.VIPLease(testVIP), ResourceVersion: strconv.Itoa(version),
			Annotations: map[string]string{names.AnnotationEpoch: string(epoch)},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To(node)},
	}
}

// E2, E3: who holds a VIP is judged by its holder's session, and only by one that is no older than the Lease.
func TestE3StandingByTheRecords(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name string
		do   func(*Records)
		want standing
	}{
		{"no Lease", func(*Records) {}, void},
		{"held by a live session", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/1", 11), now)
		}, theirs},
		{"held by this speaker", func(r *Records) {
			r.Watched(sessionObject("a", "a/1", 10), now)
			r.Watched(vipObject("a", "a/1", 11), now)
		}, mine},
		{"held by an earlier epoch of this node", func(r *Records) {
			r.Watched(sessionObject("a", "a/1", 10), now)
			r.Watched(vipObject("a", "a/0", 11), now)
		}, void},
		{"the session was fenced", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/1", 11), now)
			r.Watched(sessionObject("b", "", 12), now)
		}, void},
		{"the holder's session was deleted", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/1", 11), now)
			r.Deleted(sessionObject("b", "b/1", 12))
		}, void},
		{"the Lease was released", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("", "", 11), now)
		}, void},
		{"an answer names an epoch that the watch has not shown", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Answered(vipObject("b", "b/2", 20), now)
		}, unsure},
		{"and the watch catches up", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Answered(vipObject("b", "b/2", 20), now)
			r.Watched(sessionObject("b", "b/2", 19), now)
			r.Watched(vipObject("b", "b/2", 20), now)
		}, theirs},
		{"or shows that the epoch has ended meanwhile", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Answered(vipObject("b", "b/2", 20), now)
			r.Watched(sessionObject("b", "", 21), now)
		}, void},
		{"a bookmark counts as catching up", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Answered(vipObject("b", "b/0", 20), now)
			r.Progressed("25")
		}, void},
		{"an older version never replaces a newer one", func(r *Records) {
			r.Answered(sessionObject("b", "b/2", 20), now)
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/2", 21), now)
		}, theirs},
		{"a list takes away what was deleted", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/1", 11), now)
			r.Listed([]*coordinationv1.Lease{sessionObject("b", "b/1", 10)}, "30", now)
		}, void},
		{"but not what an answer showed since", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Answered(vipObject("b", "b/1", 31), now)
			r.Listed([]*coordinationv1.Lease{sessionObject("b", "b/1", 10)}, "30", now)
		}, theirs},
		{"'not found' takes away what was asked about", func(r *Records) {
			r.Watched(sessionObject("b", "b/1", 10), now)
			r.Watched(vipObject("b", "b/1", 11), now)
			r.Gone(names.SessionLease("b"), "10")
		}, void},
		{"but not what has come since", func(r *Records) {
			r.Watched(sessionObject("b", "b/2", 12), now)
			r.Watched(vipObject("b", "b/2", 13), now)
			r.Gone(names.SessionLease("b"), "10")
		}, theirs},
	} {
		t.Run(test.name, func(t *testing.T) {
			records := NewRecords()
			test.do(records)
			view := View{Epoch: "a/1", Sessions: records.sessions, Leases: records.leases}
			if _, got := view.standing("a", testVIP); got != test.want {
				t.Errorf("standing %d, want %d", got, test.want)
			}
		})
	}
}

// The interval in which a session may be fenced starts when this speaker saw it change, whatever the record's clock says.
func TestSessionsAreTimedByTheObserver(t *testing.T) {
	records, now := NewRecords(), time.Now()
	object := sessionObject("b", "b/1", 10)
	object.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-time.Hour)))
	records.Watched(object, now)
	records.Watched(object, now.Add(time.Second)) // the same version again is no renewal
	if got := records.sessions["b"]; !got.ChangedAt.Equal(now) || got.Duration != 4*time.Second {
		t.Errorf("changed at %v with duration %v, want %v and 4s", got.ChangedAt, got.Duration, now)
	}
}

// Sightings are of strangers or of speakers by the hardware addresses on sessions: every speaker reads them alike, whatever stands there.
func TestMACsOfSpeakers(t *testing.T) {
	const one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
	for _, test := range []struct {
		name string
		// macs and epochs by node
		macs, epochs map[string]string
		want         map[string]string
		complete     bool
	}{
		{"one each", map[string]string{"a": one, "b": two}, nil, map[string]string{one: "a", two: "b"}, true},
		{"two of one", map[string]string{"a": one + "," + two}, nil, map[string]string{one: "a", two: "a"}, true},
		{"in another form", map[string]string{"a": "02-00-00-00-00-01,0200.0000.0002", "b": "AA:BB:CC:DD:EE:FF"}, nil,
			map[string]string{one: "a", two: "a", "aa:bb:cc:dd:ee:ff": "b"}, true},
		{"no address of Ethernet", map[string]string{"a": "what,,02:00:00:00:00:00:00:01," + one}, nil, map[string]string{one: "a"}, true},
		{"nothing that can be read", map[string]string{"a": "what", "b": two}, nil, map[string]string{two: "b"}, false},
		{"none", map[string]string{"a": "", "b": two}, nil, map[string]string{two: "b"}, false},
		{"none, and the session has ended", map[string]string{"a": "", "b": two}, map[string]string{"a": ""}, map[string]string{two: "b"}, true},
		{"two name the same", map[string]string{"c": one, "a": one, "b": one}, nil, map[string]string{one: "a"}, true},
		{"two name the same, and one session has ended", map[string]string{"a": one, "b": one, "c": one}, map[string]string{"a": ""}, map[string]string{one: "b"}, true},
		{"two name the same, and both sessions have ended", map[string]string{"a": one, "b": one}, map[string]string{"a": "", "b": ""}, map[string]string{one: "a"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 20 { // in any order of a map
				records := NewRecords()
				for node, macs := range test.macs {
					epoch := node + "/1"
					if other, ok := test.epochs[node]; ok {
						epoch = other
					}
					object := sessionObject(node, Epoch(epoch), 10)
					object.Annotations = map[string]string{names.AnnotationMACs: macs}
					records.Watched(object, time.Time{})
				}
				got := records.macs()
				if diff := cmp.Diff(MACs{Nodes: test.want, Complete: test.complete}, got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

// What a session says of its duration is bounded: nothing that is computed from it overflows, and a speaker that is gone is fenced in the end.
func TestDurationsAreBounded(t *testing.T) {
	usual := DefaultTiming().SessionDuration
	for seconds, want := range map[int32]time.Duration{7: 7 * time.Second, math.MaxInt32: MaxSessionDuration, 0: usual, -1: usual} {
		object := sessionObject("n1", "n1/a", 7)
		object.Spec.LeaseDurationSeconds = &seconds
		records := NewRecords()
		records.Watched(object, time.Time{})
		if got := records.sessions["n1"].Duration; got != want {
			t.Errorf("%d seconds are read as %v, want %v", seconds, got, want)
		}
	}
}
