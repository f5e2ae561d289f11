// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// link is one interface in use: its sockets and the goroutines that read them. The goroutine of Announcer.Run opens and
// closes it; filters and groups belong to the holder of Announcer.mu; the rest may be used by anybody until close.
type link struct {
	index   int
	state   atomic.Pointer[linkState]
	ports   []*port // one for each protocol
	readers sync.WaitGroup
	stop    int // an eventfd: readable when the readers are to end
	closing atomic.Bool
	changes atomic.Uint64 // announced so far; what tells of an earlier one is no longer sent
	failed  atomic.Bool   // a socket is of no use any more

	// lostIPv6 says that an IPv6 address has gone, or may have: when it was the last one, the kernel has forgotten the groups, even if
	// the next list shows another. It is for the goroutine of Announcer.Run alone.
	lostIPv6 bool
}

// linkState is what is known of an interface. It is replaced, never changed.
type linkState struct {
	name     string
	mac      MAC
	prefixes []netip.Prefix
	up       bool
}

// port is one protocol on a link.
type port struct {
	proto    protocol
	requests *socket
	claims   *socket
	replies  turn    // of the goroutine that reads requests
	groups   *groups // in which requests are asked
	wide     bool    // claims hears everybody
}

// addressNear is the interface's own address in the subnet of addr.
func (s *linkState) addressNear(addr netip.Addr) (netip.Addr, bool) {
	for _, prefix := range s.prefixes {
		if prefix.Contains(addr) {
			return prefix.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func (s *linkState) hasIPv6() bool {
	return slices.ContainsFunc(s.prefixes, func(prefix netip.Prefix) bool { return prefix.Addr().Is6() })
}

// openLink opens the sockets of an interface and begins to answer.
func (a *Announcer) openLink(index int, state *linkState) (*link, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("opening an eventfd: %w", err)
	}
	l := &link{index: index, stop: stop}
	l.state.Store(state)
	for _, proto := range protocols() {
		p, err := openPort(index, proto)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("opening %s sockets on interface %s: %w", proto.name(), state.name, err)
		}
		l.ports = append(l.ports, p)
	}
	for _, p := range l.ports {
		drops := a.metrics.drops(p.proto.name())
		c := &claimReader{announcer: a, link: l, proto: p.proto, drops: drops}
		r := &responder{
			proto: p.proto, link: &l.state, vips: &a.vips, claims: c, alive: a.config.Alive, turn: &p.replies, drops: drops,
		}
		l.readers.Go(func() { a.read(l, p.requests, r.receive) })
		l.readers.Go(func() { a.read(l, p.claims, c.receive) })
	}
	return l, nil
}

func openPort(index int, proto protocol) (*port, error) {
	requests, err := openSocket(index, proto.etherType(), proto.requestFilter())
	if err != nil {
		return nil, err
	}
	claims, err := openSocket(index, proto.etherType(), proto.claimFilter(nil))
	if err != nil {
		requests.close()
		return nil, err
	}
	if group := proto.claimGroup(); group.IsValid() {
		if err := claims.join(groupMAC(group)); err != nil {
			requests.close()
			claims.close()
			return nil, err
		}
	}
	return &port{proto: proto, requests: requests, claims: claims, groups: newGroups(index, requests), wide: true}, nil
}

// read serves a socket until it is closed or of no use.
func (a *Announcer) read(l *link, s *socket, receive func(fd int, frame []byte)) {
	err := s.receive(l.stop, receive)
	if err == nil || l.closing.Load() {
		return
	}
	a.log.Error(err, "Reading failed; the socket will be opened again", "interface", l.state.Load().name)
	l.failed.Store(true)
	signal(a.relist)
}

// awaitReplies returns when no reply is under way that began before the call.
func (l *link) awaitReplies() {
	for _, p := range l.ports {
		p.replies.await()
	}
}

func (l *link) port(proto protocol) *port {
	for _, p := range l.ports {
		if p.proto == proto {
			return p
		}
	}
	return nil
}

// send sends a frame that is not a reply.
func (l *link) send(proto protocol, frame []byte) DropReason {
	if p := l.port(proto); p != nil {
		return p.claims.send(frame)
	}
	return SendFailed
}

// join has the questions for addr come in on this interface.
func (l *link) join(addr netip.Addr) error {
	if p := l.port(protocolFor(addr)); p != nil {
		if group := p.proto.requestGroup(addr); group.IsValid() {
			return p.groups.join(group)
		}
	}
	return nil
}

// leave takes join back.
func (l *link) leave(addr netip.Addr) error {
	if p := l.port(protocolFor(addr)); p != nil {
		if group := p.proto.requestGroup(addr); group.IsValid() {
			return p.groups.leave(group)
		}
	}
	return nil
}

// forgetGroups notes that all groups are to be joined again, since the interface or its IPv6 has come back.
func (l *link) forgetGroups() {
	for _, p := range l.ports {
		p.groups.forgotten()
	}
}

// renewGroups joins some groups again, and says whether there are more.
func (l *link) renewGroups() (more bool, failure error) {
	var failures []error
	for _, p := range l.ports {
		left, err := p.groups.renew(renewedAtOnce)
		more = more || left
		failures = append(failures, err)
	}
	return more, errors.Join(failures...)
}

// widen lets claims to any address through. When the kernel does not take the filter, narrow ones remain, and claims to
// new addresses go unheard until the next one: nothing known makes it refuse a filter of a dozen instructions.
func (l *link) widen() {
	for _, p := range l.ports {
		if !p.wide {
			p.wide = p.claims.setFilter(p.proto.claimFilter(nil)) == nil
		}
	}
}

// narrowTo lets only claims to these addresses through, if the kernel takes so many (net.core.optmem_max limits them as well).
func (l *link) narrowTo(v4, v6 []netip.Addr) {
	for _, p := range l.ports {
		addrs := v4
		if p.proto.name() == protocolNDP {
			addrs = v6
		}
		if len(addrs) > maxFilterValues {
			continue
		}
		if addrs == nil {
			addrs = []netip.Addr{}
		}
		if p.claims.setFilter(p.proto.claimFilter(addrs)) == nil {
			p.wide = false
		}
	}
}

// close ends the readers and waits for them. The kernel takes some 15 ms to let go of a packet socket, so all of them are
// closed at once.
func (l *link) close() {
	l.closing.Store(true)
	_, _ = unix.Write(l.stop, binary.NativeEndian.AppendUint64(nil, 1))
	var closing sync.WaitGroup
	for _, p := range l.ports {
		closing.Go(p.requests.close)
		closing.Go(p.claims.close)
		p.groups.close()
	}
	closing.Wait()
	l.readers.Wait()
	_ = unix.Close(l.stop)
}

// countLost adds what the kernel dropped because it was not read in time.
func (l *link) countLost(m *Metrics) {
	for _, p := range l.ports {
		lost := p.requests.lost() + p.claims.lost()
		m.drops(p.proto.name())[ReceiveQueueFull].Add(float64(lost))
	}
}

// responder answers the requests on one link. The goroutine that reads them owns it.
type responder struct {
	proto  protocol
	link   *atomic.Pointer[linkState]
	vips   *table[vip]
	claims *claimReader
	alive  func() bool
	turn   *turn
	drops  *dropCounters
}

// receive answers one frame or counts why not.
func (r *responder) receive(fd int, frame []byte) {
	r.turn.begin()
	defer r.turn.end()
	reply, v, reason := r.answer(frame)
	if reason == passed {
		reason = write(fd, reply)
	}
	if reason != passed {
		r.drops[reason].Inc()
		return
	}
	v.counters.responses.Inc()
}

// answer makes the reply out of the request's own bytes.
func (r *responder) answer(frame []byte) ([]byte, *vip, DropReason) {
	state := r.link.Load()
	target, reason := r.proto.request(frame, state.mac)
	if reason != passed {
		return nil, nil, reason
	}
	r.claims.asks(r.proto.asker(frame))
	v := r.vips.get(target)
	if v == nil {
		return nil, nil, NotAnnounced
	}
	if !v.on(state.name) {
		return nil, v, OtherInterface
	}
	v.counters.requests.Inc()
	if !r.alive() {
		return nil, v, Stalled
	}
	return r.proto.reply(frame, state.mac), v, passed
}
