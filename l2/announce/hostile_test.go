// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

// A frame of a VLAN that has no interface here is somebody else's network. The kernel hands it to packet sockets all the same.
func TestFramesOfOtherVLANsAreNotAnswered(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	a.Announce(vip2, nil)
	question := func(target netip.Addr) []byte {
		frame, err := arpProtocol{}.ask(ear.mac, clientIP, target)
		must(t, err)
		return frame
	}
	frame := question(vip1)
	tagged := slices.Concat(frame[:etherTypeOffset], []byte{0x81, 0x00, 0x00, 42}, frame[etherTypeOffset:])
	client.sendRaw(t, tagged, question(vip2)) // one goroutine answers, in the order of the questions
	if p := ear.hear(soon, answers(clientIP, vip1, vip2)); p == nil || p.SenderIP != vip2 {
		t.Fatalf("the first answer: %+v, want one for %v", p, vip2)
	}
	client.sendRaw(t, frame)
	if ear.hear(soon, answers(clientIP, vip1)) == nil {
		t.Fatal("the same frame without a tag was not answered")
	}
}

// sendRaw sends frames from the host's eth0.
func (h *host) sendRaw(t testing.TB, frames ...[]byte) {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	h.do(t, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, frame := range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Attrs().Index}); err != nil && err != unix.ENOBUFS {
				return err
			}
		}
		return nil
	})
}

// flooding is a flood of packets that get no answer, beside questions for a VIP that do.
type flooding struct {
	protocol  string
	from, vip netip.Addr
	bogus     func(mac MAC) [][]byte
	reasons   []DropReason // for each of which some of them are dropped
}

var floods = []flooding{
	{protocolARP, clientIP, vip1, bogusARP, []DropReason{NotAnnounced, HardwareType, RateLimited, Oversized, SenderMAC, NotProbed}},
	{protocolNDP, clientIP6, vip6, bogusNDP, []DropReason{NotAnnounced, HopLimit, Malformed, RateLimited, NotProbed}},
}

const (
	floodPerSecond = 100000
	floodQuestions = 2000
	// Each question is asked once, a millisecond after the one before, whatever became of that.
	floodEvery = time.Millisecond
)

// underFlood is what came of questions under a flood.
type underFlood struct {
	asked
	perSecond float64 // bogus packets, as sent
	share     float64 // of the questions that were answered at their first asking
	allocs    float64 // a packet
}

// run floods a node, asks, and finds out whether what a flood must not do has been done.
func (f flooding) run(t *testing.T) (result underFlood) {
	t.Helper()
	client, stranger := switched(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(f.vip, nil)
	awaitBursts(t, a)
	goroutines := runtime.NumGoroutine()
	defer stranger.flood(t, floodPerSecond, f.bogus(stranger.mac(t))...)()
	sentBefore := stranger.sent(t)
	eventually(t, "the flood has begun", func() bool { return stranger.sent(t) > sentBefore+1000 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	sentBefore = stranger.sent(t)

	result.asked = client.measure(t, asking{From: f.from, Target: f.vip, Questions: floodQuestions, Every: floodEvery})

	flooded := float64(stranger.sent(t) - sentBefore)
	runtime.ReadMemStats(&after)
	result.perSecond = flooded / time.Since(began).Seconds()
	result.share = 1 - float64(result.Lost)/floodQuestions
	result.allocs = float64(after.Mallocs-before.Mallocs) / (flooded + floodQuestions)
	if result.allocs > noAllocation {
		t.Errorf("%.3f allocations a packet", result.allocs)
	}
	if now := runtime.NumGoroutine(); now > goroutines+2 {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	drainSightings(a) // at most as many as are passed on
	for _, reason := range f.reasons {
		if dropped(t, registry, f.protocol, reason) == 0 {
			t.Errorf("nothing was counted as %v", reason)
		}
	}
	return result
}

// Strangers send 100,000 packets a second that get no answer: questions for other addresses, malformed, truncated and oversized
// packets, claims to the VIP. Clients get their answers all the same, nearly all at the first asking, nothing is allocated for a packet,
// and each is counted by the reason. What this machine can send in fact is logged: on two processors the flood, the node and the client
// take turns, and what comes while the node waits for its turn, longer than its queue lasts, is lost.
func TestAnswersGoOnUnderAFlood(t *testing.T) {
	const (
		// least of the questions are answered at the first asking, also while other tests want all processors; `make bench-arp` tells what a
		// machine does that has nothing else to do.
		least = 0.5
		// aFlood is several bogus packets for each question, which such a machine still sends in a second.
		aFlood = 4000
	)
	for _, flood := range floods {
		t.Run(flood.protocol, func(t *testing.T) {
			result := flood.run(t)
			t.Logf("%.1f%% of %d questions were answered at the first asking, half of them within %.0f µs and 99%% within %.0f µs; beside %.0f bogus packets a second",
				100*result.share, floodQuestions, result.P50, result.P99, result.perSecond)
			if result.share < least {
				t.Errorf("%d of %d questions had no answer", result.Lost, floodQuestions)
			}
			if result.perSecond < aFlood {
				t.Errorf("%.0f bogus packets a second are no flood, want %d", result.perSecond, aFlood)
			}
		})
	}
}

// bogusARP are packets that an announcer of vip1 gives no answer to.
func bogusARP(mac MAC) [][]byte {
	build := func(operation arp.Operation, from, target netip.Addr) []byte {
		frame, err := arpFrame(operation, mac, from, MAC{}, target)
		if err != nil {
			panic(err) // constants
		}
		return frame
	}
	bogus := [][]byte{
		build(arp.OperationReply, vip1, vip1),
		build(arp.OperationRequest, netip.IPv4Unspecified(), vip1),
		put(build(arp.OperationRequest, clientIP, vip1), arpFixed, 9),
		put(build(arp.OperationRequest, clientIP, vip1), arpSenderMAC, 1),
		put(build(arp.OperationRequest, clientIP, vip1), arpSender, 127, 0, 0, 1),
		build(arp.OperationRequest, clientIP, vip1)[:30],
		build(7, clientIP, vip1),
		append(build(arp.OperationRequest, clientIP, vip1), make([]byte, 1000)...),
	}
	for i := range 56 {
		bogus = append(bogus, build(arp.OperationRequest, clientIP, numbered(i)))
	}
	return bogus
}

// bogusNDP are packets that an announcer of vip6 gives no answer to.
func bogusNDP(mac MAC) [][]byte {
	solicit := func(target netip.Addr) []byte {
		frame, err := ndpProtocol{}.ask(mac, clientIP6, target)
		if err != nil {
			panic(err) // constants
		}
		return frame
	}
	claims, err := ndpProtocol{}.announcements(mac, vip6)
	if err != nil {
		panic(err)
	}
	probe, err := ndpProtocol{}.probe(mac, vip6)
	if err != nil {
		panic(err)
	}
	bogus := [][]byte{
		claims[0],
		probe,
		put(solicit(vip6), ipv6HopLimit, 64),
		put(solicit(vip6), ndpChecksum, 0, 0),
		withOptions(solicit(vip6), 1, 0, 0, 0, 0, 0, 0, 0),
		solicit(vip6)[:70],
		append(solicit(vip6), make([]byte, 1000)...),
	}
	for i := range 57 {
		bogus = append(bogus, solicit(numbered6(i)))
	}
	return bogus
}

// sent is how many packets have left the host's eth0.
func (h *host) sent(t testing.TB) uint64 {
	t.Helper()
	eth0, err := h.netlink.LinkByName("eth0")
	must(t, err)
	return eth0.Attrs().Statistics.TxPackets
}

// The speaker's container has uid 0 and CAP_NET_RAW, and nothing else.
func TestNetRawIsEnough(t *testing.T) {
	const asSpeaker = "CLOUD_PROVIDER_L2_ANNOUNCE_TEST_AS_SPEAKER"
	if os.Getenv(asSpeaker) != "" {
		a := start(t, Config{}, "lan0")
		a.Announce(vip1, nil)
		a.Announce(vip6, nil)
		fmt.Println("announcing")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the other end is closed
		return
	}
	client := newLAN6(t)
	ear, ear6 := client.listen(t), client.listen6(t)
	self := exec.Command("/proc/self/exe", "-test.run=^TestNetRawIsEnough$")
	self.Env = append(os.Environ(), asSpeaker+"=1")
	stdin, err := self.StdinPipe()
	must(t, err)
	lantest.OnThread(func() {
		for capability := range unix.CAP_LAST_CAP + 1 {
			if capability != unix.CAP_NET_RAW {
				_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0)
			}
		}
		err = self.Start()
	})
	must(t, err)
	defer func() {
		stdin.Close()
		if err := self.Wait(); err != nil {
			t.Errorf("with CAP_NET_RAW only: %v", err)
		}
	}()
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", self.Process.Pid)); err == nil {
		if effective := regexp.MustCompile(`CapEff:\s*(\w+)`).FindSubmatch(status); len(effective) == 2 {
			t.Logf("effective capabilities: %s", effective[1])
		}
	}
	if ear.hear(soon, announcementOf(vip1)) == nil {
		t.Fatal("no announcement")
	}
	if _, ok := ear.ask(clientIP, vip1); !ok {
		t.Fatal("no answer")
	}
	if ear6.hear(soon, advertises(vip6)) == nil {
		t.Fatal("no advertisement")
	}
	if ear6.ask(clientIP6, vip6) == nil {
		t.Fatal("no answer over IPv6")
	}
	expectJoined(t, "lan0", vip6, true)
}

// With more VIPs than a filter holds, claims to them are found in user space.
func TestSightingsOfMoreVIPsThanAFilterHolds(t *testing.T) {
	ear := newLAN(t).listen(t)
	a := start(t, Config{}, "lan0")
	for i := range maxFilterValues + 1 {
		a.Watch(numbered(i))
	}
	a.narrowFilters() // as Run does in a moment
	ear.say(arp.OperationRequest, numbered(1), numbered(1))
	if s := nextSighting(t, a); s.Addr != numbered(1) {
		t.Errorf("heard %+v", s)
	}
	a.Unwatch(numbered(0)) // now they fit, unless the kernel's memory for filters is small
	a.narrowFilters()
	ear.say(arp.OperationRequest, numbered(2), numbered(2))
	if s := nextSighting(t, a); s.Addr != numbered(2) {
		t.Errorf("heard %+v", s)
	}
}

// When Run has ended nothing of it is left, and nothing of an interface that has gone meanwhile.
func TestRunLeavesNothingBehind(t *testing.T) {
	newLAN(t)
	other := newHost(t)
	descriptors := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(open)
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	t.Run("announcer", func(t *testing.T) {
		a := start(t, Config{}, "lan0")
		a.Announce(vip1, nil)
		a.Announce(vip6, nil)
		for range 3 {
			other.plug(t, "lan1")
			waitFor(t, a, "lan1", func() bool { return len(a.Interfaces()) == 2 })
			unplug("lan1")
			waitFor(t, a, "lan1 gone", func() bool { return len(a.Interfaces()) == 1 })
		}
	})
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "as many open files as before", func() bool { return descriptors() <= files })
}
