// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"cmp"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

var replies = flag.Bool("replies", false, "measure replies beside the kernel's (make bench-arp)")

// switched is a LAN of a node, a client and a stranger with a switch in between, each in a namespace of its own. The node is
// here, and the stranger has no address.
func switched(t testing.TB) (client, stranger *host) {
	t.Helper()
	bridge := newHost(t)
	br0 := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, bridge.netlink.LinkAdd(br0))
	must(t, bridge.netlink.LinkSetUp(br0))
	bridge.plugInto(t, br0, "lan0")
	connect := func(name string) *host {
		h := newHost(t)
		must(t, bridge.netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: br0.Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(h.ns),
		}))
		port, err := bridge.netlink.LinkByName(name)
		must(t, err)
		must(t, bridge.netlink.LinkSetUp(port))
		eth0, err := h.netlink.LinkByName("eth0")
		must(t, err)
		must(t, h.netlink.LinkSetUp(eth0))
		return h
	}
	client, stranger = connect("client"), connect("stranger")

	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	must(t, netlink.AddrAdd(lan0, &netlink.Addr{IPNet: ipNet(nodeIP, 24)}))
	must(t, netlink.AddrAdd(lan0, &netlink.Addr{IPNet: ipNet(nodeIP6, 64), Flags: unix.IFA_F_NODAD}))
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(clientIP, 24)}))
	must(t, client.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(clientIP6, 64), Flags: unix.IFA_F_NODAD}))
	return client, stranger
}

// steer has the packets that come in on an interface handled by one processor, whoever sent them (RPS). Else the
// kernel takes a packet through veths and bridges, up to its own answer, within the sender's system call.
func steer(t testing.TB, ns netns.NsHandle, name string, processor int) {
	t.Helper()
	sys := t.TempDir()
	var err error
	lantest.OnThread(func() {
		if err = netns.Set(ns); err != nil {
			return
		}
		// /sys shows the interfaces of the namespace in which it was mounted.
		if err = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		if err = unix.Mount("sysfs", sys, "sysfs", 0, ""); err != nil {
			return
		}
		err = os.WriteFile(filepath.Join(sys, "class/net", name, "queues/rx-0/rps_cpus"), fmt.Appendf(nil, "%x", 1<<processor), 0)
	})
	must(t, err)
}

// result is of several rounds: the medians.
type result struct{ p50, p99, perSecond, allocs float64 }

const (
	repliesRounds = 3
	oneAtATime    = 5000
	manyAtATime   = 20000
	atATime       = 32
)

// round asks the client's questions for one address, one at a time for the latency and then many for the rate.
func (h *host) round(t testing.TB, from, target netip.Addr) result {
	t.Helper()
	one := h.measure(t, asking{From: from, Target: target, InFlight: 1, Questions: oneAtATime})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	many := h.measure(t, asking{From: from, Target: target, InFlight: atATime, Questions: manyAtATime})
	runtime.ReadMemStats(&after)
	if lost := one.Lost + many.Lost; lost > 0 {
		t.Logf("%v: %d questions were not answered in time", target, lost)
	}
	return result{one.P50, one.P99, many.PerSecond, float64(after.Mallocs-before.Mallocs) / manyAtATime}
}

func medians(rounds []result) result {
	middle := func(of func(result) float64) float64 {
		slices.SortFunc(rounds, func(x, y result) int { return cmp.Compare(of(x), of(y)) })
		return of(rounds[len(rounds)/2])
	}
	return result{
		middle(func(r result) float64 { return r.p50 }), middle(func(r result) float64 { return r.p99 }),
		middle(func(r result) float64 { return r.perSecond }), middle(func(r result) float64 { return r.allocs }),
	}
}

// allocations a packet that are noise: those of the process that asks being started, and of the runtime.
const noAllocation = 0.05

// TestRepliesBesideTheKernel measures what a client sees of the node's kernel answering for an address of its own, and of the
// announcer answering for VIPs, in turn, in the same run. It prints a table, and one of what is left of that under a flood.
//
// Within one call: the kernel's answer is ready when the client's system call to ask returns, so no other process can
// keep up with it, whatever it does: two switches between processes are in the way. Between processors: client and node are interrupted
// by what they receive, as hosts on a real LAN are.
func TestRepliesBesideTheKernel(t *testing.T) {
	if !*replies {
		t.Skip("a measurement: make bench-arp")
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "protocol\tdelivery\tVIPs\tp50 µs\tkernel's\tratio\tp99 µs\tkernel's\treplies/s\tkernel's\tratio\tallocations\t")
	for _, protocol := range []struct {
		name       string
		from, node netip.Addr
		number     func(int) netip.Addr
	}{
		{protocolARP, clientIP, nodeIP, numbered},
		{protocolNDP, clientIP6, nodeIP6, numbered6},
	} {
		for _, delivery := range []string{"within one call", "between processors"} {
			t.Run(protocol.name+" "+delivery, func(t *testing.T) {
				client, _ := switched(t)
				if delivery == "between processors" {
					if runtime.NumCPU() < 2 {
						t.Skip("needs two processors")
					}
					here, err := netns.Get()
					must(t, err)
					defer here.Close()
					steer(t, here, "lan0", 1)
					steer(t, client.ns, "eth0", 0)
				}
				m, _ := newTestMetrics(t)
				a := start(t, Config{Metrics: m}, "lan0")
				announced := 0
				for _, vips := range vipCounts {
					for ; announced < vips; announced++ {
						a.Announce(protocol.number(announced), nil)
					}
					awaitBursts(t, a)
					var kernels, ours []result
					for range repliesRounds {
						kernels = append(kernels, client.round(t, protocol.from, protocol.node))
						ours = append(ours, client.round(t, protocol.from, protocol.number(vips/2)))
					}
					k, o := medians(kernels), medians(ours)
					fmt.Fprintf(out, "%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t\n", protocol.name, delivery, vips,
						o.p50, k.p50, o.p50/k.p50, o.p99, k.p99, o.perSecond, k.perSecond, o.perSecond/k.perSecond, o.allocs)
					if o.allocs > noAllocation {
						t.Errorf("%.3f allocations a packet", o.allocs)
					}
				}
			})
		}
	}
	must(t, out.Flush())
	fmt.Fprintln(out, "protocol\tbogus packets/s\tanswered at the first asking\tp50 µs\tp99 µs\tallocations\t")
	for _, flood := range floods {
		t.Run(flood.protocol+" under a flood", func(t *testing.T) {
			r := flood.run(t)
			fmt.Fprintf(out, "%s\t%.0f\t%.2f%%\t%.0f\t%.0f\t%.2f\t\n", flood.protocol, r.perSecond, 100*r.share, r.P50, r.P99, r.allocs)
		})
	}
	must(t, out.Flush())
}

// The whole way from the wire and back, not only the part that TestAnswerAllocatesNothing sees.
func TestRepliesOnAWireAllocateNothing(t *testing.T) {
	client := newLAN6(t)
	m, _ := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(vip1, nil)
	a.Announce(vip6, nil)
	awaitBursts(t, a)
	for from, vip := range map[netip.Addr]netip.Addr{clientIP: vip1, clientIP6: vip6} {
		if r := client.round(t, from, vip); r.allocs > noAllocation {
			t.Errorf("%v: %.3f allocations a reply", vip, r.allocs)
		}
	}
}
