// SPDX-License-Identifier: Apache-2.0

// Package lantest gives tests real wires that end in this process: the test binary starts itself again in a network namespace of its
// own, which has no name and ends with the process, and other hosts are further namespaces, joined to it by veth pairs. No
// packet gets out, and nothing is left behind. It needs root; without, tests on wires are skipped.
package lantest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// insideEnv tells the process that it is in its own namespace.
const insideEnv = "CLOUD_PROVIDER_L2_LANTEST"

// Main runs the tests of a package, in a new network namespace if that is possible, and exits. It is what TestMain does.
// Fuzzing is done outside: its workers are processes of their own.
func Main(m *testing.M) {
	fuzzing := slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.fuzz") })
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" && !fuzzing {
		self := exec.Command("/proc/self/exe", os.Args[1:]...)
		self.Env = append(os.Environ(), insideEnv+"=1")
		self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
		self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // Pdeathsig follows the thread
		err := self.Run()
		var exit *exec.ExitError
		switch {
		case err == nil:
			os.Exit(0)
		case errors.As(err, &exit):
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintf(os.Stderr, "no network namespace for the tests on wires: %v\n", err)
		runtime.UnlockOSThread()
	}
	os.Exit(m.Run())
}

// Need skips a test that cannot have a wire.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Skip("needs root and permission to make network namespaces")
	}
}

// Host is another host on the LAN: a network namespace.
type Host struct {
	// Netlink configures the host's interfaces.
	Netlink *netlink.Handle

	ns netns.NsHandle
}

// NewHost makes a host, which ends with the test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	Need(t)
	h := &Host{}
	var err error
	OnThread(func() { h.ns, err = netns.New() })
	if err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { h.ns.Close() })
	if h.Netlink, err = netlink.NewHandleAt(h.ns); err != nil {
		t.Fatalf("netlink in a namespace: %v", err)
	}
	t.Cleanup(h.Netlink.Close)
	return h
}

// Do runs f in the host's namespace. Sockets that f opens stay there, and so do processes that it starts.
func (h *Host) Do(f func() error) error {
	var err error
	OnThread(func() {
		if err = netns.Set(h.ns); err == nil {
			err = f()
		}
	})
	return err
}

// Wire joins the host to the test's own namespace: an interface named here, and one named there. Both are down. The wire goes with
// the test.
func (h *Host) Wire(t testing.TB, here, there string) (ours, theirs netlink.Link) {
	t.Helper()
	peer := "peer-of-it" // a name that is free here, until the other end has its own there
	fail := func(doing string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("wire %s to %s: %s: %v", here, there, doing, err)
		}
	}
	fail("add", netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: here}, PeerName: peer}))
	ours, err := netlink.LinkByName(here)
	fail("find this end", err)
	t.Cleanup(func() {
		if link, err := netlink.LinkByIndex(ours.Attrs().Index); err == nil { // a namespace ends in its own time, and with it the other end
			_ = netlink.LinkDel(link)
		}
	})
	link, err := netlink.LinkByName(peer)
	fail("find the other end", err)
	fail("hand over", netlink.LinkSetNsFd(link, int(h.ns)))
	theirs, err = h.Netlink.LinkByName(peer)
	fail("find it there", err)
	fail("name it", h.Netlink.LinkSetName(theirs, there))
	theirs, err = h.Netlink.LinkByName(there)
	fail("find it by its name", err)
	return ours, theirs
}

// OnThread runs f on a thread of its own, which ends with it: what f changes about its thread goes with that.
func OnThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlock
		defer close(done)
		f()
	}()
	<-done
}
