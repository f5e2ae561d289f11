// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"testing"
)

func TestQuarantine(t *testing.T) {
	s := newStory(t, pool(t, "a", "10.0.0.0/31"))
	s.gets("10.0.0.0", "one")
	s.releases("one")
	s.a.Quarantine(addrs("10.0.0.0")[0], "node1", s.now)
	s.gets("! 10.0.0.0 is being withdrawn by node node1: it is free again within 30 s", "asked", asking("10.0.0.0"))
	s.gets("10.0.0.1", "two")
	s.a.SetPools([]Pool{pool(t, "b", "10.0.0.0/31")})
	s.gets("! no free IPv4 address in pool b: 1 of 2 in use, 1 being withdrawn or in conflict with another host", "three")
	s.a.EndQuarantine(addrs("10.0.0.0")[0])
	s.gets("10.0.0.0", "three")
}
