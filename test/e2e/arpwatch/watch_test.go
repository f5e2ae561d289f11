// SPDX-License-Identifier: Apache-2.0

package arpwatch

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A kernel that owns an address replies for it, and announces it when it is told to: both are recorded, and what is said of
// other addresses is not. The other target has no owner.
func TestRunRecordsRepliesAndAnnouncements(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	owned, free := netip.MustParseAddr("192.168.1.240"), netip.MustParseAddr("10.100.0.1")
	owner, announce := wire(t, owned)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	replies, announced := 0, false
	err := Run(ctx, Config{
		Interface: "eth0", Targets: []netip.Addr{owned, free}, Every: 20 * time.Millisecond,
		Record: func(a Answer) {
			if a.Target != owned || a.Host != owner {
				t.Errorf("%+v, want answers of %s for %s alone", a, owner, owned)
			}
			switch a.Kind {
			case Reply:
				if replies++; replies == 3 {
					announce(netip.MustParseAddr("192.168.1.99")) // nobody's target
					announce(owned)
				}
			case Announcement:
				announced = true
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if replies < 3 || !announced {
		t.Errorf("%d replies, announced %v; want three at least, and an announcement", replies, announced)
	}
}

// wire moves the calling goroutine into a namespace that a pair of veths joins to a host with the address. It returns that host's MAC and
// what makes it announce an address. Everything vanishes with the test.
func wire(t *testing.T, address netip.Addr) (mac string, announce func(netip.Addr)) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and with it the namespace
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	up := func(name, cidr string) {
		t.Helper()
		link, err := netlink.LinkByName(name)
		must(err)
		addr, err := netlink.ParseAddr(cidr)
		must(err)
		must(netlink.AddrAdd(link, addr))
		must(netlink.LinkSetUp(link))
	}
	here, err := netns.New()
	must(err)
	t.Cleanup(func() { here.Close() })
	host, err := netns.New()
	must(err)
	t.Cleanup(func() { host.Close() })
	must(netns.Set(here))
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(host))}))
	up("eth0", "192.168.1.20/24")
	must(netns.Set(host))
	up("eth0", address.String()+"/24")
	ifi, err := net.InterfaceByName("eth0")
	must(err)
	conn, err := packet.Listen(ifi, packet.Datagram, etherTypeARP, nil) // stays in the host's namespace
	must(err)
	t.Cleanup(func() { conn.Close() })
	must(netns.Set(here))
	return ifi.HardwareAddr.String(), func(addr netip.Addr) {
		p, err := arp.NewPacket(arp.OperationRequest, ifi.HardwareAddr, addr, broadcast, addr)
		if err != nil {
			t.Error(err)
			return
		}
		frame, err := p.MarshalBinary()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: broadcast}); err != nil {
			t.Error(err)
		}
	}
}
