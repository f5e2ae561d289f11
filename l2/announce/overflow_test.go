// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"k8s.io/klog/v2/ktesting"
)

// The kernel drops news of interfaces that nobody reads in time, and says so once (ENOBUFS). What was missed is found by
// listing: here a MAC that changed while nobody read, after more news than the queue holds.
func TestInterfacesAreListedAgainWhenNewsIsMissed(t *testing.T) {
	ear := newLAN(t).listen(t)
	logs := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	a, err := New(logs, Config{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	waitFor(t, a, "lan0 up", func() bool { return interfaceNamed(a, "lan0").Up })
	a.Announce(vip1, nil)

	lan0, err := netlink.LinkByName("lan0")
	must(t, err)
	want := MAC{2, 0, 0, 0, 0, 9}
	a.mu.Lock() // Run stops at its next look at the interfaces
	for mtu := range 2000 {
		must(t, netlink.LinkSetMTU(lan0, 1300+mtu%2))
	}
	must(t, netlink.LinkSetHardwareAddr(lan0, want[:]))
	a.mu.Unlock()

	waitFor(t, a, "the new MAC", func() bool { return interfaceNamed(a, "lan0").MAC == want })
	log := logs.GetSink().(ktesting.Underlier).GetBuffer()
	eventually(t, "the news broke off", func() bool { return strings.Contains(log.String(), "Interface changes were missed") })
	if mac, ok := ear.ask(clientIP, vip1); !ok || mac != want {
		t.Errorf("answered with %v, %v", mac, ok)
	}
	// And news goes on.
	next := MAC{2, 0, 0, 0, 0, 10}
	must(t, netlink.LinkSetHardwareAddr(lan0, next[:]))
	waitFor(t, a, "the next MAC", func() bool { return interfaceNamed(a, "lan0").MAC == next })
}
