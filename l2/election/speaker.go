// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Announcer answers for VIPs on the LAN; announce.Announcer is the real one. Its methods do not block.
type Announcer interface {
	Announce(vip netip.Addr, interfaces []string)
	Withdraw(vip netip.Addr)
	Reannounce(vip netip.Addr)
	Probe(vip netip.Addr, interfaces []string)
	Ask(address netip.Addr)
	Watch(address netip.Addr)
	Unwatch(address netip.Addr)
}

// Sender multicasts heartbeats; membership.Transport is the real one.
type Sender interface {
	Send(datagram []byte)
}

// Observer is told what users are shown. Its methods are called from the decision loop and must not block.
type Observer interface {
	// Announced and Withdrawn: this node now answers, or no longer answers, for a VIP. vip is what the plan says of it; Announced
	// is called again when that may have changed.
	Announced(vip plan.VIP)
	// FirstAnnounced: the VIP that this node now answers for had no holder before. Called after Announced.
	FirstAnnounced(vip plan.VIP)
	Withdrawn(address netip.Addr)
	// Moved: a VIP went from one node to another, and why. Called on the node that handed it over, or on the one that has it now when the other was lost.
	Moved(vip plan.VIP, from, to, reason string)
	// Conflict: a host that is no speaker has, or announces, a VIP that this node announces, or would.
	Conflict(vip plan.VIP, sighting Sighting)
	// MembersHeard is the number of speakers heard now, this one included.
	MembersHeard(count int)
	// Sessions: who has a session, and where each of them can announce. Called when it changes.
	Sessions(speakers map[string]plan.Speaker)
}

// Config is what a Speaker needs.
type Config struct {
	Node      string
	Namespace string
	Timing    Timing
	// WithdrawOnAPILoss: see NewCore.
	WithdrawOnAPILoss bool
	// Leases is the client for VIP Leases and the watch; Sessions for this speaker's own session, and Doubts for reads of VIPs that another speaker was heard
	// to announce (E7), each with a budget of its own. Core asks for at most 50 of those reads a second, and 100 at once; one of the session comes with those of a step.
	Leases, Sessions, Doubts coordinationv1client.LeasesGetter
	Announcer                Announcer
	Sender                   Sender
	Observer                 Observer
	// Members is called from the loop with the hardware addresses that speakers announce from when they change. It must not block. nil: not called.
	Members func(macs []string)
	// LeaveWithin bounds how long Run takes after its context is done.
	LeaveWithin time.Duration
	// Writes to VIP Leases and foreign sessions under way at once, and as many reads beside them.
	Writes int
	// Metrics counts what the speaker goes through; nil counts nothing.
	Metrics *Metrics
}

// Speaker is the loop around Core: it gathers what this node sees, lets Core decide, and does it. Its methods may be
// called from any goroutine; what they bring is taken in by the loop, in order.
type Speaker struct {
	config Config
	// leases and doubts are the clients' for the speakers' namespace.
	leases, doubts coordinationv1client.LeaseInterface
	log            klog.Logger

	mailMu sync.Mutex
	mail   []func()
	wake   chan struct{}
	// sighted wakes the loop as wake does, but at most every sightedEvery.
	sighted chan struct{}
	turned  atomic.Int64 // when the loop last turned, in nanoseconds since born
	fresh   atomic.Bool
	// periods and doubted: see session.
	periods atomic.Int32
	doubted atomic.Bool
	born    time.Time
	work    sync.WaitGroup
	// slots and readers are places for writes, and for reads, under way; firsts are those that first claims need beside one of the slots.
	slots, readers, firsts chan struct{}

	// All below belongs to the loop.
	ticker   *time.Ticker
	core     *Core
	records  *Records
	judge    *membership.Judge
	sequence uint64
	view     View
	plan     map[netip.Addr]plan.VIP
	planned  bool
	listed   bool
	// interfaces are this node's own that are up, down the others; gateway is zero when there is none.
	interfaces, down []LocalInterface
	gateway          netip.Addr
	sightings        []Sighting
	electors         map[netip.Addr]elector
	losses           map[netip.Addr]loss     // of the VIPs that are claimed because their holder was lost
	addresses        map[netip.Addr]string   // a node's own address to the node
	asked            map[string][]netip.Addr // which of these a node is asked for
	watched          map[netip.Addr]struct{}
	plans            uint64 // counts the plans
	stepped          uint64 // the records' vipChanges at the last step
	derived          uint64 // the records' sessionChanges that derive has seen
	targeting        targeting
	summaryAt        time.Time
	summarise        bool
	members          int
	heardAt          time.Time // the judge's time, which must not go backwards

	description atomic.Pointer[map[string]string]
	keys        membership.Keys
	keyed       atomic.Bool // there has been a key
	following   following
	// described is closed once the interfaces are known.
	described     chan struct{}
	describedOnce sync.Once
}

// LocalInterface is an interface of this node that VIPs may be announced on.
type LocalInterface struct {
	Name string
	MAC  string
	// Addresses of the interface with their prefix lengths.
	Addresses []netip.Prefix
	// Down is set while the interface cannot be announced on; the others are told of it, so that they can say why.
	Down bool
}

// NewSpeaker returns a Speaker that does nothing until Run.
func NewSpeaker(ctx context.Context, config Config) *Speaker {
	s := &Speaker{
		config:  config,
		leases:  config.Leases.Leases(config.Namespace),
		doubts:  config.Doubts.Leases(config.Namespace),
		log:     klog.FromContext(ctx),
		wake:    make(chan struct{}, 1),
		sighted: make(chan struct{}, 1),
		born:    time.Now(),
		slots:   make(chan struct{}, config.Writes),
		readers: make(chan struct{}, config.Writes),
		firsts:  make(chan struct{}, firstClaims),
		core:    NewCore(config.Node, config.Timing, config.WithdrawOnAPILoss),
		records: NewRecords(),
		judge: membership.NewJudge(membership.Config{
			Node: config.Node, Period: config.Timing.Period, SilencePeriods: config.Timing.SilencePeriods, WitnessPeriods: 2.5,
		}),
		electors: map[netip.Addr]elector{},
		losses:   map[netip.Addr]loss{},
		view:     View{NodeAnsweredAt: map[string]time.Time{}},
	}
	s.description.Store(&map[string]string{})
	s.described = make(chan struct{})
	s.periods.Store(1)
	s.turned.Store(-int64(time.Hour))
	return s
}

// Alive says whether the decision loop turned lately (E5). It is called for every reply: it takes no lock and does
// not allocate.
func (s *Speaker) Alive() bool {
	return int64(time.Since(s.born))-s.turned.Load() < int64(stuckLoop)
}

// TurnedWithin says whether the decision loop turned within a span of time. For probes, which must not restart a speaker
// because its node was busy for a moment.
func (s *Speaker) TurnedWithin(span time.Duration) bool {
	return time.Since(s.born)-time.Duration(s.turned.Load()) < span
}

// Fresh says whether this speaker's session was renewed lately, so that it may announce without asking first (E9).
func (s *Speaker) Fresh() bool { return s.fresh.Load() }

// hand gives something to the loop, which does it in order, at its next turn.
func (s *Speaker) hand(do func()) {
	s.mailMu.Lock()
	defer s.mailMu.Unlock()
	s.mail = append(s.mail, do)
}

// post hands something to the loop and wakes it.
func (s *Speaker) post(do func()) {
	s.hand(do)
	signal(s.wake)
}

// postSighting hands something to the loop that comes by the thousand when many VIPs move: it wakes the loop at once, but not again
// within sightedEvery, because each turn costs a pass over all VIPs.
func (s *Speaker) postSighting(do func()) {
	s.hand(do)
	signal(s.sighted)
}

// signal leaves word, unless there is some.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SetPlan brings a new plan: for each VIP, which nodes are eligible.
func (s *Speaker) SetPlan(vips map[netip.Addr]plan.VIP) {
	s.post(func() { s.plan, s.planned, s.plans = vips, true, s.plans+1 })
}

// SetKey brings the key that heartbeats are signed with. Until then none are sent, and none are believed. After a change the old one
// goes on for a while, see membership.Keys.
func (s *Speaker) SetKey(key membership.Key) {
	if s.keys.Update(key, time.Now()) && s.keyed.Swap(true) {
		s.log.Info("memberlist: the key of heartbeats changed; the old one is believed for a minute", "node", s.config.Node)
	}
}

// SetInterfaces brings the interfaces that VIPs may be announced on, up or down.
func (s *Speaker) SetInterfaces(interfaces []LocalInterface) {
	var up, down []LocalInterface
	for _, each := range interfaces {
		if each.Down {
			down = append(down, each)
		} else {
			up = append(up, each)
		}
	}
	s.post(func() {
		s.interfaces, s.down = up, down
		s.view.Own = ownAddresses(interfaces)
		s.describe()
		if len(up) > 0 {
			s.describedOnce.Do(func() { close(s.described) })
		}
	})
}

// describe writes down what the next renewal of the session tells the other speakers.
func (s *Speaker) describe() {
	macs := make([]string, 0, len(s.interfaces))
	for _, each := range s.interfaces {
		macs = append(macs, each.MAC)
	}
	description := map[string]string{
		names.AnnotationMACs:       strings.Join(slices.Compact(slices.Sorted(slices.Values(macs))), ","),
		names.AnnotationInterfaces: FormatInterfaces(slices.Concat(s.interfaces, s.down)),
	}
	if s.config.WithdrawOnAPILoss {
		description[names.AnnotationWithdraws] = "true"
	}
	if s.view.Leaving {
		description[names.AnnotationLeaving] = "true"
	}
	s.description.Store(&description)
}

// SetGateway brings the address of the default gateway on the LAN, or the zero address when there is none.
func (s *Speaker) SetGateway(gateway netip.Addr) {
	s.post(func() {
		if gateway == s.gateway {
			return
		}
		s.gateway, s.view.GatewayAnsweredAt = gateway, time.Time{}
		s.watch()
	})
}

// Sight brings that another host announced an address or answered for it.
func (s *Speaker) Sight(address netip.Addr, mac, iface string) {
	at := time.Now()
	s.postSighting(func() {
		if address == s.gateway {
			s.view.GatewayAnsweredAt = at
		}
		if node, ok := s.addresses[address]; ok {
			s.view.NodeAnsweredAt[node] = at
		}
		// Either may be a VIP as well, by mistake, and is then in conflict.
		s.sightings = append(s.sightings, Sighting{VIP: address, Node: s.view.MACs.Node(mac), MAC: mac, Interface: iface})
	})
}

// Rival brings that another host asked whether anybody has an address, in order to take it.
func (s *Speaker) Rival(address netip.Addr, mac, iface string) {
	s.postSighting(func() {
		s.sightings = append(s.sightings, Sighting{VIP: address, Node: s.view.MACs.Node(mac), MAC: mac, Interface: iface, Rival: true})
	})
}

// Use brings that another host asked for a third address in the name of this one.
func (s *Speaker) Use(address netip.Addr, mac, iface string) {
	s.postSighting(func() {
		s.sightings = append(s.sightings, Sighting{VIP: address, Node: s.view.MACs.Node(mac), MAC: mac, Interface: iface, Use: true})
	})
}

// Hear brings a heartbeat datagram from the LAN, received at the given time. It does not wake the loop, whose next turn is
// soon enough to judge silence; and it is checked here, so that what a stranger sends costs the loop nothing.
func (s *Speaker) Hear(datagram []byte, at time.Time) {
	heartbeat, err := s.keys.Open(datagram, at)
	if err != nil {
		membership.CountDropped(membership.ReasonOf(err))
		return
	}
	s.hand(func() {
		s.heardAt = later(s.heardAt, at)
		if accepted, reason := s.judge.Heard(heartbeat, s.heardAt); !accepted {
			membership.CountDropped(reason)
		}
	})
}
