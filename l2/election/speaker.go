// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// stuckLoop is how long the decision loop may not have turned before no reply is sent (E5).
const stuckLoop = 250 * time.Millisecond

// summaryEvery is how often the member list and the VIPs are logged without a change.
const summaryEvery = 5 * time.Minute

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
	Withdrawn(address netip.Addr)
	// Conflict: a host that is no speaker announces a VIP of this node.
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
	// Leases is the client for VIP Leases and the watch; Sessions, with a budget of its own, for this speaker's own session.
	Leases, Sessions coordinationv1client.LeasesGetter
	Announcer        Announcer
	Sender           Sender
	Observer         Observer
	// LeaveWithin bounds how long Run takes after its context is done.
	LeaveWithin time.Duration
	// Writes to VIP Leases and foreign sessions under way at once.
	Writes int
}

// Speaker is the loop around Core: it gathers what this node sees, lets Core decide, and does it. Its methods may be
// called from any goroutine; what they bring is taken in by the loop, in order.
type Speaker struct {
	config Config
	leases coordinationv1client.LeaseInterface
	log    klog.Logger

	mailMu sync.Mutex
	mail   []func()
	wake   chan struct{}
	turned atomic.Int64 // when the loop last turned, in nanoseconds since born
	fresh  atomic.Bool
	born   time.Time
	work   sync.WaitGroup
	slots  chan struct{}

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
	// interfaces and describe are this node's own; gateway is zero when there is none.
	interfaces []LocalInterface
	gateway    netip.Addr
	sightings  []Sighting
	electors   map[netip.Addr]context.CancelFunc
	heldBy     map[string]string     // hardware address to node
	addresses  map[netip.Addr]string // a node's own address to the node
	derived    struct {
		sessionChanges uint64
		planned        bool
	}
	fencedAt  []time.Time
	summaryAt time.Time
	summarise bool
	members   int
	heardAt   time.Time // the judge's time, which must not go backwards

	description atomic.Pointer[map[string]string]
	key         atomic.Pointer[membership.Key]
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
}

// NewSpeaker returns a Speaker that does nothing until Run.
func NewSpeaker(ctx context.Context, config Config) *Speaker {
	s := &Speaker{
		config:  config,
		leases:  config.Leases.Leases(config.Namespace),
		log:     klog.FromContext(ctx),
		wake:    make(chan struct{}, 1),
		born:    time.Now(),
		slots:   make(chan struct{}, config.Writes),
		core:    NewCore(config.Node, config.Timing, config.WithdrawOnAPILoss),
		records: NewRecords(),
		judge: membership.NewJudge(membership.Config{
			Node: config.Node, Period: config.Timing.Period, SilencePeriods: config.Timing.SilencePeriods, WitnessPeriods: 2.5,
		}),
		electors: map[netip.Addr]context.CancelFunc{},
		heldBy:   map[string]string{},
		view:     View{NodeAnsweredAt: map[string]time.Time{}},
	}
	s.description.Store(&map[string]string{})
	s.described = make(chan struct{})
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
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// SetPlan brings a new plan: for each VIP, which nodes are eligible.
func (s *Speaker) SetPlan(vips map[netip.Addr]plan.VIP) {
	s.post(func() { s.plan, s.planned, s.derived.planned = vips, true, false })
}

// SetKey brings the key that heartbeats are signed with. Until then none are sent, and none are believed.
func (s *Speaker) SetKey(key membership.Key) {
	s.key.Store(&key)
}

// SetInterfaces brings what this node can announce on.
func (s *Speaker) SetInterfaces(interfaces []LocalInterface) {
	s.post(func() {
		s.interfaces = interfaces
		s.describe()
		if len(interfaces) > 0 {
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
		names.AnnotationInterfaces: FormatInterfaces(s.interfaces),
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
		if s.gateway.IsValid() {
			s.config.Announcer.Unwatch(s.gateway)
		}
		if s.gateway, s.view.GatewayAnsweredAt = gateway, (time.Time{}); gateway.IsValid() {
			s.config.Announcer.Watch(gateway)
		}
	})
}

// Sight brings that another host announced an address or answered for it.
func (s *Speaker) Sight(address netip.Addr, mac, iface string) {
	at := time.Now()
	s.post(func() {
		if address == s.gateway {
			s.view.GatewayAnsweredAt = at
			return
		}
		if node, ok := s.addresses[address]; ok {
			s.view.NodeAnsweredAt[node] = at
			return
		}
		s.sightings = append(s.sightings, Sighting{VIP: address, Node: s.heldBy[mac], MAC: mac, Interface: iface})
	})
}

// Hear brings a heartbeat datagram from the LAN, received at the given time. It does not wake the loop, whose next turn is
// soon enough to judge silence; and it is checked here, so that what a stranger sends costs the loop nothing.
func (s *Speaker) Hear(datagram []byte, at time.Time) {
	key := s.key.Load()
	if key == nil {
		return
	}
	heartbeat, err := key.Open(datagram)
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

// Run elects and announces until the context is done; then it hands its VIPs over, withdraws what is left, releases its
// session and returns, within LeaveWithin.
func (s *Speaker) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer func() { stop(); s.work.Wait() }()

	sessionContext, endSession := context.WithCancel(background)
	defer endSession()
	sessionEnded := make(chan error, 1)
	go func() {
		select { // the first write tells the others where this speaker announces
		case <-s.described:
		case <-time.After(s.config.Timing.SessionDuration):
		case <-ctx.Done():
		}
		sessionEnded <- s.newSession().run(sessionContext)
	}()
	s.work.Go(func() { s.watchLeases(background) })

	s.ticker = time.NewTicker(s.config.Timing.Period)
	defer s.ticker.Stop()
	done := ctx.Done()
	var deadline <-chan time.Time
	for {
		beat := false
		select {
		case <-s.ticker.C:
			beat = true
		case <-s.wake:
		case <-done:
			done = nil
			s.view.Leaving = true
			s.describe()
			deadline = time.After(s.config.LeaveWithin)
			s.log.Info("Speaker stops: handing over what it announces", "node", s.config.Node, "vips", len(s.core.AnsweringFor()))
		case <-deadline:
			return s.leave(endSession, sessionEnded)
		case err := <-sessionEnded:
			return fmt.Errorf("session of node %s: %w", s.config.Node, err)
		}
		s.turn(background, beat)
		if s.view.Leaving && s.handedOver() {
			return s.leave(endSession, sessionEnded)
		}
	}
}

// turn is one turn of the decision loop.
func (s *Speaker) turn(ctx context.Context, beat bool) {
	s.turned.Store(int64(time.Since(s.born)))
	s.mailMu.Lock()
	mail := s.mail
	s.mail = nil
	s.mailMu.Unlock()
	for _, do := range mail {
		do()
	}

	now := time.Now()
	s.derive()
	s.view.Now = now
	s.view.Sessions, s.view.Leases = s.records.sessions, s.records.leases
	s.view.Liveness = s.judge
	s.view.Synced = s.listed && s.planned
	s.view.LinkDown = len(s.interfaces) == 0
	s.view.Sightings, s.sightings = s.sightings, nil
	s.fresh.Store(s.core.renewed(&s.view))
	s.act(ctx, s.core.Step(&s.view))
	s.dropElectors()
	if beat {
		s.beat(now)
	}
	if beat {
		s.countMembers(now)
	}
	s.summary(now)
	s.turned.Store(int64(time.Since(s.born)))
}

// derive brings up to date what follows from the plan and from who has a session.
func (s *Speaker) derive() {
	if s.derived.planned && s.derived.sessionChanges == s.records.sessionChanges {
		return
	}
	if s.derived.sessionChanges != s.records.sessionChanges {
		s.heldBy = s.records.nodesByMAC()
		s.watchNodes()
		if s.listed {
			s.judge.Sessions(s.records.epochs())
		}
		s.setPeriod(membership.ScalePeriod(s.config.Timing.Period, len(s.records.epochs())))
		s.config.Observer.Sessions(s.speakers())
	}
	s.derived.planned, s.derived.sessionChanges = true, s.records.sessionChanges

	held := map[netip.Addr]string{}
	for vip, lease := range s.records.leases {
		if session, ok := s.records.sessions[lease.Holder]; ok && session.Epoch == lease.Epoch {
			held[vip] = lease.Holder
		}
	}
	live := func(node string) bool {
		return s.records.sessions[node].Epoch != "" && !s.records.sessions[node].Leaving
	}
	candidates := plan.Candidates(s.plan, live, held)
	before := s.view.Targets
	s.view.Targets = make(map[netip.Addr]Target, len(s.plan))
	for vip, planned := range s.plan {
		verdict := planned.Verdict(s.config.Node)
		target := Target{Candidates: candidates[vip], Interfaces: verdict.Interfaces, Reason: string(verdict.Reason)}
		if !verdict.Eligible {
			target.Interfaces = before[vip].Interfaces // until it is handed over it stays where it was
		} else if !verdict.InSubnet && slices.ContainsFunc(candidates[vip], func(node string) bool { return planned.Verdict(node).InSubnet }) {
			target.Misplaced, target.Reason = true, "no address in the VIP's subnet"
		}
		s.view.Targets[vip] = target
		s.config.Announcer.Watch(vip)
		if s.core.Answering(vip) {
			s.config.Announcer.Announce(vip, target.Interfaces) // moves it when the interfaces have changed
			s.config.Observer.Announced(planned)                // shows it on Services that are new on the VIP
		}
	}
	for vip := range s.core.vips {
		if _, planned := s.plan[vip]; !planned && !s.core.Answering(vip) {
			s.config.Announcer.Unwatch(vip)
		}
	}
}

// setPeriod makes heartbeats, and with them the loop, slower in a large cluster (E11).
func (s *Speaker) setPeriod(period time.Duration) {
	if period == s.core.timing.Period {
		return
	}
	s.log.Info("memberlist: period of heartbeats changes with the number of speakers", "period", period)
	s.core.timing.Period = period
	s.judge.SetPeriod(period)
	s.ticker.Reset(period)
}

// watchNodes listens for answers of the other nodes' own addresses, on this LAN.
func (s *Speaker) watchNodes() {
	addresses := map[netip.Addr]string{}
	for node, session := range s.records.sessions {
		if node == s.config.Node || session.Epoch == "" {
			continue
		}
		for _, each := range parseInterfaces(session.Object.Annotations[names.AnnotationInterfaces]) {
			for _, prefix := range each.Addresses {
				if !prefix.Addr().IsLinkLocalUnicast() {
					addresses[prefix.Addr()] = node
				}
			}
		}
	}
	for address := range s.addresses {
		if _, still := addresses[address]; !still {
			s.config.Announcer.Unwatch(address)
		}
	}
	for address := range addresses {
		if _, already := s.addresses[address]; !already {
			s.config.Announcer.Watch(address)
		}
	}
	s.addresses = addresses
}

// speakers is where each speaker with a session can announce, as the plan wants it.
func (s *Speaker) speakers() map[string]plan.Speaker {
	speakers := map[string]plan.Speaker{}
	for node, session := range s.records.sessions {
		if session.Epoch != "" {
			speakers[node] = plan.Speaker{Interfaces: ParseInterfaces(session.Object.Annotations[names.AnnotationInterfaces])}
		}
	}
	return speakers
}

// act does what Core decided. Nothing here waits for the API server.
func (s *Speaker) act(ctx context.Context, actions Actions) {
	for _, change := range actions.Changes {
		s.summarise = true
		if change.Announce {
			s.config.Announcer.Announce(change.VIP, s.view.Targets[change.VIP].Interfaces)
			s.log.Info("announce: this node is the elected leader of the VIP", "vip", change.VIP, "node", s.config.Node, "reason", change.Reason, "services", s.plan[change.VIP].Services)
			s.config.Observer.Announced(s.plan[change.VIP])
		} else {
			s.config.Announcer.Withdraw(change.VIP)
			s.log.Info("withdraw", "vip", change.VIP, "node", s.config.Node, "reason", change.Reason)
			s.config.Observer.Withdrawn(change.VIP)
		}
	}
	for _, vip := range actions.Reannounce {
		s.config.Announcer.Reannounce(vip)
	}
	for _, vip := range actions.Probes {
		s.config.Announcer.Probe(vip, s.view.Targets[vip].Interfaces)
	}
	if actions.AskGateway && s.gateway.IsValid() {
		s.config.Announcer.Ask(s.gateway)
	}
	for _, node := range actions.AskNodes {
		for address, of := range s.addresses {
			if of == node {
				s.config.Announcer.Ask(address)
			}
		}
	}
	for _, sighting := range actions.Conflicts {
		s.log.Info("Another host announces a VIP of this node, which defends it", "vip", sighting.VIP, "node", s.config.Node, "mac", sighting.MAC, "interface", sighting.Interface)
		s.config.Observer.Conflict(s.plan[sighting.VIP], sighting)
	}
	for _, claim := range actions.Claims {
		s.claim(ctx, claim)
	}
	for _, fence := range actions.Fences {
		s.fence(ctx, fence)
	}
	for _, naming := range actions.Namings {
		s.name(ctx, naming)
	}
	for _, lease := range actions.Releases {
		s.release(ctx, lease)
	}
	for _, vip := range actions.Reads {
		s.read(ctx, vip)
	}
}

// dropElectors ends the electors of VIPs that the records say are no longer this speaker's.
func (s *Speaker) dropElectors() {
	for vip, cancel := range s.electors {
		state := s.core.vips[vip]
		if state != nil && state.claiming {
			continue
		}
		if _, standing := s.view.standing(s.config.Node, vip); standing == theirs || standing == void {
			cancel()
			delete(s.electors, vip)
		}
	}
}

// beat multicasts this speaker's heartbeat, from the decision loop itself, so that a stuck loop is silent (E11).
func (s *Speaker) beat(now time.Time) {
	key := s.key.Load()
	if key == nil || s.view.Epoch == "" {
		return
	}
	s.sequence++
	s.config.Sender.Send(key.Seal(membership.Heartbeat{
		Node:           s.config.Node,
		Epoch:          string(s.view.Epoch),
		Sequence:       s.sequence,
		GatewayAnswers: !s.view.GatewayAnsweredAt.IsZero() && now.Sub(s.view.GatewayAnsweredAt) < time.Second+gatewaySilence,
		AckAge:         now.Sub(s.view.Ack),
		Hears:          s.judge.Hearings(now),
	}))
}

func (s *Speaker) countMembers(now time.Time) {
	members := len(s.judge.Members(now))
	if s.view.Epoch != "" {
		members++
	}
	if members != s.members {
		s.members, s.summarise = members, true
		s.config.Observer.MembersHeard(members)
	}
}

// summary logs the member list and what is announced: after changes, and now and then without one, because `kubectl logs
// -l` shows no more than the last lines of a pod.
func (s *Speaker) summary(now time.Time) {
	since := now.Sub(s.summaryAt)
	if since < time.Second || !s.summarise && since < summaryEvery {
		return
	}
	s.summaryAt, s.summarise = now, false
	var heard []string
	for _, member := range s.judge.Members(now) {
		heard = append(heard, member.Node)
	}
	slices.Sort(heard)
	vips := s.core.AnsweringFor()
	s.log.Info(fmt.Sprintf("memberlist members=%d announce vips=%v", s.members, vips[:min(20, len(vips))]),
		"node", s.config.Node, "hears", heard, "announced", len(vips))
}

// handedOver says that nothing is left that another node could take.
func (s *Speaker) handedOver() bool {
	for _, vip := range s.core.AnsweringFor() {
		if s.core.otherCandidate(s.view.Targets[vip]) {
			return false
		}
	}
	for _, state := range s.core.vips {
		if state.claiming {
			return false
		}
	}
	return true
}

// leave withdraws what is left, and then ends the session, which frees it by the records.
func (s *Speaker) leave(endSession context.CancelFunc, sessionEnded <-chan error) error {
	for _, vip := range s.core.AnsweringFor() {
		s.config.Announcer.Withdraw(vip)
		s.log.Info("withdraw", "vip", vip, "node", s.config.Node, "reason", "speaker stops, and no other node took the VIP over")
		s.config.Observer.Withdrawn(vip)
	}
	endSession()
	err := <-sessionEnded
	s.log.Info("Speaker stopped", "node", s.config.Node)
	return err
}

func (s *Speaker) newSession() *session {
	return &session{
		client:    s.config.Sessions,
		namespace: s.config.Namespace,
		node:      s.config.Node,
		timing:    s.config.Timing,
		describe:  func() map[string]string { return *s.description.Load() },
		acknowledged: func(epoch Epoch, sent time.Time, object *coordinationv1.Lease) {
			s.post(func() {
				if epoch != s.view.Epoch {
					s.log.Info("Session begins", "node", s.config.Node, "epoch", epoch)
				}
				s.view.Epoch, s.view.Ack = epoch, sent
				s.records.Answered(object, time.Now())
			})
		},
		fenced: func(epoch Epoch, by string) {
			s.post(func() { s.sessionLost(epoch, by, time.Now()) })
		},
	}
}

// sessionLost takes in that the session was ended by somebody else. If that was a peer, the speaker waits before it takes
// VIPs again, longer each time (E10).
func (s *Speaker) sessionLost(epoch Epoch, by string, now time.Time) {
	timing := s.config.Timing
	if s.view.Epoch == epoch {
		s.view.Epoch, s.view.Ack = "", time.Time{}
	}
	if by == "" {
		s.log.Info("Session was ended, and not by a speaker: was its Lease deleted by hand?", "node", s.config.Node, "epoch", epoch)
		return
	}
	s.fencedAt = slices.DeleteFunc(s.fencedAt, func(at time.Time) bool { return now.Sub(at) > timing.FenceBackoffMax })
	backoff := min(timing.FenceBackoff<<min(len(s.fencedAt), 16), timing.FenceBackoffMax)
	s.fencedAt = append(s.fencedAt, now)
	s.core.HoldOff(now.Add(backoff))
	s.log.Info("Session was ended by another speaker; this one takes no VIP for a while", "node", s.config.Node, "epoch", epoch, "by", by, "backoff", backoff)
}
