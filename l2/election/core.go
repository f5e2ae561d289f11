// SPDX-License-Identifier: Apache-2.0

package election

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Timing holds the periods that the rules are made of. Each is a duration on this speaker's own clock.
type Timing struct {
	// Period of heartbeats and of the decision loop.
	Period time.Duration
	// SilencePeriods without a heartbeat after which an epoch counts as silent (E4 b).
	SilencePeriods float64
	// SessionDuration, RenewDeadline and RetryPeriod of the session Lease (E1); the first two grow with the cluster, see renewalPeriods.
	SessionDuration, RenewDeadline, RetryPeriod time.Duration
	// Stagger between candidates for a VIP that nobody holds (E10).
	Stagger time.Duration
	// SuccessorWait before a holder names the next successor (E8).
	SuccessorWait time.Duration
	// ReadWait for the API server's word on who holds a VIP, when another speaker was heard to announce it (E7).
	ReadWait time.Duration
	// FenceBackoff before a speaker that was fenced, or crashed more than once, takes VIPs again; it doubles each time up to
	// FenceBackoffMax and starts over after as long a calm; 0: never (E10).
	FenceBackoff, FenceBackoffMax time.Duration
	// RebalanceInterval is the least time between two hand-overs that one speaker starts for a better spread or a preferred node;
	// 0: never (E10).
	RebalanceInterval time.Duration
}

// DefaultTiming is the timing of `--failover=default`.
func DefaultTiming() Timing {
	return Timing{
		Period:          100 * time.Millisecond,
		SilencePeriods:  5.5,
		SessionDuration: 4 * time.Second,
		RenewDeadline:   2500 * time.Millisecond,
		RetryPeriod:     time.Second,
		Stagger:         150 * time.Millisecond,
		SuccessorWait:   time.Second,
		ReadWait:        300 * time.Millisecond,
		FenceBackoff:    2 * time.Second,
		FenceBackoffMax: 2 * time.Minute,

		RebalanceInterval: time.Second,
	}
}

// FastTiming is the timing of `--failover=fast`: silence is found in half the time, and false moves are likelier.
func FastTiming() Timing {
	timing := DefaultTiming()
	timing.Period = 50 * time.Millisecond
	return timing
}

// silence is how long this speaker must be silent before it may be fenced for it, by its own period.
func (t Timing) silence() time.Duration {
	return time.Duration(t.SilencePeriods * float64(t.Period))
}

// silenceOf is how long another's epoch must be silent before it may be fenced for it, by the period that it announced (E11).
func (c *Core) silenceOf(v *View, epoch Epoch) time.Duration {
	return time.Duration(c.timing.SilencePeriods * float64(v.Liveness.Period(string(epoch))))
}

// hears says whether an epoch is heard now.
func (c *Core) hears(v *View, epoch Epoch) bool {
	at, ok := v.Liveness.LastHeard(string(epoch))
	return ok && v.Now.Sub(at) < c.silenceOf(v, epoch)
}

// Intervals of the announcer's side of the rules.
const (
	// probeHeld is how often a speaker without the API server asks who else answers for its VIPs (E7).
	probeHeld = 5 * time.Second
	// asksPerSecond bounds the probes for all that a speaker answers for at once, asksAtOnce those of one step: each is a broadcast (E7, E9).
	asksPerSecond, asksAtOnce = 2000, 200
	// probeHandOver is how often a holder asks for its successor's answer (E8).
	probeHandOver = 500 * time.Millisecond
	// readEvery bounds how often announcements by other speakers make this one ask the API server about a VIP.
	readEvery = time.Second
	// readsPerSecond bounds what is asked of the API server about all VIPs, readsAtOnce what is at once: anybody on the LAN can give rise to it.
	readsPerSecond, readsAtOnce = 50, 100
	// liedFor is for how long a doubt that proved wrong makes the next one wait longer.
	liedFor = 10 * time.Second
	// probeYielded is how often a speaker that yielded asks whether anybody answers (E7).
	probeYielded = 250 * time.Millisecond
	// silentVIP is how long nobody must answer before one that yielded answers again, and rankWait what each rank adds.
	silentVIP = time.Second
	rankWait  = 250 * time.Millisecond
	// announceAgain bounds announcements to a speaker that has not heard this one's, and is when a VIP that nobody handed over is announced again.
	announceAgain = 200 * time.Millisecond
	// defendEvery bounds announcements against a stranger (RFC 5227 section 2.4, DEFEND_INTERVAL).
	defendEvery = 10 * time.Second
	// gatewaySilence after which a gateway that answered before counts as silent (E9).
	gatewaySilence = 500 * time.Millisecond
	// watchLag is how long after a successor's announcement the watch may take to show that it holds the VIP.
	watchLag = 100 * time.Millisecond
	// suspicionPeriods without a heartbeat after which a node is asked whether it is there at all, and gatewayPeriods those in
	// which a gateway must answer to count as a witness (E4 b).
	suspicionPeriods, gatewayPeriods = 2, 3
	// spared is how long a session may stand unrenewed while its speaker is heard on the LAN (E4 a), or its duration if that is longer. That speaker
	// cannot reach the API server, or not yet again; it answers for its VIPs meanwhile (E6), and whoever takes them breaks the connections
	// that are open through them. After an outage nodes reach the API server again some seconds apart, and who is first must not take from
	// the rest. But a node that is cut off for good knows nothing any more of new endpoints and of deleted Services: after 40 s, when Kubernetes
	// itself calls a node NotReady, its VIPs go to others. The time counts from when the observer's own renewals came through.
	spared = 40 * time.Second
	// takeOver is how long after a hand-over its old holder may still announce the VIP, because it has not heard the new one yet.
	takeOver = 2 * time.Second
	// unheardDurations is how many session durations an old holder answers for a VIP whose new holder is on the LAN and does not.
	unheardDurations = 3
	// claimRetry after a claim that the API server refused.
	claimRetry = 100 * time.Millisecond
	// busyMost is how much longer, at most, a candidate waits for those before it, while they take other VIPs of nodes that are gone.
	busyMost = 3 * time.Second
)

// Claim asks for a VIP that nobody holds, or whose holder asks this speaker to take it.
type Claim struct {
	VIP netip.Addr
	// Base is the record the claim was decided on; nothing but that version is replaced. Its Object is nil when the VIP
	// has no Lease yet.
	Base   Lease
	Reason string
	// First is set when nobody ever held the VIP: no client waits for its return.
	First bool
}

// Naming asks Successor to take a VIP that this speaker holds; an empty Successor takes the request back.
type Naming struct {
	VIP       netip.Addr
	Base      Lease
	Successor string
	Reason    string
	// Again is set when the one asked before did not take it.
	Again bool
}

// Fence ends another speaker's session.
type Fence struct {
	Session Session
	Reason  string
	// Silent is set when the reason is the silence of its heartbeats (E4 b).
	Silent bool
}

// Mark tells, on the Lease of a VIP that nobody holds, of a host that has the address.
type Mark struct {
	VIP netip.Addr
	// Base is the record that the mark is written on; its Object is nil when the VIP has no Lease yet.
	Base     Lease
	Conflict names.Conflict
}

// Change is a change of what this speaker answers for, for logs and events.
type Change struct {
	VIP      netip.Addr
	Announce bool
	Reason   string
}

// Actions is what a step decided. Writes named in it are made beside the loop; their outcome comes back through the
// records and through ClaimEnded and ReadEnded.
type Actions struct {
	Changes    []Change
	HandOvers  []HandOver
	Claims     []Claim
	Fences     []Fence
	Namings    []Naming
	Releases   []Lease
	Reannounce []netip.Addr
	Probes     []netip.Addr
	Reads      []netip.Addr
	Conflicts  []Sighting
	Marks      []Mark
	// AskGateway is set when the gateway should be asked for now, and AskNodes are the nodes whose address should be.
	AskGateway bool
	AskNodes   []string
}

// Core decides for one speaker. It is not safe for concurrent use.
type Core struct {
	node     string
	timing   Timing
	withdraw bool // --on-api-loss=withdraw

	started  time.Time
	lastStep time.Time
	// steadySince: since when, without a break, this speaker's own conditions for fencing have held (E4).
	steadySince time.Time
	// renewedSince: since when, without a break, its own session was freshly renewed and its loop turned; reachedSince is the
	// same but for its loop, and turningSince but for its session.
	renewedSince, reachedSince, turningSince time.Time
	// takesFrom is the end of its back-off.
	takesFrom time.Time
	// takesSince: since when, without a break, this speaker may take VIPs; zero while it may not.
	takesSince time.Time
	// isolated: neither the gateway nor any other speaker is heard (E9).
	isolated     bool
	askedGateway time.Time
	// askingSince: since when, without a break, the gateway has been asked more often than once a second.
	askingSince time.Time
	// heardAny: some member has been heard. cutOff: none is now, and no gateway that ever answered can tell whose fault that is.
	heardAny, cutOff bool
	// gatewayLost: the gateway does not answer although it is asked, and last did so at gatewayLostAt; gatewayReturned: now it does again.
	gatewayLost, gatewayReturned bool
	gatewayLostAt                time.Time
	// gatewaySince: since when, without a break, the gateway has answered while it was asked every period.
	gatewaySince time.Time
	suspects     map[Epoch]*suspect   // the epochs that are not heard
	fencing      map[string]time.Time // by node: when its session was last tried to end
	returns      []time.Time
	returnedAt   time.Time            // the last return (E9)
	aloneUntil   time.Time            // the last return before which nobody was heard
	heard        map[string]time.Time // epochs that were not silent at the last step, and since when
	movedAt      time.Time            // when a VIP was last handed over without need
	took         map[string]time.Time // by node: when the records last showed that it took a VIP whose holder was gone
	gatewayKnown bool                 // the gateway has answered
	linkDown     bool                 // at the last step
	// asks is how many probes for what this speaker answers for may be sent now; toAsk is what is left of a round of them after a return.
	asks  float64
	reads float64 // how many reads of VIPs may begin now
	toAsk []netip.Addr
	// probesStarted counts the VIPs that this step began to probe, unclaimed those that nobody ever held, backlog those of the step before.
	probesStarted, unclaimed, backlog int
	vips                              map[netip.Addr]*vip
	ordered                           []*vip // the same by address; nil when it has to be made anew
}

// NewCore returns the decision core of a speaker that starts now. With withdrawOnAPILoss it stops answering when its
// session can no longer be valid, instead of answering until it hears a successor (E6).
func NewCore(node string, timing Timing, withdrawOnAPILoss bool) *Core {
	return &Core{
		node:     node,
		timing:   timing,
		withdraw: withdrawOnAPILoss,
		suspects: map[Epoch]*suspect{},
		fencing:  map[string]time.Time{},
		heard:    map[string]time.Time{},
		took:     map[string]time.Time{},
		vips:     map[netip.Addr]*vip{},
	}
}

// Answering says whether this speaker answers for a VIP.
func (c *Core) Answering(address netip.Addr) bool {
	vip := c.vips[address]
	return vip != nil && vip.answering
}

// AnsweringFor lists the VIPs that this speaker answers for, in order.
func (c *Core) AnsweringFor() []netip.Addr {
	var list []netip.Addr
	for _, vip := range c.inOrder() {
		if vip.answering {
			list = append(list, vip.address)
		}
	}
	return list
}

// HoldOff keeps the speaker from taking VIPs until a time: a fenced one waits out its back-off (E10).
func (c *Core) HoldOff(until time.Time) { c.takesFrom = until }

// Step decides. Now must not go backwards from one step to the next.
func (c *Core) Step(v *View) Actions {
	var out Actions
	if c.started.IsZero() {
		c.started, c.renewedSince, c.reachedSince, c.turningSince, c.steadySince = v.Now, v.Now, v.Now, v.Now, v.Now
	}
	c.probesStarted, c.unclaimed, c.backlog = 0, 0, c.unclaimed
	c.asks = min(asksAtOnce, c.asks+v.Now.Sub(c.lastStep).Seconds()*asksPerSecond)
	c.reads = min(readsAtOnce, c.reads+v.Now.Sub(c.lastStep).Seconds()*readsPerSecond)
	c.judgeMyself(v, &out)
	c.askSuspects(v, &out)
	switch {
	case !c.mayTake(v):
		c.takesSince = time.Time{}
	case c.takesSince.IsZero():
		c.takesSince = v.Now
	}
	for _, sighting := range v.Sightings {
		c.sight(v, sighting, &out)
	}
	c.fence(v, &out)
	c.noticeReturns(v)

	if !v.SameVIPs {
		for address := range v.Targets {
			c.vip(address)
		}
		for address := range v.Leases {
			c.vip(address)
		}
	}
	for _, vip := range c.inOrder() {
		if known := c.decide(v, vip, &out); !known && !vip.answering && !vip.claiming && !vip.yielded {
			delete(c.vips, vip.address)
			c.ordered = nil
		}
	}
	c.announceReturns(v, &out)
	maps.DeleteFunc(c.took, func(_ string, at time.Time) bool { return v.Now.Sub(at) > busyMost })
	c.lastStep = v.Now
	return out
}

// inOrder lists the VIPs so that equal views lead to equal decisions.
func (c *Core) inOrder() []*vip {
	if c.ordered == nil {
		c.ordered = slices.SortedFunc(maps.Values(c.vips), func(a, b *vip) int { return a.address.Compare(b.address) })
	}
	return c.ordered
}

func (c *Core) vip(address netip.Addr) *vip {
	state := c.vips[address]
	if state == nil {
		state = &vip{address: address}
		c.vips[address] = state
		c.ordered = nil
	}
	return state
}

// others are the sessions of the other speakers, by node.
func (c *Core) others(v *View) iter.Seq2[string, Session] {
	return func(yield func(string, Session) bool) {
		for node, session := range v.Sessions {
			if node != c.node && session.Epoch != "" && !yield(node, session) {
				return
			}
		}
	}
}

// valid says whether this speaker's own session can still count as its own: nobody else may have taken it for expired.
func (c *Core) valid(v *View) bool {
	return v.Epoch != "" && !v.Ack.IsZero() && v.Now.Sub(v.Ack) < c.timing.SessionDuration &&
		(v.ValidUntil.IsZero() || v.Now.Before(v.ValidUntil))
}

// renewed says whether the session was acknowledged so lately that its renewals are not failing.
func (c *Core) renewed(v *View) bool {
	return v.Epoch != "" && !v.Ack.IsZero() && v.Now.Sub(v.Ack) < c.timing.RenewDeadline
}

// mayAnswer says whether this speaker may answer for what it holds: always, unless it was told to withdraw when its session
// may have run out (E6).
func (c *Core) mayAnswer(v *View) bool { return !c.withdraw || c.valid(v) }

// mayTake says whether this speaker may take VIPs now, but for its back-off (E6, E9, E10).
func (c *Core) mayTake(v *View) bool {
	return v.Synced && !v.Leaving && !v.LinkDown && !c.isolated && !c.cutOff && c.valid(v) &&
		v.Now.Sub(c.started) >= c.timing.silence()
}

// takes says whether this speaker may take a VIP now: it may take any, and does not back off, or so does everybody else (E10).
func (c *Core) takes(v *View, target Target) bool {
	return !c.takesSince.IsZero() && (!v.Now.Before(c.takesFrom) || target.LastResort)
}

// takingSince is since when, without a break, takes has been true for a VIP.
func (c *Core) takingSince(target Target) time.Time {
	if target.LastResort {
		return c.takesSince
	}
	return later(c.takesSince, c.takesFrom)
}
