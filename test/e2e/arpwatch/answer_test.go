// SPDX-License-Identifier: Apache-2.0

package arpwatch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func reply(ms int, host string) Answer {
	return Answer{At: at(ms), Target: netip.MustParseAddr("192.0.2.1"), Host: host, Kind: Reply}
}

func announcement(ms int, host string) Answer {
	a := reply(ms, host)
	a.Kind = Announcement
	return a
}

func TestLineSurvivesTheWay(t *testing.T) {
	want := announcement(1, "02:00:00:00:00:01")
	got, err := ParseLine(want.Line())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, wrong := range []string{"", "1 192.0.2.1 mac", "x 192.0.2.1 mac reply", "1 nobody mac reply"} {
		if _, err := ParseLine(wrong); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}

func TestSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []Answer
		want    Span
	}{
		"nobody ever answered: no silence can be told":  {},
		"from the old holder's last to the new's first": {[]Answer{reply(0, "a"), reply(20, "a"), reply(620, "b"), reply(640, "b")}, Span{at(20), at(620)}},
		"an announcement is no reply":                   {[]Answer{reply(0, "a"), announcement(50, "b"), reply(100, "b")}, Span{at(0), at(100)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Silence(tc.answers)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestBoth(t *testing.T) {
	const pause = 100 * time.Millisecond
	for name, tc := range map[string]struct {
		answers []Answer
		want    Span
	}{
		"one holder, and then another":                   {[]Answer{reply(0, "a"), reply(20, "a"), reply(40, "b"), reply(60, "b")}, Span{}},
		"the old one goes on beside the new":             {[]Answer{reply(0, "a"), reply(20, "b"), reply(40, "a"), reply(60, "b"), reply(80, "a"), reply(100, "b")}, Span{at(20), at(80)}},
		"there and back after a pause is no overlap":     {[]Answer{reply(0, "a"), reply(20, "b"), reply(100, "b"), reply(180, "b"), reply(200, "a")}, Span{}},
		"one answer of the old one is a moment":          {[]Answer{reply(0, "a"), reply(20, "b"), reply(21, "a"), reply(40, "b")}, Span{at(20), at(21)}},
		"the longest of two overlaps, the second nested": {[]Answer{reply(0, "a"), reply(10, "b"), reply(20, "a"), reply(500, "a"), reply(510, "b"), reply(540, "b"), reply(560, "a")}, Span{at(510), at(540)}},
		"announcements do not count":                     {[]Answer{reply(0, "a"), announcement(10, "b"), reply(20, "a")}, Span{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Both(tc.answers, pause)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
