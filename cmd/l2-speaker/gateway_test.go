// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestGatewayIsTheNextHopOfTheBestDefaultRoute(t *testing.T) {
	ip := net.ParseIP
	hop := func(gateway string, flags int) *netlink.NexthopInfo {
		return &netlink.NexthopInfo{Gw: ip(gateway), Flags: flags}
	}
	_, lan, _ := net.ParseCIDR("192.168.1.0/24")
	for name, test := range map[string]struct {
		routes []netlink.Route
		want   string
	}{
		"none":                            {nil, ""},
		"no default route":                {[]netlink.Route{{Dst: lan, Gw: ip("192.168.1.1")}}, ""},
		"on the link":                     {[]netlink.Route{{LinkIndex: 2}}, ""},
		"lowest metric":                   {[]netlink.Route{{Gw: ip("192.168.1.1"), Priority: 200}, {Gw: ip("192.168.1.2"), Priority: 100}, {Gw: ip("192.168.1.3"), Priority: 100}}, "192.168.1.2"},
		"lowest metric without a gateway": {[]netlink.Route{{LinkIndex: 2}, {Gw: ip("192.168.1.1"), Priority: 100}}, "192.168.1.1"},
		"several paths":                   {[]netlink.Route{{MultiPath: []*netlink.NexthopInfo{hop("192.168.1.1", 0), hop("192.168.1.2", 0)}}}, "192.168.1.1"},
		"one path is down":                {[]netlink.Route{{MultiPath: []*netlink.NexthopInfo{hop("192.168.1.1", unix.RTNH_F_LINKDOWN), hop("192.168.1.2", 0)}}}, "192.168.1.2"},
		"all paths are down":              {[]netlink.Route{{MultiPath: []*netlink.NexthopInfo{{LinkIndex: 2}, hop("192.168.1.1", unix.RTNH_F_DEAD), hop("192.168.1.2", unix.RTNH_F_DEAD)}}}, "192.168.1.1"},
		"IPv6":                            {[]netlink.Route{{Gw: ip("fe80::1")}}, "fe80::1"},
		"IPv4 by way of IPv6":             {[]netlink.Route{{Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: ip("fe80::1")}}}, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			var want netip.Addr
			if test.want != "" {
				want = netip.MustParseAddr(test.want)
			}
			if got := gatewayOf(test.routes); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// The gateway is followed through every kind of route, and also after the kernel has ended a subscription that was not read.
func TestGatewayIsFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	reports := make(chan netip.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	made := make(chan error, 1)
	var ns netns.NsHandle
	go func() { // on a thread of its own, which ends with it
		runtime.LockOSThread()
		defer close(ended)
		var err error
		ns, err = netns.New()
		made <- err
		if err != nil {
			return
		}
		watchGateway(ctx, func(gateway netip.Addr) {
			select {
			case reports <- gateway:
			case <-ctx.Done():
			}
		})
	}()
	if err := <-made; err != nil {
		cancel()
		t.Skipf("needs a network namespace: %v", err)
	}
	defer ns.Close()
	defer func() {
		cancel()
		<-ended
	}()
	expect := func(want netip.Addr) {
		t.Helper()
		deadline := time.After(gatewayResync / 2)
		for {
			select {
			case got := <-reports:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("%v was not reported in time", want)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(netip.Addr{})

	h, err := netlink.NewHandleAt(ns)
	must(err)
	defer h.Close()
	must(h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "lan1"}))
	lan0, err := h.LinkByName("lan0")
	must(err)
	lan1, err := h.LinkByName("lan1")
	must(err)
	must(h.LinkSetUp(lan1))
	must(h.LinkSetUp(lan0))
	for _, text := range []string{"192.168.1.11/24", "fd00:1::11/64"} {
		address, err := netlink.ParseAddr(text)
		must(err)
		address.Flags = unix.IFA_F_NODAD
		must(h.AddrAdd(lan0, address))
	}
	index := lan0.Attrs().Index
	ipv6 := &netlink.Route{LinkIndex: index, Gw: net.ParseIP("fe80::1")}
	must(h.RouteAdd(ipv6))
	expect(netip.MustParseAddr("fe80::1"))
	paths := &netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: index, Gw: net.IPv4(192, 168, 1, 1)}, {LinkIndex: index, Gw: net.IPv4(192, 168, 1, 2)},
	}}
	must(h.RouteAdd(paths))
	expect(netip.MustParseAddr("192.168.1.1"))

	// While nobody reads the reports, there is more news than the kernel keeps.
	replaced := &netlink.Route{LinkIndex: index, Gw: net.IPv4(192, 168, 1, 3)}
	must(h.RouteReplace(replaced))
	for i := range 5000 {
		must(h.RouteReplace(&netlink.Route{
			LinkIndex: index, Dst: &net.IPNet{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(24, 32)}, Gw: net.IPv4(192, 168, 1, byte(1+i%2)),
		}))
	}
	expect(netip.MustParseAddr("192.168.1.3"))
	for range 2 { // the second is noticed only by who has subscribed again
		must(h.RouteReplace(&netlink.Route{LinkIndex: index, Gw: net.IPv4(192, 168, 1, 4)}))
		expect(netip.MustParseAddr("192.168.1.4"))
		must(h.RouteReplace(replaced))
		expect(netip.MustParseAddr("192.168.1.3"))
	}
	must(h.RouteDel(replaced))
	expect(netip.MustParseAddr("fe80::1"))
	must(h.RouteDel(ipv6))
	expect(netip.Addr{})
}
