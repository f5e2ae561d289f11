// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRestoreOlderKeeps(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"))
	s.a.Restore(s.request("old"), addrs("10.0.0.2"), false)
	s.a.Restore(s.request("young"), addrs("10.0.0.2"), false)
	s.gets("10.0.0.2", "old")
	result, err := s.a.Allocate(s.request("young"), s.now)
	want := Result{Addresses: addrs("10.0.0.0"), Lost: []Loss{{addrs("10.0.0.2")[0], "10.0.0.2 is in use by default/old"}}}
	if diff := cmp.Diff(want, result, cmp.Comparer(sameAddr)); diff != "" || err != nil {
		t.Errorf("young (-want +got):\n%s%v", diff, err)
	}
}

// TestRestoreOfSharersWhoseTermsClash: records do not say on which terms Services share an address. Nobody loses it
// before there is another one.
func TestRestoreOfSharersWhoseTermsClash(t *testing.T) {
	young := func(r *Request) { r.Created = epoch.Add(time.Minute) }
	for _, tt := range []struct {
		rule       string
		last       string // address of the pool
		key        string // of the old one, after its change
		port       uint16
		old, young string
	}{
		{"no other address", "10.0.0.0", "k", 81, "10.0.0.0", "10.0.0.0 ! no free IPv4 address in pool a: 1 of 1 in use"},
		{"no other address, another key", "10.0.0.0", "l", 80, "10.0.0.0", "10.0.0.0 ! no free IPv4 address in pool a: 1 of 1 in use"},
		{"another address", "10.0.0.1", "k", 81, "10.0.0.0", "10.0.0.1"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			before := newStory(t, pool(t, "a", "10.0.0.0/32"))
			before.gets("10.0.0.0", "old", sharing("k", "", 80))
			before.gets("10.0.0.0", "young", young, sharing("k", "", 81))
			before.gets("10.0.0.0 ! no free IPv4 address in pool a: 1 of 1 in use", "old", sharing(tt.key, "", tt.port))
			for _, order := range [][]string{{"old", "young"}, {"young", "old"}} {
				s := newStory(t, pool(t, "a", "10.0.0.0-"+tt.last))
				s.a.Restore(s.request("old", sharing(tt.key, "", tt.port)), before.a.Held("old"), false)
				s.a.Restore(s.request("young", young, sharing("k", "", 81)), before.a.Held("young"), false)
				for _, name := range order {
					if name == "old" {
						s.gets(tt.old, name, sharing(tt.key, "", tt.port))
					} else {
						s.gets(tt.young, name, young, sharing("k", "", 81))
					}
				}
				checkInvariants(t, s.a)
				s.releases("old")
				s.a.Settle(false, s.now)
				s.gets(tt.young[:len("10.0.0.0")], "young", young, sharing("k", "", 81))
				checkInvariants(t, s.a)
			}
		})
	}
}

func TestRestoredBeforeAnyPoolIsLeftAlone(t *testing.T) {
	s := newStory(t)
	s.a.Restore(s.request("one"), addrs("10.0.0.2"), false)
	s.gets("10.0.0.2", "one")
	s.a.SetPools([]Pool{pool(t, "a", "10.0.0.0/30")})
	s.gets("10.0.0.2", "one")
	if got := s.a.Usage()["a"].InUseIPv4; got != 1 {
		t.Errorf("%d addresses in use, want 1", got)
	}
}

func TestReleasedAddressIsLastToBeReused(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0-10.0.0.3"))
	s.gets("10.0.0.0", "one")
	s.gets("10.0.0.1", "two")
	s.releases("two")
	s.releases("one")
	s.gets("10.0.0.2", "three")
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0-10.0.0.3")}) // an edit of the pool does not forget it
	s.gets("10.0.0.3", "four")
	s.gets("10.0.0.1", "five")
	s.gets("10.0.0.0", "six")
}

func TestRecreatedUnderItsNameWithinTenMinutes(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/28"))
	s.gets("10.0.0.0", "first")
	s.gets("10.0.0.1", "web")
	s.releases("web")
	s.now = s.now.Add(9 * time.Minute)
	again := func(r *Request) { r.ID = "another UID" }
	s.gets("10.0.0.1", "web", again)
	s.releases("another UID")
	s.now = s.now.Add(11 * time.Minute)
	s.gets("10.0.0.2", "web", again)
}

func TestWaitingServicesAreServedOldestFirst(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/32"))
	full := "! no free IPv4 address in pool a: 1 of 1 in use"
	age := func(minutes int) option {
		return func(r *Request) { r.Created = epoch.Add(time.Duration(minutes) * time.Minute) }
	}
	s.gets("10.0.0.0", "first")
	s.gets(full, "young", age(9))
	s.gets(full, "old", age(3))
	s.releases("first")
	if diff := cmp.Diff([]string{"old"}, s.a.Settle(false, s.now)); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	s.gets("10.0.0.0", "old", age(3))
	s.gets(full, "young", age(9))
}
