// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
)

// Anybody who may write a Lease can write any text for a hardware address.
func TestMACsOfMembersAreRead(t *testing.T) {
	got := parseMACs([]string{"02:00:00:00:00:01", "", "nonsense", "00:00:00:00:fe:80:00:00", "02-00-00-00-00-02"})
	if want := []announce.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}
