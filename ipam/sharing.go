// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"net/netip"
	"slices"
)

// Sharing is on what terms a Service shares its addresses.
type Sharing struct {
	// Key must be the same and not empty on all Services that share an address.
	Key string
	// Ports must not clash.
	Ports []Port
	// Backend must be the same: Services with externalTrafficPolicy Local share only when they have the same
	// endpoints, because their address can be announced only from nodes that have one. Empty: Cluster.
	Backend string
}

// Port is a port that a Service listens on.
type Port struct {
	Protocol string
	Number   uint16
}

func (p Port) String() string { return fmt.Sprintf("%s/%d", p.Protocol, p.Number) }

func (s *Sharing) equal(other *Sharing) bool {
	return s.Key == other.Key && s.Backend == other.Backend && slices.Equal(s.Ports, other.Ports)
}

// clashes tells whether Services on these terms cannot share an address. It is asked far more often than mayShare, which
// says why.
func (s *Sharing) clashes(other *Sharing) bool {
	return s.Key == "" || s.Key != other.Key || s.Backend != other.Backend || s.commonPort(other) >= 0
}

// commonPort is the index of the first port that the other one has, too, negative if there is none.
func (s *Sharing) commonPort(other *Sharing) int {
	return slices.IndexFunc(s.Ports, func(port Port) bool { return slices.Contains(other.Ports, port) })
}

// mayShare says why a Service cannot join the holder of addr, which holds it on these terms; nil if it can.
func mayShare(addr netip.Addr, joining, holder *Request, terms *Sharing) error {
	refuse := func(format string, args ...any) error { return inUse(addr, holder, format, args...) }
	mine := &joining.Sharing
	switch {
	case !mine.clashes(terms):
		return nil
	case mine.Key == "" && terms.Key == "":
		return refuse("")
	case mine.Key == "":
		return refuse(", which shares it under the key %s: set the same allow-shared-ip", Quote(terms.Key))
	case terms.Key == "":
		return refuse(", which does not share it: give both the same allow-shared-ip")
	case mine.Key != terms.Key:
		return refuse(", which shares it under another key, %s instead of %s", Quote(terms.Key), Quote(mine.Key))
	case mine.Backend != terms.Backend:
		return refuse(", which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share")
	}
	return refuse(", which has port %s too: use another port or address", mine.Ports[mine.commonPort(terms)])
}

func inUse(addr netip.Addr, holder *Request, format string, args ...any) error {
	return fmt.Errorf("%s is in use by %s"+format, append([]any{addr, holder.fullName()}, args...)...)
}
