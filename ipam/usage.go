// SPDX-License-Identifier: Apache-2.0

package ipam

import "math"

// Usage counts the addresses of a pool. Counts stop at math.MaxInt64.
type Usage struct {
	TotalIPv4, TotalIPv6         int64
	InUseIPv4, InUseIPv6         int64
	AvailableIPv4, AvailableIPv6 int64
}

// Usage counts the addresses of every pool.
func (a *Allocator) Usage() map[string]Usage {
	usage := make(map[string]Usage, len(a.pools))
	for _, pool := range a.pools {
		usage[pool.Name] = pool.usage()
	}
	return usage
}

func (p *placedPool) usage() Usage {
	available := func(f Family) int64 {
		if p.total[f] == math.MaxInt64 {
			return math.MaxInt64
		}
		return max(0, p.total[f]-p.inUse[f])
	}
	return Usage{
		TotalIPv4: p.total[IPv4], InUseIPv4: p.inUse[IPv4], AvailableIPv4: available(IPv4),
		TotalIPv6: p.total[IPv6], InUseIPv6: p.inUse[IPv6], AvailableIPv6: available(IPv6),
	}
}
