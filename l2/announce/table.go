// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// tableShards is how many parts a table has. A write copies one part: 10,000 VIPs are 40 a part.
const tableShards = 256

// table finds a value by address. Readers take no lock and allocate nothing; what they read is never changed, only
// replaced. Writers must exclude each other.
type table[V any] struct {
	shards [tableShards]atomic.Pointer[map[netip.Addr]*V]
}

// get is nil for an unknown address.
func (t *table[V]) get(addr netip.Addr) *V {
	shard := t.shards[shardOf(addr)].Load()
	if shard == nil {
		return nil
	}
	return (*shard)[addr]
}

// set stores a value, or removes it when it is nil.
func (t *table[V]) set(addr netip.Addr, value *V) {
	slot := &t.shards[shardOf(addr)]
	changed := map[netip.Addr]*V{}
	if shard := slot.Load(); shard != nil {
		changed = maps.Clone(*shard)
	}
	if value == nil {
		delete(changed, addr)
	} else {
		changed[addr] = value
	}
	slot.Store(&changed)
}

// all is everything in the table, in no order.
func (t *table[V]) all() iter.Seq2[netip.Addr, *V] {
	return func(yield func(netip.Addr, *V) bool) {
		for i := range t.shards {
			shard := t.shards[i].Load()
			if shard == nil {
				continue
			}
			for addr, value := range *shard {
				if !yield(addr, value) {
					return
				}
			}
		}
	}
}

// shardOf mixes all bits of the address, so that every way of numbering VIPs spreads over the shards.
func shardOf(addr netip.Addr) uint8 {
	b := addr.As16()
	h := binary.BigEndian.Uint64(b[:8])*0x9e3779b97f4a7c15 ^ binary.BigEndian.Uint64(b[8:])
	return uint8(h * 0xd6e8feb86659fd93 >> 56)
}

// turn lets a writer wait until a goroutine is done with what it saw before the write. One goroutine begins and ends;
// any may await. It is what makes Withdraw exact without a lock on the way of a packet.
type turn struct {
	steps atomic.Uint64 // odd between begin and end
}

func (t *turn) begin() { t.steps.Add(1) }

func (t *turn) end() { t.steps.Add(1) }

// await returns when no turn that began before the call is still going on. A turn is a few system calls that do not
// block, so it looks again at once, and sleeps only when the other goroutine's thread has lost its core.
func (t *turn) await() {
	began := t.steps.Load()
	if began%2 == 0 {
		return
	}
	for i := 0; t.steps.Load() == began; i++ {
		if i < 100 {
			runtime.Gosched()
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
}
