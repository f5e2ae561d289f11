// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"container/list"
	"net/netip"

	"github.com/google/btree"
)

// releasedRemembered bounds how many released addresses a pool keeps apart from the untouched ones, and so the memory
// of a pool whose Services come and go.
const releasedRemembered = 1 << 16

// freeSet knows the free addresses of one family of one pool.
//
// The untouched ones are a tree of intervals, so that a /64 costs as much as a /28 and taking the lowest address only
// shortens one interval. The released ones stand in a queue and are handed out last, oldest release first: clients and
// caches that still think of the former owner get the longest time to forget it.
//
// An address that the pool avoids (avoidBuggyIPs) is in neither; intervals reach across it.
type freeSet struct {
	avoidBuggy bool
	untouched  *btree.BTreeG[Range]
	released   *list.List // of netip.Addr, oldest first
	place      map[netip.Addr]*list.Element
}

func newFreeSet(avoidBuggy bool) *freeSet {
	return &freeSet{
		avoidBuggy: avoidBuggy,
		untouched:  btree.NewG(16, func(a, b Range) bool { return a.First.Less(b.First) }),
		released:   list.New(),
		place:      map[netip.Addr]*list.Element{},
	}
}

// lowest names the address that is handed out next.
func (f *freeSet) lowest() (netip.Addr, bool) {
	if interval, ok := f.untouched.Min(); ok {
		return interval.First, true
	}
	if oldest := f.released.Front(); oldest != nil {
		return oldest.Value.(netip.Addr), true
	}
	return netip.Addr{}, false
}

func (f *freeSet) contains(addr netip.Addr) bool {
	if f.avoids(addr) {
		return false
	}
	if _, ok := f.place[addr]; ok {
		return true
	}
	interval, ok := f.intervalAtOrBelow(addr)
	return ok && interval.Contains(addr)
}

// add makes the addresses of a range free and untouched. The range must not overlap one that already is.
func (f *freeSet) add(r Range) {
	if r, ok := f.trim(r); ok {
		f.untouched.ReplaceOrInsert(r)
	}
}

// take removes a free address.
func (f *freeSet) take(addr netip.Addr) {
	if element, ok := f.place[addr]; ok {
		f.forget(element)
		return
	}
	interval, ok := f.intervalAtOrBelow(addr)
	if !ok || !interval.Contains(addr) {
		return
	}
	f.untouched.Delete(interval)
	for _, rest := range interval.Subtract(Range{addr, addr}) {
		f.add(rest)
	}
}

// release makes an address free again, last in the queue.
func (f *freeSet) release(addr netip.Addr) {
	if f.avoids(addr) || f.contains(addr) {
		return
	}
	f.place[addr] = f.released.PushBack(addr)
	if f.released.Len() > releasedRemembered {
		oldest := f.released.Front()
		f.forget(oldest)
		f.join(oldest.Value.(netip.Addr))
	}
}

func (f *freeSet) forget(element *list.Element) {
	f.released.Remove(element)
	delete(f.place, element.Value.(netip.Addr))
}

// join puts one address back among the untouched, melting it into the intervals on both sides.
func (f *freeSet) join(addr netip.Addr) {
	joined := Range{addr, addr}
	if below, ok := f.intervalAtOrBelow(addr); ok && f.next(below.Last) == addr {
		f.untouched.Delete(below)
		joined.First = below.First
	}
	if above, ok := f.untouched.Get(Range{First: f.next(addr)}); ok {
		f.untouched.Delete(above)
		joined.Last = above.Last
	}
	f.untouched.ReplaceOrInsert(joined)
}

func (f *freeSet) intervalAtOrBelow(addr netip.Addr) (found Range, ok bool) {
	f.untouched.DescendLessOrEqual(Range{First: addr}, func(interval Range) bool {
		found, ok = interval, true
		return false
	})
	return found, ok
}

// trim cuts avoided addresses off both ends, so that an interval always starts with an address to hand out.
func (f *freeSet) trim(r Range) (Range, bool) {
	for f.avoids(r.First) && r.First.Less(r.Last) {
		r.First = r.First.Next()
	}
	for f.avoids(r.Last) && r.First.Less(r.Last) {
		r.Last = r.Last.Prev()
	}
	return r, !f.avoids(r.First)
}

func (f *freeSet) next(addr netip.Addr) netip.Addr {
	for addr = addr.Next(); addr.IsValid() && f.avoids(addr); addr = addr.Next() {
	}
	return addr
}

func (f *freeSet) avoids(addr netip.Addr) bool { return f.avoidBuggy && buggy(addr) }
