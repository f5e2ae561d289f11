// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// rememberedFor is how long a Service that is deleted and created again finds its address.
const rememberedFor = 10 * time.Minute

// memory knows what Services that are gone held, by name. It is lost on restart.
type memory struct {
	held  map[string]remembered
	queue []forgetAt // in the order of time
}

type remembered struct {
	addrs []netip.Addr
	until time.Time
}

type forgetAt struct {
	name  string
	until time.Time
}

func newMemory() memory { return memory{held: map[string]remembered{}} }

func (m *memory) remember(name string, addrs []netip.Addr, now time.Time) {
	for len(m.queue) > 0 && !m.queue[0].until.After(now) {
		if m.held[m.queue[0].name].until.Equal(m.queue[0].until) {
			delete(m.held, m.queue[0].name)
		}
		m.queue = m.queue[1:]
	}
	until := now.Add(rememberedFor)
	m.held[name] = remembered{slices.Clone(addrs), until}
	m.queue = append(m.queue, forgetAt{name, until})
}

func (m *memory) recall(name string, now time.Time) []netip.Addr {
	if found, ok := m.held[name]; ok && found.until.After(now) {
		return found.addrs
	}
	return nil
}
