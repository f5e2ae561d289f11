// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"testing"
)

func TestSharing(t *testing.T) {
	s := newStory(t, pool(t, "a", "1.2.4.0/24"))
	s.gets("1.2.4.3", "four", asking("1.2.4.3"), sharing("sharing", "backend", 80))
	s.gets("1.2.4.3", "four", asking("1.2.4.3"), sharing("share", "backend", 80)) // alone, it may change the key
	s.gets("! 1.2.4.3 is in use by default/four, which has port TCP/80 too: use another port or address", "three", asking("1.2.4.3"), sharing("share", "backend", 80))
	s.gets(`! 1.2.4.3 is in use by default/four, which shares it under another key, "share" instead of "othershare"`, "three", asking("1.2.4.3"), sharing("othershare", "backend", 443))
	s.gets("! 1.2.4.3 is in use by default/four, which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share", "three", asking("1.2.4.3"), sharing("share", "otherbackend", 443))
	s.gets(`! 1.2.4.3 is in use by default/four, which shares it under the key "share": set the same allow-shared-ip`, "three", asking("1.2.4.3"))
	s.gets("1.2.4.3", "three", asking("1.2.4.3"), sharing("share", "backend", 443))
	s.gets(`1.2.4.3 ! 1.2.4.3 is in use by default/four, which shares it under another key, "share" instead of "othershare"`, "three", asking("1.2.4.3"), sharing("othershare", "backend", 443))
	s.gets("1.2.4.3", "five", sharing("share", "backend", 53)) // shares without asking for the address
	s.gets("1.2.4.0", "five", sharing("share", "backend", 80)) // its new port clashes: it moves
	s.releases("four")
	s.gets("1.2.4.3", "three", sharing("share", "backend", 443))
	if got := s.a.Usage()["a"].InUseIPv4; got != 2 {
		t.Errorf("%d addresses in use, want 2", got)
	}
}
