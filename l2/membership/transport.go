// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	// queued is how many received datagrams wait for whoever takes them: half a second of the most there should be.
	queued = 1024
	// retryEvery is how often a socket that could not be opened, or that failed, is opened anew.
	retryEvery = time.Second
)

// TransportConfig configures a Transport; the zero value is the usual one.
type TransportConfig struct {
	// Port is the UDP port; names.HeartbeatPort when 0.
	Port uint16
}

// Interface is a network interface that carries heartbeats.
type Interface struct {
	Name  string
	Index int
	// Addresses of the interface with their prefix lengths, in the kernel's order.
	Addresses []netip.Prefix
}

func (i Interface) equal(other Interface) bool {
	return i.Name == other.Name && i.Index == other.Index && slices.Equal(i.Addresses, other.Addresses)
}

// Datagram is what was received. It has come from the same link and looks like a heartbeat; nothing more is checked.
type Datagram struct {
	Data      []byte
	From      netip.AddrPort
	Interface string
	// At is when it was read from the socket.
	At time.Time
}

// Transport multicasts datagrams on interfaces, over both families, and receives what others multicast. It needs no
// capability. Its methods may be called from any goroutine.
type Transport struct {
	log       klog.Logger
	port      uint16
	datagrams chan Datagram
	readers   sync.WaitGroup
	// sending is what Send uses, so that it waits for no lock.
	sending atomic.Pointer[[]*socket]

	mu     sync.Mutex
	links  []*link
	closed bool
}

// link is an interface and its sockets; one that could not be opened is nil. Guarded by Transport.mu.
type link struct {
	Interface
	sockets [len(families)]*socket
	failed  [len(families)]string
}

var families = [...]struct {
	name string
	open func(Interface, uint16) (*socket, error)
}{
	{"IPv4", openIPv4},
	{"IPv6", openIPv6},
}

// NewTransport returns a Transport without interfaces, and registers the metrics of this package. The context is for its
// logger only.
func NewTransport(ctx context.Context, config TransportConfig) *Transport {
	registerMetrics()
	return &Transport{
		log:       klog.FromContext(ctx),
		port:      cmp.Or(config.Port, names.HeartbeatPort),
		datagrams: make(chan Datagram, queued),
	}
}

// Datagrams received. What is not taken in time is dropped and counted. The channel is never closed.
func (t *Transport) Datagrams() <-chan Datagram { return t.datagrams }

// Send multicasts a datagram on every interface over both families. It does not block: what cannot be sent at once is
// dropped and counted. It is for one goroutine at a time. A nil datagram is not sent.
func (t *Transport) Send(datagram []byte) {
	sockets := t.sending.Load()
	if datagram == nil || sockets == nil {
		return
	}
	for _, socket := range *sockets {
		switch err := socket.send(datagram); {
		case err == nil:
			heartbeatsSent.Inc()
		case !errors.Is(err, net.ErrClosed):
			CountDropped(DropNotSent)
		}
	}
}

// SetInterfaces brings the interfaces to send and listen on. Those that are new, or whose addresses changed, get
// new sockets.
func (t *Transport) SetInterfaces(interfaces []Interface) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	kept := make([]*link, 0, len(interfaces))
	for _, wanted := range interfaces {
		at := slices.IndexFunc(t.links, func(l *link) bool { return l.equal(wanted) })
		if at >= 0 {
			kept = append(kept, t.links[at])
			continue
		}
		wanted.Addresses = slices.Clone(wanted.Addresses)
		kept = append(kept, &link{Interface: wanted})
	}
	for _, l := range t.links {
		if !slices.Contains(kept, l) {
			l.close()
		}
	}
	t.links = kept
	t.open()
}

func (l *link) close() {
	for i, socket := range l.sockets {
		if socket != nil {
			socket.conn.Close()
			l.sockets[i] = nil
		}
	}
}

// open opens the sockets that are missing. Called with mu held.
func (t *Transport) open() {
	var sending []*socket
	for _, l := range t.links {
		for i, family := range families {
			if l.sockets[i] == nil {
				socket, err := family.open(l.Interface, t.port)
				l.report(t.log, i, err)
				if err != nil {
					continue
				}
				l.sockets[i] = socket
				t.readers.Go(func() { t.receive(l, i, socket) })
			}
			if !l.sockets[i].mute {
				sending = append(sending, l.sockets[i])
			}
		}
	}
	t.sending.Store(&sending)
}

// report logs that a socket works, or why it does not, when that changed.
func (l *link) report(log klog.Logger, family int, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == l.failed[family] && err != nil {
		return
	}
	l.failed[family] = text
	if err != nil {
		log.Info("memberlist: no heartbeats on interface", "interface", l.Name, "family", families[family].name, "reason", text)
	} else {
		log.V(4).Info("memberlist: heartbeats on interface", "interface", l.Name, "family", families[family].name)
	}
}

// receive passes on what a socket receives until the socket is closed.
func (t *Transport) receive(l *link, family int, s *socket) {
	buffer := make([]byte, MaxDatagram+1)
	for {
		n, hops, from, err := s.read(buffer)
		if err != nil {
			t.lost(l, family, s, err)
			return
		}
		heartbeatsTaken.Inc()
		switch {
		case n > MaxDatagram:
			CountDropped(DropOversized)
			continue
		case hops != hopLimit:
			CountDropped(DropHopLimit)
			continue
		case !looksLikeHeartbeat(buffer[:n]):
			CountDropped(DropMalformed)
			continue
		}
		datagram := Datagram{Data: slices.Clone(buffer[:n]), Interface: l.Name, At: time.Now()}
		if udp, ok := from.(*net.UDPAddr); ok {
			datagram.From = udp.AddrPort()
		}
		select {
		case t.datagrams <- datagram:
		default:
			CountDropped(DropOverflow)
		}
	}
}

// lost closes a socket that failed; it will be opened anew.
func (t *Transport) lost(l *link, family int, s *socket, err error) {
	s.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.sockets[family] == s {
		l.sockets[family] = nil
		l.report(t.log, family, err)
	}
}

// Run opens anew what failed, until the context is done; then it closes every socket and returns when all are closed.
func (t *Transport) Run(ctx context.Context) error {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.mu.Lock()
			t.open()
			t.mu.Unlock()
		case <-ctx.Done():
			t.close()
			return nil
		}
	}
}

func (t *Transport) close() {
	t.mu.Lock()
	t.closed = true
	for _, l := range t.links {
		l.close()
	}
	t.links = nil
	t.sending.Store(nil)
	t.mu.Unlock()
	t.readers.Wait()
}
