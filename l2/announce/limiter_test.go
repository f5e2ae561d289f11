// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/arp"
)

func TestLimiterAllowsABurstAndThenItsRate(t *testing.T) {
	var l limiter
	pass := func(now time.Duration) (passed int) {
		for range 10 * claimBurst {
			if l.allow(now) {
				passed++
			}
		}
		return passed
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{0, claimBurst}, {0, 0}, {time.Second / claimRate, 1}, {time.Second / 2, claimRate/2 - 1}, {time.Hour, claimBurst}} {
		if got := pass(step.at); got != step.want {
			t.Errorf("at %v: %d passed, want %d", step.at, got, step.want)
		}
	}
}

// claimsTo is a reader without a wire, and what it says of an announcement of an address by a host.
func claimsTo(t *testing.T, addrs ...netip.Addr) (a *Announcer, claim func(mac MAC, addr netip.Addr) DropReason) {
	t.Helper()
	a, err := New(logger(t), Config{})
	must(t, err)
	for _, addr := range addrs {
		a.Watch(addr)
	}
	l := &link{}
	l.state.Store(&linkState{name: "lan0", mac: ourMAC, up: true})
	r := &claimReader{announcer: a, link: l, proto: arpProtocol{}, drops: a.metrics.drops(protocolARP)}
	return a, func(mac MAC, addr netip.Addr) DropReason {
		frame, err := arpFrame(arp.OperationReply, mac, addr, mac, addr)
		must(t, err)
		return r.pass(frame)
	}
}

func numberedMAC(i int) MAC { return MAC{2, 0, 0, 1, byte(i >> 8), byte(i)} }

// A successor's announcement is heard, however many claims to the VIP strangers make in however many names.
func TestStrangersHideNoMembersAnnouncement(t *testing.T) {
	t.Run("to one address", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // all in no time
			a, claim := claimsTo(t, vip1)
			a.SetMembers([]MAC{theirMAC})
			passes := 0
			for i := range 10000 {
				if claim(numberedMAC(i), vip1) == passed {
					passes++
				}
			}
			if passes != claimBuckets*claimBurst {
				t.Errorf("%d claims of strangers passed, want %d", passes, claimBuckets*claimBurst)
			}
			if reason := claim(theirMAC, vip1); reason != passed {
				t.Errorf("the successor's announcement: %v", reason)
			}
		})
	})
	t.Run("to many addresses", func(t *testing.T) {
		addrs := make([]netip.Addr, 2*sightingsBuffered)
		for i := range addrs {
			addrs[i] = numbered(i)
		}
		a, claim := claimsTo(t, addrs...)
		a.SetMembers([]MAC{theirMAC})
		refused := 0
		for i, addr := range addrs {
			if claim(numberedMAC(i), addr) == QueueFull {
				refused++
			}
		}
		if want := len(addrs) - (sightingsBuffered - sightingsReserved); refused != want {
			t.Errorf("%d claims of strangers found the queue full, want %d", refused, want)
		}
		for i := range sightingsReserved {
			if reason := claim(theirMAC, addrs[i]); reason != passed {
				t.Fatalf("announcement %d of the successor: %v", i, reason)
			}
		}
		if reason := claim(theirMAC, addrs[sightingsReserved]); reason != QueueFull {
			t.Errorf("one too many: %v", reason)
		}
	})
	t.Run("one that does not change its MAC hides few strangers", func(t *testing.T) {
		a, claim := claimsTo(t, vip1)
		limiters := &a.heard.get(vip1).limiters
		for range 2 * claimBurst {
			claim(numberedMAC(0), vip1)
		}
		other := 1
		for limiters.of(numberedMAC(other), false) == limiters.of(numberedMAC(0), false) {
			other++
		}
		if reason := claim(numberedMAC(other), vip1); reason != passed {
			t.Errorf("another: %v", reason)
		}
	})
}

// A member is one until the next list says that it is not.
func TestMembersAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, claim := claimsTo(t, vip1)
		a.SetMembers([]MAC{theirMAC})
		a.SetMembers([]MAC{numberedMAC(0)})
		for i := range 10000 {
			claim(numberedMAC(i+1), vip1)
		}
		if reason := claim(theirMAC, vip1); reason != RateLimited {
			t.Errorf("a former member: %v", reason)
		}
		if reason := claim(numberedMAC(0), vip1); reason != passed {
			t.Errorf("a member: %v", reason)
		}
	})
}
