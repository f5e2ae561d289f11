// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"net/netip"
	"testing"
)

var vipCounts = []int{1, 1000, 10000}

// BenchmarkAnswer is the work for one request, without the system calls.
func BenchmarkAnswer(b *testing.B) {
	for _, n := range vipCounts {
		for _, target := range []netip.Addr{numbered(n / 2), vip1} {
			b.Run(fmt.Sprintf("vips=%d/%s", n, map[bool]string{true: "other", false: "announced"}[target == vip1]), func(b *testing.B) {
				m, _ := newTestMetrics(b)
				benchmarkAnswer(b, newResponder(b, n, m), requestFrame(b, clientIP, target))
			})
		}
	}
}

func BenchmarkNDPAnswer(b *testing.B) {
	for _, n := range vipCounts {
		for _, target := range []netip.Addr{numbered6(n / 2), vip6} {
			b.Run(fmt.Sprintf("vips=%d/%s", n, map[bool]string{true: "other", false: "announced"}[target == vip6]), func(b *testing.B) {
				m, _ := newTestMetrics(b)
				benchmarkAnswer(b, newResponder6(b, n, m), solicitation(b, clientIP6, target))
			})
		}
	}
}

func benchmarkAnswer(b *testing.B, r *responder, request []byte) {
	frame := make([]byte, maxFrame+1)
	b.ReportAllocs()
	for b.Loop() {
		r.turn.begin()
		if _, v, reason := r.answer(frame[:copy(frame, request)]); reason == passed {
			v.counters.responses.Inc()
		} else {
			r.drops[reason].Inc()
		}
		r.turn.end()
	}
}

func BenchmarkAnnounce10000(b *testing.B) {
	for b.Loop() {
		newResponder(b, 10000, nil)
	}
}
