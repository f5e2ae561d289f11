// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"golang.org/x/sys/unix"
	"k8s.io/component-base/metrics/testutil"
)

// A frame of a VLAN that has no interface here is somebody else's network. The kernel hands it to packet sockets all the same.
func TestFramesOfOtherVLANsAreNotAnswered(t *testing.T) {
	client := newLAN(t)
	ear := client.listen(t)
	a := start(t, Config{}, "lan0")
	a.Announce(vip1, nil)
	request, err := arpFrame(arp.OperationRequest, MAC(ear.mac), clientIP, MAC{}, vip1)
	must(t, err)
	tagged := append(append(append([]byte{}, request[:12]...), 0x81, 0x00, 0x00, 42), request[12:]...)
	client.sendRaw(t, tagged)
	ofVIP := func(p *arp.Packet) bool { return p.SenderIP == vip1 && p.TargetIP == clientIP }
	if ear.hear(200*time.Millisecond, ofVIP) != nil {
		t.Fatal("answered a frame of VLAN 42")
	}
	client.sendRaw(t, request)
	if ear.hear(5*time.Second, ofVIP) == nil {
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

// A flood of questions for other addresses, of malformed packets and of claims to the VIP does not keep clients from
// their answers.
func TestAnswersGoOnUnderAFlood(t *testing.T) {
	client := newLAN(t)
	m, registry := newTestMetrics(t)
	a := start(t, Config{Metrics: m}, "lan0")
	a.Announce(vip1, nil)
	eth0, err := client.netlink.LinkByName("eth0")
	must(t, err)
	mac := MAC(eth0.Attrs().HardwareAddr)

	other, err := arpFrame(arp.OperationRequest, mac, clientIP, MAC{}, vip2)
	must(t, err)
	claim, err := arpFrame(arp.OperationReply, mac, vip1, MAC{}, vip1)
	must(t, err)
	bogus := [][]byte{other, claim, put(append([]byte{}, other...), arpFixed, 9), other[:30], append(append([]byte{}, other...), make([]byte, 1000)...)}
	var batch [][]byte
	for range 200 {
		batch = append(batch, bogus...)
	}
	stop := make(chan struct{})
	var flood sync.WaitGroup
	sent := 0
	began := time.Now()
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				client.sendRaw(t, batch...)
				sent += len(batch)
			}
		}
	})
	ear := client.listen(t)
	answered := 0
	const asked = 200
	for range asked {
		if _, ok := ear.ask(clientIP, vip1, 100*time.Millisecond); ok {
			answered++
		}
	}
	took := time.Since(began)
	close(stop)
	flood.Wait()
	t.Logf("%d of %d answered beside %.0f bogus packets a second", answered, asked, float64(sent)/took.Seconds())
	if answered < asked/2 {
		t.Errorf("%d of %d questions answered", answered, asked)
	}
	drainSightings(a) // at most as many as are passed on
	drops, err := testutil.GetCounterValuesFromGatherer(registry, "cloud_provider_l2_dropped_packets_total",
		map[string]string{"protocol": "arp"}, "reason")
	must(t, err)
	for _, reason := range []DropReason{NotAnnounced, HardwareType, RateLimited, Oversized} {
		if drops[reason.String()] == 0 {
			t.Errorf("nothing was counted as %v: %v", reason, drops)
		}
	}
	eventually(t, "answers after the flood", func() bool { _, ok := ear.ask(clientIP, vip1, time.Second); return ok })
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
	inThread(func() {
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
	if ear.hear(5*time.Second, announcementOf(vip1)) == nil {
		t.Fatal("no announcement")
	}
	if _, ok := ear.ask(clientIP, vip1, 5*time.Second); !ok {
		t.Fatal("no answer")
	}
	if ear6.hear(5*time.Second, advertises(vip6)) == nil {
		t.Fatal("no advertisement")
	}
	if ear6.ask(clientIP6, vip6, 5*time.Second) == nil {
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
	<-time.After(2 * narrowDelay)
	ear.say(arp.OperationRequest, numbered(1), numbered(1))
	if s := nextSighting(t, a); s.Addr != numbered(1) {
		t.Errorf("heard %+v", s)
	}
	a.Unwatch(numbered(0)) // now they fit, unless the kernel's memory for filters is small
	<-time.After(2 * narrowDelay)
	ear.say(arp.OperationRequest, numbered(2), numbered(2))
	if s := nextSighting(t, a); s.Addr != numbered(2) {
		t.Errorf("heard %+v", s)
	}
}

// When Run has ended nothing of it is left.
func TestRunLeavesNothingBehind(t *testing.T) {
	newLAN(t)
	before := runtime.NumGoroutine()
	t.Run("announcer", func(t *testing.T) {
		a := start(t, Config{}, "lan0")
		a.Announce(vip1, nil)
	})
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
}
