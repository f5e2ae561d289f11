// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// sessionOf is the session Lease of a node, renewed at a time by the speaker's clock, which is not this host's.
func sessionOf(node, holder string, renewed time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "metallb-system", Name: names.SessionLease(node), Labels: map[string]string{names.LabelLease: names.LeaseSession},
			Annotations: map[string]string{names.AnnotationInterfaces: "eth0=192.168.1.11/24"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](4), RenewTime: ptr.To(metav1.NewMicroTime(renewed))},
	}
}

// A session lives while its record changes, whatever times it names.
func TestSessions(t *testing.T) {
	start, theirs := time.Now(), time.Unix(1000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var s sessions
	want := func(seconds int, nodes ...string) {
		t.Helper()
		if diff := cmp.Diff(nodes, slices.Sorted(maps.Keys(s.speakers(at(seconds)))), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after %d s: %s", seconds, diff)
		}
	}
	want(0)
	s.observe(sessionOf("node-1", "node-1/x", theirs), at(0))
	s.observe(sessionOf("node-2", "node-2/x", theirs), at(0))
	want(11, "node-1", "node-2")
	s.observe(sessionOf("node-1", "node-1/x", theirs.Add(4*time.Second)), at(4))
	s.observe(sessionOf("node-2", "node-2/x", theirs), at(4)) // sent again by a new watch, and not renewed
	want(11, "node-1", "node-2")
	want(12, "node-1")
	s.observe(sessionOf("node-2", "node-2/x", theirs.Add(time.Second)), at(13))
	want(13, "node-1", "node-2")

	s.observe(sessionOf("node-1", "", theirs), at(14)) // ended by a peer
	want(14, "node-2")
	s.forget(sessionOf("node-2", "node-2/x", theirs))
	want(14)

	stranger := sessionOf("node-3", "node-3/x", theirs)
	stranger.Name = "vip-10.0.0.1"
	s.observe(stranger, at(14))
	s.forget(stranger)
	incomplete := sessionOf("node-3", "node-3/x", theirs)
	incomplete.Spec.RenewTime = nil
	s.observe(incomplete, at(14))
	want(14)
}

// Where a speaker can announce is what its session says; one that does not say may anywhere.
func TestInterfacesOfSessions(t *testing.T) {
	var s sessions
	now := time.Now()
	lease := sessionOf("node-1", "node-1/x", now)
	for _, test := range []struct {
		text string
		want []plan.Interface
	}{
		{"eth0=192.168.1.11/24", []plan.Interface{{Name: "eth0", Up: true, Subnets: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.11")}}}},
		{"", nil},
		{";", []plan.Interface{}},
	} {
		lease.Annotations[names.AnnotationInterfaces] = test.text
		s.observe(lease, now)
		if diff := cmp.Diff(test.want, s.speakers(now)["node-1"].Interfaces, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
	}
}

// FuzzSessions: whatever somebody wrote on a session Lease, it speaks for no other node, and not for ever, and it is read trimmed as it is whole.
func FuzzSessions(f *testing.F) {
	f.Add("speaker-node-2", "node-2/x", int32(4), int64(1700000000), "eth0=192.168.1.12/24;down:eth1=", true)
	f.Add("speaker-node-1", "", int32(4), int64(0), "", false)
	f.Add("speaker-node-1", "node-2/x", int32(2147483647), int64(1), ";", true)
	f.Add("speaker-node-2", "node-1/x", int32(-2147483648), int64(-9223372036854775808), "=", true)
	f.Add("vip-192.168.1.240", "node-2", int32(1), int64(7), "eth0=", true)
	f.Add("speaker-", "x", int32(0), int64(9223372036854775807), "down:", true)
	f.Fuzz(func(t *testing.T, name, holder string, seconds int32, renewed int64, interfaces string, described bool) {
		now := time.Unix(1800000000, 0)
		var whole, trimmed sessions
		for _, s := range []*sessions{&whole, &trimmed} {
			s.observe(sessionOf("node-1", "node-1/x", now), now)
		}
		lease := sessionOf("", holder, time.Unix(renewed, 0))
		lease.Name, lease.Spec.LeaseDurationSeconds = name, &seconds
		if lease.Annotations[names.AnnotationInterfaces] = interfaces; !described {
			lease.Annotations = nil
		}
		whole.observe(lease.DeepCopy(), now)
		small, err := trimLease(lease.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		trimmed.observe(small.(*coordinationv1.Lease), now)
		if !reflect.DeepEqual(whole, trimmed) {
			t.Fatalf("whole %+v, trimmed %+v", whole, trimmed)
		}
		for node := range whole.speakers(now) {
			if node != "node-1" && (names.SessionLease(node) != name || holder == "") {
				t.Fatalf("%q held by %q speaks for %s", name, holder, node)
			}
		}
		if _, speaks := whole.speakers(now)["node-1"]; !speaks && name != names.SessionLease("node-1") {
			t.Fatalf("%q ended the session of node-1", name)
		}
		if left := whole.speakers(now.Add(sessionLapse * election.MaxSessionDuration)); len(left) > 0 {
			t.Fatalf("%v speak for %d s and more without a renewal", left, seconds)
		}
		whole.forget(lease)
		if _, left := whole.byNode[strings.TrimPrefix(name, names.SessionLease(""))]; left && strings.HasPrefix(name, names.SessionLease("")) {
			t.Fatalf("%q is gone, and its session is not", name)
		}
	})
}
