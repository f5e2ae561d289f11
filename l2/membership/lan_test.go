// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2/ktesting"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

// The LAN of these tests is a bridge in a network namespace of their own, and each host a further namespace, with one or more
// wires to the bridge.
func TestMain(m *testing.M) { lantest.Main(m) }

// lan is a bridge.
type lan struct{ bridge netlink.Link }

func newLAN(t *testing.T) *lan {
	t.Helper()
	lantest.Need(t)
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}))
	bridge, err := netlink.LinkByName("lan")
	must(t, err)
	t.Cleanup(func() { must(t, netlink.LinkDel(bridge)) })
	must(t, netlink.LinkSetUp(bridge))
	return &lan{bridge: bridge}
}

// host is a host with wires to the LAN.
type host struct {
	*lantest.Host
	t      *testing.T
	number int
	noIPv6 bool
}

func newHost(t *testing.T, number int) *host {
	t.Helper()
	h := &host{Host: lantest.NewHost(t), t: t, number: number}
	h.sysctl("net/ipv6/conf/default/accept_dad", "0") // tests need not wait for it
	return h
}

func (h *host) sysctl(name, value string) {
	h.t.Helper()
	must(h.t, h.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) }))
}

// do runs f in the host's namespace; sockets that f opens stay there.
func (h *host) do(f func()) {
	h.t.Helper()
	must(h.t, h.Do(func() error { f(); return nil }))
}

// plug joins the host to the LAN by an interface with the addresses given, and returns that.
func (h *host) plug(l *lan, name string, addresses ...string) Interface {
	h.t.Helper()
	port, link := h.Wire(h.t, fmt.Sprintf("%s-%d", name, h.number), name)
	must(h.t, netlink.LinkSetMaster(port, l.bridge))
	on := Interface{Name: name, Index: link.Attrs().Index}
	for _, text := range addresses {
		on.Addresses = append(on.Addresses, h.address(link, text))
	}
	must(h.t, h.Netlink.LinkSetUp(link))
	must(h.t, netlink.LinkSetUp(port))
	if h.noIPv6 {
		return on
	}
	eventually(h.t, "an IPv6 address that may be used", func() bool {
		list, err := h.Netlink.AddrList(link, netlink.FAMILY_V6)
		must(h.t, err)
		for _, addr := range list {
			if addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				return true
			}
		}
		return false
	})
	return on
}

// address adds an address to an interface of the host.
func (h *host) address(link netlink.Link, text string) netip.Prefix {
	h.t.Helper()
	addr, err := netlink.ParseAddr(text)
	must(h.t, err)
	must(h.t, h.Netlink.AddrAdd(link, addr))
	return netip.MustParsePrefix(text)
}

// listen opens a socket of another program on the host.
func (h *host) listen(ip net.IP, port int) *net.UDPConn {
	h.t.Helper()
	var conn *net.UDPConn
	var err error
	h.do(func() { conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: ip, Port: port}) })
	must(h.t, err)
	return conn
}

// port is the LAN's end of a host's wire.
func (h *host) port(name string) netlink.Link {
	h.t.Helper()
	link, err := netlink.LinkByName(fmt.Sprintf("%s-%d", name, h.number))
	must(h.t, err)
	return link
}

// start runs a Transport on the host until the test ends.
func (h *host) start(on ...Interface) *Transport {
	h.t.Helper()
	_, ctx := ktesting.NewTestContext(h.t)
	transport := NewTransport(ctx, TransportConfig{})
	h.do(func() { transport.SetInterfaces(on) })
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go h.do(func() {
		defer close(ended)
		if err := transport.Run(running); err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(func() {
		stop()
		<-ended
	})
	return transport
}

// heartbeatOf is something that looks like a heartbeat and tells who sent it.
func heartbeatOf(who string) []byte {
	return append(append([]byte("L2HB"), make([]byte, headerLength+signatureLength)...), who...)
}

// hears collects what a Transport receives until it has heard all that is wanted, as "who family interface".
func hears(t *testing.T, transport *Transport, wanted ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, each := range wanted {
		missing[each] = true
	}
	timeout := time.After(10 * time.Second)
	for len(missing) > 0 {
		select {
		case datagram := <-transport.Datagrams():
			got := describe(datagram)
			if !missing[got] {
				t.Fatalf("heard %q, wanted one of %v", got, missing)
			}
			delete(missing, got)
		case <-timeout:
			t.Fatalf("not heard: %v", missing)
		}
	}
}

func describe(datagram Datagram) string {
	family := "IPv6"
	if datagram.From.Addr().Unmap().Is4() {
		family = "IPv4"
	}
	return string(datagram.Data[headerLength+signatureLength+4:]) + " " + family + " " + datagram.Interface
}

// next is what a Transport receives next.
func next(t *testing.T, transport *Transport) Datagram {
	t.Helper()
	select {
	case datagram := <-transport.Datagrams():
		return datagram
	case <-time.After(10 * time.Second):
		t.Fatal("nothing more was heard")
		return Datagram{}
	}
}

func hearsNothing(t *testing.T, transport *Transport, within time.Duration) {
	t.Helper()
	select {
	case datagram := <-transport.Datagrams():
		t.Fatalf("heard %q", describe(datagram))
	case <-time.After(within):
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(10 * time.Second)
	for !check() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dropped(t *testing.T, reason DropReason) float64 {
	t.Helper()
	count, err := testutil.GetCounterMetricValue(heartbeatsDropped.WithLabelValues(string(reason)))
	must(t, err)
	return count
}
