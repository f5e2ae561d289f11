// SPDX-License-Identifier: Apache-2.0

package lantest

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { Main(m) }

// What one end of a wire sends the other receives; the host's interface is not seen here.
func TestWire(t *testing.T) {
	host := NewHost(t)
	ours, theirs := host.Wire(t, "eth0", "eth7")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	address := func(text string) *netlink.Addr {
		addr, err := netlink.ParseAddr(text)
		must(err)
		return addr
	}
	must(netlink.AddrAdd(ours, address("192.168.1.1/24")))
	must(netlink.LinkSetUp(ours))
	must(host.Netlink.AddrAdd(theirs, address("192.168.1.2/24")))
	must(host.Netlink.LinkSetUp(theirs))
	var there net.PacketConn
	must(host.Do(func() (err error) {
		there, err = net.ListenPacket("udp4", "192.168.1.2:0")
		return err
	}))
	defer there.Close()
	here, err := net.Dial("udp4", there.LocalAddr().String())
	must(err)
	defer here.Close()
	_, err = here.Write([]byte("hello"))
	must(err)
	must(there.SetReadDeadline(time.Now().Add(10 * time.Second)))
	buffer := make([]byte, 10)
	n, from, err := there.ReadFrom(buffer)
	must(err)
	if got := string(buffer[:n]); got != "hello" || from.String() != here.LocalAddr().String() {
		t.Errorf("%q from %v", got, from)
	}
	if _, err := net.InterfaceByName("eth7"); err == nil {
		t.Error("the host's interface is here")
	}
}
