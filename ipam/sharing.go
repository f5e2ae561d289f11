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

// mayShare says why a Service cannot join the holder of addr, nil if it can.
func mayShare(addr netip.Addr, joining, holder *Request) error {
	refuse := func(format string, args ...any) error { return inUse(addr, holder, format, args...) }
	mine, theirs := &joining.Sharing, &holder.Sharing
	switch {
	case mine.Key == "" && theirs.Key == "":
		return refuse("")
	case mine.Key == "":
		return refuse(", which shares it under the key %q: set the same allow-shared-ip", theirs.Key)
	case theirs.Key == "":
		return refuse(", which does not share it: give both the same allow-shared-ip")
	case mine.Key != theirs.Key:
		return refuse(", which shares it under another key, %q instead of %q", theirs.Key, mine.Key)
	case mine.Backend != theirs.Backend:
		return refuse(", which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share")
	}
	for _, port := range mine.Ports {
		if slices.Contains(theirs.Ports, port) {
			return refuse(", which has port %s too: use another port or address", port)
		}
	}
	return nil
}

// mayShareInNamespace says the same where Services share only within their namespace.
func mayShareInNamespace(addr netip.Addr, joining, holder *Request) error {
	if err := mayShare(addr, joining, holder); err != nil {
		return err
	}
	if joining.Namespace != holder.Namespace {
		return inUse(addr, holder, ", which is in another namespace, and this cluster lets Services share only within one: use another address")
	}
	return nil
}

func inUse(addr netip.Addr, holder *Request, format string, args ...any) error {
	return fmt.Errorf("%s is in use by %s"+format, append([]any{addr, holder.fullName()}, args...)...)
}
