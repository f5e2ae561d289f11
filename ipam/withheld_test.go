// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const takenBy = "52:54:00:12:34:56 on eth0 answers for it, seen from node1"

// withdrawing makes a node answer for some addresses still when they are freed.
func (s *story) withdrawing(node string, texts ...string) {
	s.a.SetOptions(Options{Withdrawing: func(addr netip.Addr) string {
		if slices.Contains(addrs(texts...), addr) {
			return node
		}
		return ""
	}})
}

func (s *story) endsQuarantine(text string) {
	s.t.Helper()
	s.a.EndQuarantine(addrs(text)[0])
	if got := s.a.Quarantined(); len(got) > 0 {
		s.t.Errorf("still in quarantine: %v", got)
	}
}

func (s *story) settles(all bool, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.a.Settle(all, s.now)); diff != "" {
		s.t.Errorf("changed (-want +got):\n%s", diff)
	}
}

func (s *story) conflicts(texts ...string) {
	conflicts := map[netip.Addr]string{}
	for _, addr := range addrs(texts...) {
		conflicts[addr] = takenBy
	}
	s.a.SetConflicts(conflicts)
}

// TestFreedAddressIsQuarantinedAtOnce: whoever frees an address, nobody gets it while a node still answers for it.
func TestFreedAddressIsQuarantinedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		frees   func(*story)
		changed []string // by it
	}{
		"its Service is deleted": {frees: func(s *story) { s.releases("one") }},
		"its Service asks for another address": {frees: func(s *story) {
			s.gets("10.0.1.0", "one", asking("10.0.1.0"))
		}},
		"its Service has lost the family": {frees: func(s *story) {
			s.gets("! no IPv6 address in pool a: add an IPv6 range or pool", "one", families(IPv6))
		}},
		"its pool does not serve it any more, and Settle gives to others": {changed: []string{"one"}, frees: func(s *story) {
			reserved := pool(s.t, "a", "10.0.0.0/32")
			reserved.Reservation = &Reservation{Namespaces: []string{"waiting"}}
			s.a.SetPools([]Pool{reserved, pool(s.t, "b", "10.0.1.0/32")})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			manual := pool(t, "b", "10.0.1.0/32")
			manual.AutoAssign = false
			s := newStory(t, pool(t, "a", "10.0.0.0/32"), manual)
			s.withdrawing("node1", "10.0.0.0")
			s.gets("10.0.0.0", "one")
			s.gets("! no free IPv4 address in pool a: 1 of 1 in use", "two", in("waiting"))
			tt.frees(s)
			s.settles(true, append(tt.changed, "two")...)
			s.gets("! no free IPv4 address in pool a: 0 of 1 in use, 1 being withdrawn or in conflict with another host", "two", in("waiting"), from("a"))
			s.gets("! 10.0.0.0 is being withdrawn by node node1: it is free again within 30 s", "two", in("waiting"), asking("10.0.0.0"))
			checkInvariants(t, s.a)
			if diff := cmp.Diff([]Quarantined{{addrs("10.0.0.0")[0], "node1", epoch}}, s.a.Quarantined(), cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("in quarantine (-want +got):\n%s", diff)
			}
			s.endsQuarantine("10.0.0.0")
			s.settles(false, "two")
			s.gets("10.0.0.0", "two", in("waiting"))
		})
	}
}

func TestQuarantineWhileTheNodeIsLookedUp(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/32"))
	s.withdrawing(UnknownNode, "10.0.0.0")
	s.gets("10.0.0.0", "one")
	s.releases("one")
	may := "may still be announced by a node: it is free again as soon as that is known, within 30 s"
	s.gets("! 10.0.0.0 "+may, "two", asking("10.0.0.0"))
	s.gets("! 10.0.0.0, which default/one had before, "+may+", and the Service then gets it back", "one")
	s.a.Quarantine(addrs("10.0.0.0")[0], "node1", s.now) // now it is known
	s.gets("! 10.0.0.0 is being withdrawn by node node1: it is free again within 30 s", "two", asking("10.0.0.0"))
}

func TestSharedAddressIsQuarantinedWithItsLastHolder(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/31"))
	s.withdrawing("node1", "10.0.0.0")
	s.gets("10.0.0.0", "one", sharing("k", "", 80))
	s.gets("10.0.0.0", "two", sharing("k", "", 81))
	s.releases("one")
	s.gets("10.0.0.0", "three", sharing("k", "", 80))
	s.releases("two")
	s.releases("three")
	s.gets("10.0.0.1", "four", sharing("k", "", 80))
}

// TestQuarantineAtStart rebuilds it from what is known of addresses that nobody holds.
func TestQuarantineAtStart(t *testing.T) {
	s := newStory(t)
	held, free := addrs("10.0.0.0")[0], addrs("10.0.0.1")[0]
	s.a.Restore(s.request("one"), []netip.Addr{held}, false)
	if s.a.Quarantine(held, "node1", s.now) {
		t.Error("an address in use is in quarantine")
	}
	if !s.a.Quarantine(free, "node1", s.now) || !s.a.Quarantine(free, "node2", s.now.Add(time.Second)) {
		t.Error("a free address is not in quarantine")
	}
	s.a.SetPools([]Pool{pool(t, "a", "10.0.0.0/31")})
	s.gets("10.0.0.0", "one")
	s.gets("! 10.0.0.1 is being withdrawn by node node2: it is free again within 30 s", "two", asking("10.0.0.1"))
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0/30")}) // an edit of the pool does not end it
	s.gets("10.0.0.2", "three")
	s.gets("10.0.0.3", "four")
	s.gets("! no free IPv4 address in pool b: 3 of 4 in use, 1 being withdrawn or in conflict with another host", "five")
	if got := s.a.Quarantined(); len(got) != 1 || !got[0].Since.Equal(s.now) {
		t.Errorf("in quarantine: %v", got)
	}
	s.endsQuarantine("10.0.0.1")
	s.gets("10.0.0.1", "five")
}

// TestRecordEndsQuarantine: what a Service's record names is its own, whatever was thought before.
func TestRecordEndsQuarantine(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/31"))
	s.a.Quarantine(addrs("10.0.0.1")[0], "node1", s.now)
	s.a.Restore(s.request("one"), addrs("10.0.0.1"), false)
	s.gets("10.0.0.1", "one")
	s.releases("one")
	s.gets("10.0.0.0", "two")
	s.gets("10.0.0.1", "three")
	if got := s.a.Quarantined(); len(got) > 0 {
		t.Errorf("in quarantine: %v", got)
	}
}

// TestRecreatedServiceWaitsForItsAddress rather than get another one.
func TestRecreatedServiceWaitsForItsAddress(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/28"), pool(t, "b", "10.0.1.0/28"))
	s.withdrawing("node1", "10.0.0.0")
	again := func(r *Request) { r.ID = "another UID" }
	s.gets("10.0.0.0", "web")
	s.releases("web")
	s.gets("! 10.0.0.0, which default/web had before, is being withdrawn by node node1: it is free again within 30 s, and the Service then gets it back", "web", again)
	s.gets("10.0.0.1", "other")
	s.gets("10.0.1.0", "elsewhere", from("b"))
	s.endsQuarantine("10.0.0.0")
	s.settles(false, "another UID")
	s.gets("10.0.0.0", "web", again)
	s.releases("another UID")
	s.gets("10.0.1.1", "web", again, from("b")) // where it may not have it, it does not wait for it
}

func TestConflict(t *testing.T) {
	kept := "10.0.0.0 ! 10.0.0.0 is in conflict and not announced (" + takenBy + "), but the Service keeps it: "
	t.Run("a Service that has not asked for it gets another one", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/31"))
		s.gets("10.0.0.0", "one")
		s.conflicts("10.0.0.0")
		s.settles(true, "one")
		result, err := s.a.Allocate(s.request("one"), s.now)
		want := Result{Addresses: addrs("10.0.0.1"), Lost: []Loss{{addrs("10.0.0.0")[0], takenBy}}}
		if diff := cmp.Diff(want, result, cmp.Comparer(sameAddr)); diff != "" || err != nil {
			t.Errorf("one (-want +got):\n%s%v", diff, err)
		}
		s.gets("! no free IPv4 address in pool a: 1 of 2 in use, 1 being withdrawn or in conflict with another host", "two")
		checkInvariants(t, s.a)
		s.conflicts()
		s.settles(false, "two")
		s.gets("10.0.0.0", "two")
	})
	t.Run("one that asks for it by name has it", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/30"))
		s.gets("10.0.0.0", "one", asking("10.0.0.0"))
		s.conflicts("10.0.0.0", "10.0.0.1")
		s.settles(true)
		result, err := s.a.Allocate(s.request("one", asking("10.0.0.0")), s.now)
		if diff := cmp.Diff(Result{Addresses: addrs("10.0.0.0")}, result, cmp.Comparer(sameAddr)); diff != "" || err != nil {
			t.Errorf("one (-want +got):\n%s%v", diff, err)
		}
		s.gets("10.0.0.1", "two", asking("10.0.0.1"))
		s.gets("10.0.0.2", "three")
		s.gets("10.0.0.3", "two") // it does not insist any more
		checkInvariants(t, s.a)
	})
	t.Run("one that had it before stays: the other host may be the program that answered for it until now", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/30"))
		s.a.Restore(s.request("one"), addrs("10.0.0.0"), true)
		s.gets("10.0.0.0", "one")
		s.conflicts("10.0.0.0")
		s.settles(true, "one")
		s.gets("10.0.0.0 ! 10.0.0.0 is in conflict and not announced, but the Service keeps it: "+takenBy+
			"; the Service had the address before this controller first served it: take it from that host, or ask for another one by annotation", "one")
		s.gets("10.0.0.1", "one", asking("10.0.0.1"))
		s.gets("10.0.0.1", "one")
		s.conflicts("10.0.0.1") // which it was given since
		s.gets("10.0.0.2", "one")
	})
	t.Run("it is kept while there is no other one", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/31"))
		s.gets("10.0.0.0", "one")
		s.gets("10.0.0.1", "two")
		s.conflicts("10.0.0.0")
		s.settles(true, "one")
		s.gets(kept+"no free IPv4 address in pool a: 2 of 2 in use", "one")
		s.releases("two")
		s.settles(false, "one")
		s.gets("10.0.0.1", "one")
	})
	t.Run("it is kept when the conflict is over", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/32"))
		s.gets("10.0.0.0", "one")
		s.conflicts("10.0.0.0")
		s.gets(kept+"no free IPv4 address in pool a: 1 of 1 in use", "one")
		s.conflicts()
		s.settles(true, "one")
		s.gets("10.0.0.0", "one")
	})
	t.Run("only its family is given up", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/31", "fd00::/127"))
		s.gets("10.0.0.0 fd00::", "one", dual)
		s.conflicts("fd00::")
		s.gets("10.0.0.0 fd00::1", "one", dual)
	})
	t.Run("each family for itself", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/31", "fd00::/128"))
		s.gets("10.0.0.0 fd00::", "one", dual)
		s.conflicts("10.0.0.0", "fd00::")
		s.gets("10.0.0.1 fd00:: ! fd00:: is in conflict and not announced ("+takenBy+"), but the Service keeps it: no free IPv6 address in pool a: 1 of 1 in use", "one", dual)
	})
	t.Run("sharers go together", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/30"))
		s.gets("10.0.0.0", "one", sharing("k", "", 80))
		s.gets("10.0.0.0", "two", sharing("k", "", 81))
		s.conflicts("10.0.0.0")
		s.settles(true, "one", "two")
		s.gets("10.0.0.1", "one", sharing("k", "", 80))
		s.gets("10.0.0.1", "two", sharing("k", "", 81))
		s.gets("10.0.0.1", "three", sharing("k", "", 82))
	})
	t.Run("who shares on old terms joins nobody on new ones", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/32", "fd00::/127"))
		s.gets("10.0.0.0 fd00::", "one", dual, sharing("k", "", 80))
		s.gets("10.0.0.0", "two", sharing("k", "", 81))
		s.gets("fd00::1", "three", families(IPv6), sharing("l", "", 82))
		s.conflicts("fd00::")
		s.gets("10.0.0.0 fd00:: ! fd00:: is in conflict and not announced ("+takenBy+"), but the Service keeps it: no free IPv4 address in pool a: 1 of 1 in use", "one", dual, sharing("l", "", 80))
		checkInvariants(t, s.a)
	})
	t.Run("after three moves within ten minutes it stays: another host answers for everything", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/28"))
		all := []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
		stays := func(addr string) string {
			return addr + " ! " + addr + " is in conflict and not announced, but the Service keeps it: another host answers for many addresses of pool a (" + takenBy + "): is there a proxy ARP?"
		}
		s.gets("10.0.0.0", "one")
		for i := range 3 { // at 0, 2 and 4 minutes
			s.conflicts(all[:i+1]...)
			s.gets(all[i+1], "one")
			s.now = s.now.Add(2 * time.Minute)
		}
		s.conflicts(all[:4]...)
		s.settles(true, "one") // it says so once
		s.settles(true)
		s.gets(stays("10.0.0.3"), "one")
		s.gets("10.0.0.4", "another Service")
		checkInvariants(t, s.a)
		s.gets("10.0.0.7", "one", asking("10.0.0.7")) // whoever knows better may say so
		s.gets("10.0.0.7", "one")
		s.conflicts(append(all, "10.0.0.7")...)
		s.gets(stays("10.0.0.7"), "one")
		s.now = epoch.Add(10*time.Minute - time.Second)
		s.settles(false)
		s.now = epoch.Add(10 * time.Minute) // the first move is forgotten
		s.settles(false, "one")
		s.gets("10.0.0.5", "one")
		s.conflicts(append(all, "10.0.0.5")...)
		s.gets(stays("10.0.0.5"), "one")
		s.conflicts()
		s.settles(true, "one")
		s.gets("10.0.0.5", "one")
	})
	t.Run("a proxy ARP for one family is told with what the other misses", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/28"))
		s.gets("10.0.0.0", "one")
		for _, text := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.2"} {
			s.conflicts(text)
			s.gets(addrs(text)[0].Next().String(), "one")
		}
		s.conflicts("10.0.0.3")
		s.gets("10.0.0.3 ! 10.0.0.3 is in conflict and not announced, but the Service keeps it: another host answers for many addresses of pool a ("+takenBy+"): is there a proxy ARP?; no IPv6 address in pool a: add an IPv6 range or pool", "one", dual)
	})
	t.Run("nobody gets it back by its name", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/30"))
		s.gets("10.0.0.0", "one")
		s.releases("one")
		s.conflicts("10.0.0.0")
		s.gets("10.0.0.1", "one")
	})
	t.Run("an edit of the pool does not end it", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/31"))
		s.conflicts("10.0.0.0")
		s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0/31")})
		s.gets("10.0.0.1", "one")
		checkInvariants(t, s.a)
	})
	t.Run("a quarantine that ends in a conflict", func(t *testing.T) {
		s := newStory(t, pool(t, "a", "10.0.0.0/32"))
		s.a.Quarantine(addrs("10.0.0.0")[0], "node1", s.now)
		s.conflicts("10.0.0.0")
		s.gets("! 10.0.0.0 is being withdrawn by node node1: it is free again within 30 s", "one", asking("10.0.0.0"))
		s.endsQuarantine("10.0.0.0")
		s.gets("! no free IPv4 address in pool a: 0 of 1 in use, 1 being withdrawn or in conflict with another host", "two")
		s.gets("10.0.0.0", "one", asking("10.0.0.0"))
	})
	t.Run("conflicts that end together come free in the order of addresses", func(t *testing.T) {
		for range 20 {
			s := newStory(t, pool(t, "a", "10.0.0.0/30"))
			s.conflicts("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3")
			s.conflicts()
			s.gets("10.0.0.0", "one")
			s.gets("10.0.0.1", "two")
		}
	})
	t.Run("changes are told", func(t *testing.T) {
		a := NewAllocator()
		for _, tt := range []struct {
			conflicts map[netip.Addr]string
			want      bool
		}{
			{nil, false},
			{map[netip.Addr]string{addrs("10.0.0.0")[0]: takenBy}, true},
			{map[netip.Addr]string{addrs("10.0.0.0")[0]: "another host"}, false},
			{map[netip.Addr]string{addrs("10.0.0.1")[0]: takenBy}, true},
			{nil, true},
		} {
			if got := a.SetConflicts(tt.conflicts); got != tt.want {
				t.Errorf("%v: changed %t, want %t", tt.conflicts, got, tt.want)
			}
		}
	})
}
