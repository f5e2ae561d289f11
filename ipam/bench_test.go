// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"testing"
)

func BenchmarkSetPools(b *testing.B) {
	var pools []Pool
	for i := range 100 {
		pools = append(pools, Pool{Name: fmt.Sprint("p", i), AutoAssign: true, Ranges: ranges(b, fmt.Sprintf("10.%d.0.0/24", i))})
	}
	a := NewAllocator()
	a.SetPools(pools)
	for i := range 10_000 {
		id := fmt.Sprint(i)
		r := Request{ID: id, Name: id, Families: []Family{IPv4}, Created: epoch, Pool: fmt.Sprint("p", i%100)}
		if _, err := a.Allocate(r, epoch); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("set", func(b *testing.B) {
		for b.Loop() {
			a.SetPools(pools)
		}
	})
	b.Run("settle", func(b *testing.B) {
		for b.Loop() {
			a.Settle(true, epoch)
		}
	})
}

func BenchmarkAllocate(b *testing.B) {
	for _, entry := range []string{"10.0.0.0/8", "fd00::/64"} {
		b.Run(entry, func(b *testing.B) {
			for range b.N {
				a := NewAllocator()
				a.SetPools([]Pool{{Name: "p", AutoAssign: true, AvoidBuggyIPs: true, Ranges: ranges(b, entry)}})
				r := Request{Families: []Family{FamilyOf(a.index[0].First)}, Created: epoch}
				for i := range 100_000 {
					r.ID = fmt.Sprint(i)
					r.Name = r.ID
					if _, err := a.Allocate(r, epoch); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/address")
		})
	}
}
