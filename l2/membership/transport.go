// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"net/netip"
	"time"
)

// TransportConfig configures a Transport; the zero value is the usual one.
type TransportConfig struct {
	// Port is the UDP port; 7946 when 0.
	Port uint16
}

// Interface is a network interface that carries heartbeats.
type Interface struct {
	Name  string
	Index int
	// Addresses of the interface with their prefix lengths, in the kernel's order.
	Addresses []netip.Prefix
}

// Datagram is what was received.
type Datagram struct {
	Data      []byte
	From      netip.AddrPort
	Interface string
	// At is when it was read from the socket.
	At time.Time
}

// Transport multicasts datagrams on interfaces, and receives what others multicast. Its methods may be called from any
// goroutine.
type Transport struct{}

// NewTransport returns a Transport without interfaces.
func NewTransport(ctx context.Context, config TransportConfig) *Transport { return &Transport{} }

// Run returns when the context is done, after every socket is closed.
func (t *Transport) Run(ctx context.Context) error { return nil }

// SetInterfaces brings the interfaces to send and listen on.
func (t *Transport) SetInterfaces(interfaces []Interface) {}

// Send multicasts a datagram on every interface over both families. It does not block.
func (t *Transport) Send(datagram []byte) {}

// Datagrams received. The channel is bounded: what does not fit is dropped and counted.
func (t *Transport) Datagrams() <-chan Datagram { return nil }
