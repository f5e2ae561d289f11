// SPDX-License-Identifier: Apache-2.0

package ipam

// Choice lists the pools in the order in which automatic allocation tries them.
func (a *Allocator) Choice() []Pool {
	pools := make([]Pool, len(a.choice))
	for i, pool := range a.choice {
		pools[i] = pool.Pool
	}
	return pools
}
