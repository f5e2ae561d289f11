// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
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

// BenchmarkReply is what a client on the wire sees: the kernel of the node answering for its own address, and the announcer
// answering for VIPs, in the same run. One question at a time gives the latency, 32 at a time the rate.
func BenchmarkReply(b *testing.B) {
	client := newLAN(b)
	client.benchmarkReplies(b, clientIP, nodeIP, numbered)
}

func BenchmarkNDPReply(b *testing.B) {
	client := newLAN6(b)
	client.benchmarkReplies(b, clientIP6, nodeIP6, numbered6)
}

func (h *host) benchmarkReplies(b *testing.B, from, node netip.Addr, number func(i int) netip.Addr) {
	run := func(name string, target netip.Addr) {
		for _, inFlight := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/inflight=%d", name, inFlight), func(b *testing.B) { h.benchmark(b, from, target, inFlight) })
		}
	}
	run("kernel", node)
	m, _ := newTestMetrics(b)
	a := start(b, Config{Metrics: m}, "lan0")
	announced := 0
	for _, n := range vipCounts {
		for ; announced < n; announced++ {
			a.Announce(number(announced), nil)
		}
		eventually(b, "the bursts are over", func() bool {
			a.bursts.mu.Lock()
			defer a.bursts.mu.Unlock()
			return len(a.bursts.now)+len(a.bursts.again) == 0
		})
		run(fmt.Sprintf("vips=%d", n), number(n/2))
	}
}

func (h *host) benchmark(b *testing.B, from, target netip.Addr, inFlight int) {
	eth0, err := h.netlink.LinkByName("eth0")
	must(b, err)
	mac := MAC(eth0.Attrs().HardwareAddr)
	request, err := protocolFor(target).ask(mac, from, target)
	must(b, err)
	latencies := make([]time.Duration, 0, 1<<20)
	b.ResetTimer()
	h.do(b, func() error {
		fd, err := answersOnly(eth0, target)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		buffer := make([]byte, 128)
		waiting := 0
		for i := 0; i < b.N; {
			began := time.Now()
			for waiting < inFlight {
				if _, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, request) }); err != nil {
					return err
				}
				waiting++
			}
			_, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buffer) })
			if err == unix.EAGAIN { // lost
				waiting = 0
				continue
			}
			if err != nil {
				return err
			}
			waiting--
			i++
			if len(latencies) < cap(latencies) {
				latencies = append(latencies, time.Since(began))
			}
		}
		return nil
	})
	b.StopTimer()
	slices.Sort(latencies)
	if inFlight == 1 {
		b.ReportMetric(float64(latencies[len(latencies)/2])/1e3, "µs-p50")
		b.ReportMetric(float64(latencies[len(latencies)*99/100])/1e3, "µs-p99")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "replies/s")
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// answersOnly is a blocking packet socket that gets the replies for target.
func answersOnly(link netlink.Link, target netip.Addr) (int, error) {
	proto := protocolFor(target)
	filter, err := bpf.Assemble(proto.claimFilter([]netip.Addr{target}))
	if err != nil {
		return 0, err
	}
	program := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
		return 0, err
	}
	etherType := bits.ReverseBytes16(uint16(proto.etherType())) // in the order of the network, on the hosts this runs on
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherType, Ifindex: link.Attrs().Index})
}
