// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// BenchmarkAllocate fills an empty pool. "first-fit" is the scan from the lowest address that an allocator without
// intervals does, for comparison; it is left out where it takes minutes. Each line is also given for one address.
func BenchmarkAllocate(b *testing.B) {
	for _, entry := range []string{"10.0.0.0/8", "fd00::/64"} {
		for _, count := range []int{1_000, 5_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", entry, count), func(b *testing.B) { benchmarkAllocate(b, entry, count) })
			if count <= 5_000 {
				b.Run(fmt.Sprintf("%s/%d/first-fit", entry, count), func(b *testing.B) { benchmarkFirstFit(b, entry, count) })
			}
		}
	}
}

func benchmarkAllocate(b *testing.B, entry string, count int) {
	requests := benchRequests(count, ranges(b, entry)[0].Family())
	var a *Allocator
	before := heap()
	for b.Loop() {
		a = NewAllocator()
		a.SetPools([]Pool{{Name: "p", AutoAssign: true, AvoidBuggyIPs: true, Ranges: ranges(b, entry)}})
		for _, r := range requests {
			if _, err := a.Allocate(r, epoch); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportPerAddress(b, count)
	b.ReportMetric(float64(heap()-before)/float64(count), "B-held/address")
	runtime.KeepAlive(a)
}

func benchmarkFirstFit(b *testing.B, entry string, count int) {
	r := ranges(b, entry)[0]
	for b.Loop() {
		used := map[netip.Addr]int{}
		for i := range count {
			addr := r.First
			for {
				if _, taken := used[addr]; !taken && !buggy(addr) {
					break
				}
				addr = addr.Next()
			}
			used[addr] = i
		}
	}
	reportPerAddress(b, count)
}

// BenchmarkChurn releases and allocates in a pool that has one free address.
func BenchmarkChurn(b *testing.B) {
	for _, entry := range []string{"10.0.0.0/28", "10.0.0.0/24", "10.0.0.0/16"} {
		b.Run(entry, func(b *testing.B) {
			r := ranges(b, entry)
			a := NewAllocator()
			a.SetPools([]Pool{{Name: "p", AutoAssign: true, Ranges: r}})
			requests := benchRequests(int(r[0].Size()), IPv4)
			for _, r := range requests[1:] {
				if _, err := a.Allocate(r, epoch); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				if _, err := a.Allocate(requests[i%len(requests)], epoch); err != nil {
					b.Fatal(err)
				}
				a.Release(requests[(i+1)%len(requests)].ID, epoch)
			}
		})
	}
}

// BenchmarkSharing lets Services with one sharing key come, and then all that got no address ask again. "one port" is the
// same on all, "two ports" one that is the same and one of its own; in "waiting" there are addresses for a third of them.
func BenchmarkSharing(b *testing.B) {
	for _, count := range []int{1_000, 2_000, 4_000} {
		for name, ports := range map[string]func(i int) []Port{
			"one port":  func(int) []Port { return []Port{{"TCP", 443}} },
			"two ports": func(i int) []Port { return []Port{{"TCP", 443}, {"TCP", uint16(1000 + i)}} },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, count), func(b *testing.B) { benchmarkSharing(b, count, count, ports) })
			b.Run(fmt.Sprintf("%s, waiting/%d", name, count), func(b *testing.B) { benchmarkSharing(b, count, count/3, ports) })
		}
	}
}

func benchmarkSharing(b *testing.B, count, size int, ports func(i int) []Port) {
	requests := benchRequests(count, IPv4)
	for i := range requests {
		requests[i].Sharing = Sharing{Key: "k", Ports: ports(i)}
	}
	first := ranges(b, "10.0.0.0/8")[0].First
	last := netip.AddrFrom4([4]byte{10, 0, byte((size - 1) >> 8), byte(size - 1)})
	for b.Loop() {
		a := NewAllocator()
		a.SetPools([]Pool{{Name: "p", AutoAssign: true, Ranges: []Range{{first, last}}}})
		held := 0
		for _, r := range requests {
			result, _ := a.Allocate(r, epoch)
			held += len(result.Addresses)
		}
		if changed := a.Settle(false, epoch); held != size || len(changed) > 0 {
			b.Fatalf("%d of %d Services have an address, and then %d more", held, size, len(changed))
		}
	}
	reportPerAddress(b, count)
}

// BenchmarkPools has 10,000 Services in 100 pools. "read" replaces the pools, "judge" looks at every Service again.
func BenchmarkPools(b *testing.B) {
	var pools []Pool
	for i := range 100 {
		pools = append(pools, Pool{Name: fmt.Sprint("p", i), AutoAssign: true, Ranges: ranges(b, fmt.Sprintf("10.%d.0.0/24", i))})
	}
	a := NewAllocator()
	a.SetPools(pools)
	for i, r := range benchRequests(10_000, IPv4) {
		r.Pool = fmt.Sprint("p", i%100)
		if _, err := a.Allocate(r, epoch); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			a.SetPools(pools)
		}
	})
	b.Run("judge", func(b *testing.B) {
		for b.Loop() {
			a.Settle(true, epoch)
		}
	})
}

func benchRequests(count int, family Family) []Request {
	requests := make([]Request, count)
	for i := range requests {
		name := fmt.Sprint("service-", i)
		requests[i] = Request{ID: name, Namespace: "default", Name: name, Created: epoch, Families: []Family{family}}
	}
	return requests
}

func reportPerAddress(b *testing.B, count int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/address")
}

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
