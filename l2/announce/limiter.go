// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

const (
	// A claim a second is what an honest host makes, some at once when it begins. The rest would only fill the queue.
	claimRate  = 20
	claimBurst = 20

	// claimBuckets is among how many limits the hosts that claim an address are spread by their MACs. Members have as many of their
	// own, so that no stranger's claims hide a successor's announcement.
	claimBuckets = 4

	// sightingsBuffered is how many sightings may wait to be read, and sightingsReserved how many of them must be members'.
	sightingsBuffered = 256
	sightingsReserved = 64
)

// limiter lets claimBurst claims pass at once and claimRate a second. The zero value is ready.
type limiter struct {
	// full is when, in nanoseconds of the Announcer's life, it will have its whole burst again; what is past says that it has.
	full atomic.Int64
}

// allow says whether one more may pass now, in the Announcer's life. It takes no lock and allocates nothing.
func (l *limiter) allow(now time.Duration) bool {
	const each = time.Second / claimRate
	for {
		full := l.full.Load()
		next := max(time.Duration(full), now) + each
		if next-now > claimBurst*each {
			return false
		}
		if l.full.CompareAndSwap(full, int64(next)) {
			return true
		}
	}
}

// limiters are those of one address.
type limiters struct {
	strangers, members [claimBuckets]limiter
}

// of is the one that counts a host's claims. Who shares one with whom is nothing that a host can find out.
func (l *limiters) of(mac MAC, member bool) *limiter {
	bucket := maphash.Bytes(limiterSeed, mac[:]) % claimBuckets
	if member {
		return &l.members[bucket]
	}
	return &l.strangers[bucket]
}

var limiterSeed = maphash.MakeSeed()
