// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/internal/lantest"
)

func TestMain(m *testing.M) { lantest.Main(m) }

// neighbour joins a host with addresses of its own, whose kernel answers for them, and returns its MAC.
func neighbour(t *testing.T, here string, own []string, theirs ...string) string {
	t.Helper()
	host := lantest.NewHost(t)
	ours, other := host.Wire(t, here, "eth0")
	address := func(link netlink.Link, add func(netlink.Link, *netlink.Addr) error, text string) {
		t.Helper()
		parsed, err := netlink.ParseAddr(text)
		if err == nil {
			parsed.Flags = 0x02 // nodad: in use at once
			err = add(link, parsed)
		}
		if err != nil {
			t.Fatalf("address %s: %v", text, err)
		}
	}
	for _, text := range own {
		address(ours, netlink.AddrAdd, text)
	}
	for _, text := range theirs {
		address(other, host.Netlink.AddrAdd, text)
	}
	for _, err := range []error{netlink.LinkSetUp(ours), host.Netlink.LinkSetUp(other)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The kernel notices the carrier in its own time.
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(here)
		if err != nil {
			t.Fatal(err)
		}
		if link.Attrs().RawFlags&unix.IFF_RUNNING != 0 && link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("interface %s does not run: %+v", here, link.Attrs())
		}
	}
	return other.Attrs().HardwareAddr.String()
}

// bindByIPVS gives this node an address as kube-proxy in IPVS mode gives it every VIP: on an interface that is up and does no ARP. That is a
// dummy interface, which not every kernel makes; a veth without ARP is one to whoever looks at the flags.
func bindByIPVS(t *testing.T, address string) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}, PeerName: "peer-ipvs0"}
	parsed, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.LinkAdd(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	peer, err := netlink.LinkByName(link.PeerName)
	for _, err := range []error{err, netlink.LinkSetARPOff(link), netlink.LinkSetARPOff(peer), netlink.AddrAdd(link, parsed), netlink.LinkSetUp(link), netlink.LinkSetUp(peer)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoAnswersOnTheLAN(t *testing.T) {
	lantest.Need(t)
	mac0 := neighbour(t, "lan0", []string{"192.168.7.1/24"}, "192.168.7.2/24", "192.168.7.3/24", "fd00:7::2/64", "192.168.7.9/24", "192.168.7.10/24")
	mac1 := neighbour(t, "lan1", nil, "192.168.7.9/24", "192.168.7.10/24")
	bindByIPVS(t, "192.168.7.250/32")
	speaker := inspect.Status{
		Node: "node-1", ExcludeInterfaces: "^lo$", // kube-ipvs0 is left out by what it is, not only by its name
		Speakers: []inspect.Speaker{{Node: "node-2", MACs: []string{mac0}}},
		VIPs: []inspect.VIP{
			{Address: netip.MustParseAddr("192.168.7.240"), State: inspect.Announcing},
			{Address: netip.MustParseAddr("192.168.7.241"), State: inspect.InConflict},
		},
	}
	tests := []struct {
		name, address string
		interfaces    []string
		unknown       error
		own           string
		answers       []inspect.Answer
	}{
		{name: "a speaker, IPv4", address: "192.168.7.2", answers: []inspect.Answer{{MAC: mac0, Interface: "lan0", Node: "node-2"}}},
		{name: "a speaker, IPv6", address: "fd00:7::2", answers: []inspect.Answer{{MAC: mac0, Interface: "lan0", Node: "node-2"}}},
		{name: "two hosts, one of them a stranger", address: "192.168.7.9", answers: []inspect.Answer{
			{MAC: mac0, Interface: "lan0", Node: "node-2"}, {MAC: mac1, Interface: "lan1"},
		}},
		{name: "on one interface only", address: "192.168.7.10", interfaces: []string{"lan1"}, answers: []inspect.Answer{{MAC: mac1, Interface: "lan1"}}},
		{name: "nobody", address: "192.168.7.77"},
		{name: "this node itself", address: "192.168.7.1", own: inspect.OwnConfigured},
		{name: "this node's speaker", address: "192.168.7.240", own: inspect.OwnAnnounced},
		{name: "a VIP that kube-proxy in IPVS mode gave this node", address: "192.168.7.250"},
		{name: "a VIP that its speaker does not answer for", address: "192.168.7.241"},
		{name: "no speaker can be asked", address: "192.168.7.3", unknown: errors.New("it is gone"), answers: []inspect.Answer{{MAC: mac0, Interface: "lan0"}}},
	}
	// All at once, each with an announcer of its own: an answer goes to all that ask for that address.
	reports, errs := make([]inspect.Probe, len(tests)), make([]error, len(tests))
	var asking sync.WaitGroup
	for i, test := range tests {
		options := Options{Speaker: speaker, Interfaces: test.interfaces, Timeout: 3 * time.Second} // late is who hears on a busy machine
		if test.unknown != nil {
			options.Speaker, options.Unknown = inspect.Status{}, test.unknown
		}
		asking.Go(func() { reports[i], errs[i] = Run(t.Context(), netip.MustParseAddr(test.address), options) })
	}
	asking.Wait()
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report, err := reports[i], errs[i]
			if err != nil {
				t.Fatal(err)
			}
			if test.unknown != nil && !strings.Contains(report.Incomplete, test.unknown.Error()) || test.unknown == nil && report.Incomplete != "" {
				t.Errorf("incomplete because %q", report.Incomplete)
			}
			for i, each := range report.Answers {
				if each.After < 0 {
					t.Errorf("answered after %v s", each.After)
				}
				report.Answers[i].After = 0
			}
			slices.SortFunc(report.Answers, func(a, b inspect.Answer) int { return strings.Compare(a.Interface, b.Interface) })
			if test.answers == nil {
				test.answers = []inspect.Answer{} // an empty list is a list, for readers of the JSON
			}
			if diff := cmp.Diff(test.answers, report.Answers); diff != "" {
				t.Errorf("answers -want +got:\n%s", diff)
			}
			if report.Own != test.own {
				t.Errorf("own %q, want %q", report.Own, test.own)
			}
			if test.interfaces == nil {
				test.interfaces = []string{"lan0", "lan1"}
			}
			if diff := cmp.Diff(test.interfaces, report.Interfaces); diff != "" {
				t.Errorf("interfaces -want +got:\n%s", diff)
			}
		})
	}
	_, err := Run(t.Context(), netip.MustParseAddr("192.168.7.2"), Options{Speaker: speaker, Interfaces: []string{"lan7"}, Timeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), `interface "lan7": those that the speaker may use and that are up are lan0, lan1`) {
		t.Errorf("an interface that is not there: %v", err)
	}
}

// Without an interface there is an error, and not a silence that means that nobody has the address.
func TestNoInterface(t *testing.T) {
	lantest.Need(t)
	_, err := Run(t.Context(), netip.MustParseAddr("192.168.7.2"), Options{Speaker: inspect.Status{ExcludeInterfaces: "."}, Timeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), "no interface that is up") {
		t.Errorf("error %v", err)
	}
}
