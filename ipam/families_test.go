// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"testing"
)

func TestFamilies(t *testing.T) {
	s := newStory(t, pool(t, "dual", "10.0.0.0/31", "fd00::/127"), pool(t, "four", "10.0.1.0/31"), pool(t, "six", "fd01::/127"))
	s.gets("10.0.0.0", "single")
	s.gets("fd00:: 10.0.0.1", "ordered", families(IPv6, IPv4))
	s.gets("10.0.1.0 fd00::1", "apart", dual) // no pool has both any more
	s.gets("10.0.1.1 fd01::", "flexible", flexible)
	s.gets("fd01::1", "half", flexible)
	s.gets("! no free IPv4 or IPv6 address in pools [dual four six]: 8 of 8 in use", "none", flexible)
	s.releases("single")
	s.gets("10.0.0.0 fd01::1", "half", flexible)
	s.gets("fd01::1", "half", families(IPv6))
	s.gets("! no free IPv6 address in pools [dual four six]: 4 of 4 in use", "strict", dual)
	s.gets("10.0.0.0", "strict")
	s.gets("10.0.0.0 ! no free IPv6 address in pools [dual four six]: 4 of 4 in use", "strict", dual)
}
