// SPDX-License-Identifier: Apache-2.0

package arpscan

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The kernels of two hosts own one address, as two nodes would that both answer for a VIP.
func TestScanSeesEveryHostThatAnswers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	target := "192.168.1.240/24"
	macs := lan(t, target)

	answers, err := Scan(t.Context(), Config{
		Interface: "br0", Target: netip.MustParsePrefix(target).Addr(), Requests: 2, Every: 50 * time.Millisecond, Window: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range answers {
		if a.Replies != 2 {
			t.Errorf("%s replied %d times to 2 requests", a.MAC, a.Replies)
		}
		got = append(got, a.MAC)
	}
	if diff := cmp.Diff(macs, got); diff != "" {
		t.Errorf("who answered (-want +got)\n%s", diff)
	}

	nobody, err := Scan(t.Context(), Config{Interface: "br0", Target: netip.MustParseAddr("192.168.1.241"), Requests: 1, Window: 50 * time.Millisecond})
	if err != nil || len(nobody) != 0 {
		t.Errorf("an address nobody has: answers %v, error %v, want neither", nobody, err)
	}
}

// lan moves the calling goroutine into a namespace with a bridge, and hangs two hosts with the given address on it. It
// returns their MACs in order. Everything vanishes with the test.
func lan(t *testing.T, address string) []string {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and with it the namespace
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	here, err := netns.New()
	must(err)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(netlink.LinkAdd(bridge))
	addr, err := netlink.ParseAddr("192.168.1.20/24")
	must(err)
	must(netlink.AddrAdd(bridge, addr))
	must(netlink.LinkSetUp(bridge))

	var macs []string
	for _, port := range []string{"host-1", "host-2"} {
		host, err := netns.New()
		must(err)
		t.Cleanup(func() { host.Close() })
		must(netns.Set(here))
		must(netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(host)),
		}))
		link, err := netlink.LinkByName(port)
		must(err)
		must(netlink.LinkSetUp(link))

		must(netns.Set(host))
		eth0, err := net.InterfaceByName("eth0")
		must(err)
		peer, err := netlink.LinkByName("eth0")
		must(err)
		vip, err := netlink.ParseAddr(address)
		must(err)
		must(netlink.AddrAdd(peer, vip))
		must(netlink.LinkSetUp(peer))
		macs = append(macs, eth0.HardwareAddr.String())
		must(netns.Set(here))
	}
	slices.Sort(macs)
	return macs
}
