// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"testing"
)

func TestAskedAddresses(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/29"), pool(t, "b", "10.0.1.0/29", "fd00::/126"))
	s.gets("10.0.0.5", "one", asking("10.0.0.5"))
	s.gets("! 10.0.0.5 is in use by default/one", "two", asking("10.0.0.5"))
	s.gets("! 10.9.9.9 is in no pool: add it to one, or ask for an address of pools [a b]", "two", asking("10.9.9.9"))
	s.gets("! 10.0.0.6 is in pool a, but the Service asks for pool b: drop one of the two", "two", asking("10.0.0.6"), from("b"))
	s.gets("10.0.1.6", "two", asking("10.0.1.6"), from("b"))
	s.gets("! the Service's families are IPv4, but it asks for fd00::1: ask for one address per family, or change ipFamilyPolicy", "three", asking("fd00::1"))
	s.gets("! the Service's families are IPv4, but it asks for 10.0.0.1 and 10.0.0.2: ask for one address per family, or change ipFamilyPolicy", "three", asking("10.0.0.1", "10.0.0.2"))
	s.gets("10.0.0.1 fd00::2", "both", dual, asking("fd00::2", "10.0.0.1")) // from two pools
}

func TestAddressInUseIsKeptWhenAnotherCannotBeHad(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/30"), pool(t, "b", "10.0.1.0/32"))
	s.gets("10.0.0.0", "one")
	s.gets("10.0.0.0 ! 10.9.9.9 is in no pool: add it to one, or ask for an address of pools [a b]", "one", asking("10.9.9.9"))
	s.gets("10.0.0.2", "one", asking("10.0.0.2"))
	s.gets("10.0.0.0", "two", asking("10.0.0.0"))
	s.gets("10.0.1.0", "one", from("b"))
	s.gets("10.0.0.0 ! no free IPv4 address in pool b: 1 of 1 in use", "two", from("b"))
}

func TestInvalidRequestKeepsWhatItHolds(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/32"))
	invalid := func(r *Request) { r.Families, r.Invalid = nil, errors.New("it names no address") }
	s.gets("10.0.0.0", "one")
	s.gets("! no free IPv4 address in pool a: 1 of 1 in use", "two")
	s.gets("10.0.0.0 ! it names no address", "one", invalid)
	s.gets("! it names no address", "two", invalid)
	s.releases("one")
	if changed := s.a.Settle(false, s.now); len(changed) > 0 {
		t.Errorf("%v get what they asked for before", changed)
	}
	s.gets("10.0.0.0", "three")
}
