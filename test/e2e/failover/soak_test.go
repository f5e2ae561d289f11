// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
)

func lease(name, holder, fencedBy string) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if holder != "" {
		l.Spec.HolderIdentity = &holder
	}
	if fencedBy != "" {
		l.Annotations = map[string]string{names.AnnotationFencedBy: fencedBy}
	}
	return l
}

func TestChangesOfRecords(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		before, after *coordinationv1.Lease
		want          []change
	}{
		"a renewal is none":          {lease("speaker-a", "a/1", ""), lease("speaker-a", "a/1", ""), nil},
		"a new Lease is none":        {nil, lease("vip-192.0.2.1", "a", ""), nil},
		"a VIP that moves":           {lease("vip-192.0.2.1", "a", ""), lease("vip-192.0.2.1", "b", ""), []change{{now, changeMove, "192.0.2.1", "a", "b"}}},
		"a session that is ended":    {lease("speaker-a", "a/1", ""), lease("speaker-a", "", "b/2"), []change{{now, changeFence, "a", "a/1", "b/2"}}},
		"a session that begins":      {lease("speaker-a", "", "b/2"), lease("speaker-a", "a/3", ""), nil},
		"the controller's own Lease": {lease("cloud-provider-l2-controller", "x", ""), lease("cloud-provider-l2-controller", "y", ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			known := records{}
			if tc.before != nil {
				known.changes(now, []*coordinationv1.Lease{tc.before})
			}
			if diff := cmp.Diff(tc.want, known.changes(now, []*coordinationv1.Lease{tc.after})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSoakReportTellsFalseFailoversAndWhy(t *testing.T) {
	s := &soaked{Variant: "default", Took: 2 * time.Minute, Burning: 2, VIPs: 31, Requests: 12000, Changes: []change{{Kind: changeFence, What: "node-1", From: "node-1/A", To: "node-2/B"}, {Kind: changeMove, What: "192.0.2.1", From: "node-1", To: "node-2"}}}
	log := `[pod/speaker] "Ended the session of another speaker: its VIPs are free" node="node-1" reason="silent"` + "\n" + `[pod/speaker] "memberlist members=3"` + "\n"
	text := soakReport("a machine", s, reasons(log))
	for _, want := range []string{"false failovers | 1 |", "VIPs that moved | 1 |", "fence node-1: node-1/A to node-2/B", `reason="silent"`, "0 of 12000"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "members=3") {
		t.Error("the report shows lines that give no reason")
	}
}

func TestClaimsOfAnotherNodeCountOnce(t *testing.T) {
	a, b := netip.MustParseAddr("10.100.0.1"), netip.MustParseAddr("10.100.0.2")
	claim := func(after time.Duration, vip netip.Addr, host string) arpwatch.Answer {
		return arpwatch.Answer{At: at(after), Target: vip, Host: host, Kind: arpwatch.Announcement}
	}
	c := claims{besides: "node-1", first: map[netip.Addr]time.Time{}}
	answers := []arpwatch.Answer{claim(1, a, "node-1"), claim(2, a, "node-2")}
	if err := c.of(answers, 2); err == nil {
		t.Error("one of two VIPs is enough")
	}
	answers = append(answers, claim(3, a, "node-3"), claim(4, b, "node-3"))
	if err := c.of(answers, 2); err != nil {
		t.Error(err)
	}
	if want := map[netip.Addr]time.Time{a: at(2), b: at(4)}; !cmp.Equal(want, c.first, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("%v, want %v", c.first, want)
	}
}
