// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

func logger(t testing.TB) klog.Logger {
	l, _ := ktesting.NewTestContext(t)
	return l
}

func TestTable(t *testing.T) {
	var table table[int]
	addrs := []netip.Addr{netip.MustParseAddr("fd00:1::f0"), netip.MustParseAddr("::1")}
	for i := range 5000 {
		addrs = append(addrs, numbered(i))
	}
	for i, addr := range addrs {
		if table.get(addr) != nil {
			t.Fatalf("%v is there", addr)
		}
		table.set(addr, &i)
	}
	for i, addr := range addrs {
		if got := table.get(addr); got == nil || *got != i {
			t.Fatalf("%v: %v, want %d", addr, got, i)
		}
	}
	count := 0
	for addr, value := range table.all() {
		if addrs[*value] != addr {
			t.Fatalf("%v has %d", addr, *value)
		}
		if count++; count == 10 {
			break
		}
	}
	for i, addr := range addrs {
		if i%2 == 0 {
			table.set(addr, nil)
		}
	}
	for i, addr := range addrs {
		if got := table.get(addr); (got == nil) != (i%2 == 0) {
			t.Fatalf("%v: %v", addr, got)
		}
	}
}

// However VIPs are numbered, a write copies little.
func TestTableSpreads(t *testing.T) {
	prefix := netip.MustParseAddr("fd00:1::").As16()
	for name, address := range map[string]func(i int) netip.Addr{
		"one after the other": numbered,
		"one in each /24":     func(i int) netip.Addr { return numbered(i << 8) },
		"one in each /64": func(i int) netip.Addr {
			b := prefix
			b[6], b[7], b[15] = byte(i>>8), byte(i), 1
			return netip.AddrFrom16(b)
		},
		"IPv6 by host": func(i int) netip.Addr {
			b := prefix
			b[14], b[15] = byte(i>>8), byte(i)
			return netip.AddrFrom16(b)
		},
	} {
		var perShard [tableShards]int
		most := 0
		for i := range 10000 {
			shard := shardOf(address(i))
			perShard[shard]++
			most = max(most, perShard[shard])
		}
		if most > 200 {
			t.Errorf("%s: %d of 10,000 in one shard", name, most)
		}
	}
}

// What began before await has ended when await returns: it is what makes Withdraw exact.
func TestTurnAwaits(t *testing.T) {
	var turn turn
	turn.await() // nothing is going on
	var announced, said atomic.Bool
	var wrong atomic.Int32
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			turn.begin()
			if announced.Load() {
				said.Store(true)
			}
			turn.end()
		}
	})
	for range 20000 {
		announced.Store(true)
		announced.Store(false)
		turn.await()
		said.Store(false)
		if said.Load() {
			wrong.Add(1)
		}
	}
	close(stop)
	reader.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d times something was said after await", wrong.Load())
	}
}

func TestBurstsKeepTimeInOneGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newBurstQueue()
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		rounds := map[netip.Addr][]time.Duration{}
		withdrawn := numbered(1)
		var done sync.WaitGroup
		done.Go(func() {
			q.run(ctx, func(n announcement) (int, sendResult) {
				addr := n.vip.addr
				rounds[addr] = append(rounds[addr], time.Since(began))
				if addr == withdrawn && len(rounds[addr]) == 3 {
					return 0, sendOver
				}
				return 2, sendDone
			})
		})
		q.add(announcement{vip: &vip{addr: numbered(0)}, rounds: burstRounds})
		q.add(announcement{vip: &vip{addr: withdrawn}, rounds: burstRounds})
		q.add(announcement{vip: &vip{addr: numbered(2)}, rounds: 1})
		time.Sleep(10 * time.Second)
		cancel()
		done.Wait()
		for i, want := range []int{burstRounds, 3, 1} {
			got := rounds[numbered(i)]
			if len(got) != want {
				t.Fatalf("VIP %d: rounds at %v, want %d", i, got, want)
			}
			for round, at := range got {
				if at != time.Duration(round)*burstInterval {
					t.Errorf("VIP %d: round %d at %v", i, round, at)
				}
			}
		}
	})
}

func TestNewBurstGoesBeforeRepetitionsAndAllArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 10000
		q := newBurstQueue()
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		var first, last, newcomer time.Duration
		var done sync.WaitGroup
		done.Go(func() {
			q.run(ctx, func(n announcement) (int, sendResult) {
				at := time.Since(began)
				switch {
				case n.vip.addr == vip1 && newcomer == 0:
					newcomer = at
				case n.rounds == burstRounds:
					last = at
				case first == 0:
					first = at
				}
				return 2, sendDone
			})
		})
		for i := range many {
			q.add(announcement{vip: &vip{addr: numbered(i)}, rounds: burstRounds})
		}
		time.Sleep(burstInterval + 100*time.Millisecond) // the repetitions have begun and take a while
		q.add(announcement{vip: &vip{addr: vip1}, rounds: 1})
		time.Sleep(20 * time.Second)
		cancel()
		done.Wait()
		if last > time.Second || first < burstInterval {
			t.Errorf("first round ended after %v, second began after %v", last, first)
		}
		if wait := newcomer - burstInterval - 100*time.Millisecond; wait > 2*paceInterval {
			t.Errorf("a new VIP waited %v", wait)
		}
	})
}

func TestStalledAnnouncementsAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newBurstQueue()
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		var sent []time.Duration
		var done sync.WaitGroup
		done.Go(func() {
			q.run(ctx, func(n announcement) (int, sendResult) {
				if time.Since(began) < 500*time.Millisecond {
					return 0, sendLater
				}
				sent = append(sent, time.Since(began))
				return 2, sendDone
			})
		})
		q.add(announcement{vip: &vip{addr: vip1}, rounds: 2})
		time.Sleep(5 * time.Second)
		cancel()
		done.Wait()
		if len(sent) != 2 || sent[0] > 600*time.Millisecond || sent[1]-sent[0] != burstInterval {
			t.Errorf("sent at %v", sent)
		}
	})
}

func TestAnnounceTwiceIsOneBurst(t *testing.T) {
	a, err := New(logger(t), Config{})
	must(t, err)
	a.Announce(vip1, []string{"b", "a", "a"})
	a.Announce(vip1, []string{"a", "b"})
	if n := len(a.bursts.now); n != 1 {
		t.Errorf("%d bursts", n)
	}
	for _, addr := range []netip.Addr{{}, netip.IPv4Unspecified(), ipv4Broadcast, netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("::1")} {
		a.Announce(addr, nil)
		a.Withdraw(addr)
	}
	if n := len(a.bursts.now); n != 1 {
		t.Errorf("%d bursts with what cannot be announced", n)
	}
}
