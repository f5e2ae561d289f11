// SPDX-License-Identifier: Apache-2.0

// Package announce makes this host answer for virtual IP addresses on the LAN: it replies to ARP requests and neighbour
// solicitations for them, tells the neighbours when a VIP arrives here, and listens for anybody else who claims one.
//
// It promises:
//
//   - Announce: from its return on, requests for the VIP are answered on every allowed interface, also on those that
//     appear later, with the MAC the interface has at that moment; and a burst of announcements is under way.
//   - Withdraw: when it returns, nothing leaves this host for the VIP any more, not even a reply that was half done.
//   - Alive is asked before every reply and announcement; while it says no, nothing is said (rule E5).
//   - Neighbour solicitations get here through network cards that filter and switches that snoop: the solicited-node
//     group of each VIP is joined on every interface that it is announced on, for as long as it is.
//   - A stranger's packet costs a bounded amount of work, no allocation, and is counted with the reason when it is
//     not answered.
//
// It never decides: who holds a VIP is the election's business, and this package obeys. It needs uid 0 with CAP_NET_RAW
// and no other capability, and changes nothing on the host but the multicast groups its interfaces are in: no address is
// added, no sysctl is set.
//
// Two kinds of socket serve each interface and protocol. The request socket is the hot one: a filter in the kernel
// passes requests only, and replies are patched into the request's own bytes. The claim socket takes replies and
// announcements, which are rare, and carries everything this host sends on its own account, so that a burst of
// thousands of announcements never stands in the way of a reply.
package announce

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// Config is what an Announcer is made with. The zero value works.
type Config struct {
	// ExcludeInterfaces leaves out interfaces by name; nil means DefaultExcludeInterfaces, and the empty
	// expression leaves out none.
	ExcludeInterfaces *regexp.Regexp
	// Alive says whether whoever decides what to announce is awake (rule E5). It is called for every reply by several
	// goroutines at once, and must neither lock nor allocate. nil: always.
	Alive func() bool
	// AnnounceOnReturn says whether to announce, unasked, the VIPs on an interface that has come up or at GratuitousInterval. A speaker whose
	// session is not fresh says no, probes, and then calls Reannounce (rule E9). It must neither block nor call back. nil: always.
	AnnounceOnReturn func() bool
	// GratuitousInterval is how often every VIP is announced again although nothing has changed, for switches that forget a MAC
	// from which little comes. 0: never.
	GratuitousInterval time.Duration
	// Metrics counts what is done and what is dropped; nil counts nothing.
	Metrics *Metrics
}

// Interface is one interface that VIPs can be announced on.
type Interface struct {
	Name  string
	Index int
	MAC   MAC
	// Prefixes are the interface's own addresses, with their prefix lengths, in order.
	Prefixes []netip.Prefix
	// Up says that the interface is up, has a carrier, and is being listened on.
	Up bool
}

// Announcer answers and announces. Its methods may be called by several goroutines at once, before, during and after Run.
//
// Four kinds of goroutine work on it: Run's own, which follows the interfaces; two readers for each interface and
// protocol; and one that sends the bursts. Readers take no lock on their way to a reply: they see vips, heard, links,
// ownMACs and members as immutable values behind atomic pointers. Only a holder of mu changes those.
type Announcer struct {
	config  Config
	log     klog.Logger
	metrics *Metrics

	mu    sync.Mutex
	vips  table[vip]   // what is announced
	heard table[claim] // whose claims are reported: what is announced or watched

	born    time.Time
	links   atomic.Pointer[[]*link] // every interface in use, in order of name
	ownMACs atomic.Pointer[[]MAC]
	members atomic.Pointer[map[MAC]struct{}] // other speakers', see SetMembers

	bursts    *burstQueue
	sending   turn // the burst goroutine's
	sightings chan Sighting
	changes   chan struct{}
	narrow    chan struct{} // the filters let through more than they must
	renew     chan struct{} // there are groups to join again
	relist    chan struct{} // a socket has failed: look at the interfaces again

	// probed are the groups joined for addresses that are probed for. Guarded by mu.
	probed map[netip.Addr]probedGroup
}

// vip is one announced address. It is replaced, never changed.
type vip struct {
	addr       netip.Addr
	interfaces []string // sorted; empty means all
	counters   vipCounters
}

// on says whether the VIP is to be announced on the interface of that name.
func (v *vip) on(name string) bool {
	return len(v.interfaces) == 0 || slices.Contains(v.interfaces, name)
}

// New makes an Announcer. It does nothing on the network before Run.
func New(logger klog.Logger, config Config) (*Announcer, error) {
	if config.ExcludeInterfaces == nil {
		exclude, err := regexp.Compile(DefaultExcludeInterfaces)
		if err != nil {
			return nil, err
		}
		config.ExcludeInterfaces = exclude
	}
	if config.Alive == nil {
		config.Alive = func() bool { return true }
	}
	if config.AnnounceOnReturn == nil {
		config.AnnounceOnReturn = func() bool { return true }
	}
	if config.Metrics == nil {
		config.Metrics = NewMetrics(nil)
	}
	a := &Announcer{
		config:    config,
		log:       logger,
		metrics:   config.Metrics,
		born:      time.Now(),
		bursts:    newBurstQueue(),
		sightings: make(chan Sighting, sightingsBuffered),
		changes:   make(chan struct{}, 1),
		narrow:    make(chan struct{}, 1),
		renew:     make(chan struct{}, 1),
		relist:    make(chan struct{}, 1),
		probed:    map[netip.Addr]probedGroup{},
	}
	a.links.Store(&[]*link{})
	a.ownMACs.Store(&[]MAC{})
	a.SetMembers(nil)
	return a, nil
}

// Run follows the host's interfaces and answers on them until ctx is done. When it returns, every socket is closed and
// every goroutine has ended. Call it once.
func (a *Announcer) Run(ctx context.Context) error {
	if err := checkRawSockets(); err != nil {
		return err
	}
	var bursts sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	bursts.Go(func() { a.bursts.run(ctx, a.sendAnnouncement) })
	if a.config.GratuitousInterval > 0 {
		bursts.Go(func() { a.repeatAnnouncements(ctx) })
	}
	defer func() {
		cancel()
		bursts.Wait()
		a.closeLinks()
	}()
	return a.followInterfaces(ctx)
}

// Announce starts answering for vip on the named interfaces, or on all of them when none is named, and announces it
// at once and four times more, 1.1 s apart. Names of interfaces that do not exist (yet) do no harm. Calling it again
// with the same arguments does nothing; with other interfaces it moves the VIP to those and announces it there.
func (a *Announcer) Announce(addr netip.Addr, interfaces []string) {
	addr = addr.Unmap().WithZone("")
	if !announceable(addr) {
		a.log.Error(nil, "Not announced: not a unicast address", "vip", addr)
		return
	}
	interfaces = slices.Compact(slices.Sorted(slices.Values(interfaces)))

	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.vips.get(addr)
	if old != nil && slices.Equal(old.interfaces, interfaces) {
		return
	}
	v := &vip{addr: addr, interfaces: interfaces}
	if old != nil {
		v.counters = old.counters
	} else {
		v.counters = a.metrics.vip(addr)
	}
	a.hear(addr, func(c *claim) { c.announced = true })
	for _, l := range *a.links.Load() {
		name := l.state.Load().name
		a.joinOrLeave(l, addr, old != nil && old.on(name), v.on(name))
	}
	a.vips.set(addr, v)
	a.bursts.add(announcement{vip: v, rounds: burstRounds})
}

// Withdraw stops answering and announcing: when it returns, this host says nothing more about vip.
func (a *Announcer) Withdraw(addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.vips.get(addr)
	if old == nil {
		return
	}
	a.vips.set(addr, nil)
	for _, l := range *a.links.Load() {
		l.awaitReplies()
	}
	a.sending.await()
	for _, l := range *a.links.Load() {
		a.joinOrLeave(l, addr, old.on(l.state.Load().name), false)
	}
	a.metrics.forget(addr)
	a.unhear(addr, func(c *claim) { c.announced = false })
}

// joinOrLeave has the questions for a VIP come in on an interface, or no longer. The caller holds mu. When it fails there
// may be answers all the same: network cards and switches that do not filter bring the questions anyway.
func (a *Announcer) joinOrLeave(l *link, addr netip.Addr, was, is bool) {
	var err error
	switch {
	case is && !was:
		err = l.join(addr)
	case was && !is:
		err = l.leave(addr)
	}
	if err != nil {
		a.log.Error(err, "Questions for the VIP may not be heard", "vip", addr, "interface", l.state.Load().name)
	}
}

// Reannounce announces vip once more, now (rules E7 and E9). It does nothing for a VIP that is not announced.
func (a *Announcer) Reannounce(addr netip.Addr) {
	if v := a.vips.get(addr.Unmap().WithZone("")); v != nil {
		a.bursts.add(announcement{vip: v, rounds: 1})
	}
}

// Interfaces is a snapshot of the interfaces that VIPs can be announced on, up or not, in order of name.
func (a *Announcer) Interfaces() []Interface {
	links := *a.links.Load()
	interfaces := make([]Interface, 0, len(links))
	for _, l := range links {
		state := l.state.Load()
		interfaces = append(interfaces, Interface{
			Name: state.name, Index: l.index, MAC: state.mac, Prefixes: slices.Clone(state.prefixes), Up: state.up,
		})
	}
	return interfaces
}

// Changes gets a value after Interfaces has changed; several changes may share one.
func (a *Announcer) Changes() <-chan struct{} { return a.changes }

// Watch asks for Sightings of addr as well. Announced VIPs are always watched.
func (a *Announcer) Watch(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hear(addr.Unmap().WithZone(""), func(c *claim) { c.watched = true })
}

// Unwatch takes Watch back.
func (a *Announcer) Unwatch(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unhear(addr.Unmap().WithZone(""), func(c *claim) { c.watched = false })
}

// Sightings are claims that others make to watched addresses. Whoever does not read them loses the newer ones.
func (a *Announcer) Sightings() <-chan Sighting { return a.sightings }

// sendAnnouncement sends one round of an announcement, and says whether to go on with the rounds that are left.
// The burst goroutine calls it.
func (a *Announcer) sendAnnouncement(n announcement) (frames int, next sendResult) {
	a.sending.begin()
	defer a.sending.end()
	if a.vips.get(n.vip.addr) != n.vip || (n.link != nil && n.link.changes.Load() != n.change) {
		return 0, sendOver
	}
	if !a.config.Alive() {
		return 0, sendLater
	}
	proto := protocolFor(n.vip.addr)
	if proto == nil {
		return 0, sendOver
	}
	for _, l := range *a.links.Load() {
		state := l.state.Load()
		if !state.up || !n.vip.on(state.name) || (n.link != nil && n.link != l) {
			continue
		}
		announcements, err := proto.announcements(state.mac, n.vip.addr)
		if err != nil {
			a.sendOwn(l, proto, nil, err)
			continue
		}
		for _, frame := range announcements {
			if a.sendOwn(l, proto, frame, nil) {
				n.vip.counters.gratuitous.Inc()
				frames++
			}
		}
	}
	return frames, sendDone
}

// repeatAnnouncements announces every VIP now and then, until ctx is done. What has changed goes first.
func (a *Announcer) repeatAnnouncements(ctx context.Context) {
	tick := time.NewTicker(a.config.GratuitousInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !a.config.AnnounceOnReturn() {
				continue
			}
			for _, v := range a.vips.all() {
				a.bursts.repeat(announcement{vip: v, rounds: 1})
			}
		}
	}
}

// announceOn announces every VIP on one interface: it is new, has come up or has another MAC. The caller holds mu.
func (a *Announcer) announceOn(l *link) {
	name := l.state.Load().name
	change := l.changes.Add(1) // else a link that flaps would have the bursts pile up
	for _, v := range a.vips.all() {
		if v.on(name) {
			a.bursts.add(announcement{vip: v, link: l, change: change, rounds: burstRounds})
		}
	}
}

// sendOwn sends a frame on this host's own account and counts it when it cannot.
func (a *Announcer) sendOwn(l *link, proto protocol, frame []byte, err error) bool {
	if err != nil {
		a.log.Error(err, "Building a packet failed", "interface", l.state.Load().name, "protocol", proto.name())
		return false
	}
	if reason := l.send(proto, frame); reason != passed {
		a.metrics.drops(proto.name())[reason].Inc()
		return false
	}
	return true
}

func announceable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback() && addr != ipv4Broadcast
}

const (
	burstRounds   = 5
	burstInterval = 1100 * time.Millisecond // Linux keeps a neighbour entry that is younger than 1 s (locktime)
)

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
