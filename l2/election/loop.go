// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

const (
	// stuckLoop is how long the decision loop may not have turned before no reply is sent (E5).
	stuckLoop = 250 * time.Millisecond
	// sightedEvery is how often, at most, what is seen on the LAN wakes the decision loop.
	sightedEvery = 10 * time.Millisecond
	// wakeRest is how long the loop lets mail gather after a turn that mail began, in times of what that turn took, and wakeRestMost the most of it.
	// With a thousand VIPs a turn takes a millisecond, and the Leases of a node that died bring hundreds a second.
	wakeRest, wakeRestMost = 8, 20 * time.Millisecond
)

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
	var deadline, sightedAgain, wakeAgain <-chan time.Time
	sighted, wake := s.sighted, s.wake // nil for a while after each time
	for {
		beat, woken := false, false
		select {
		case <-s.ticker.C:
			beat = true
		case <-wake:
			woken = true
		case <-wakeAgain:
			wake, wakeAgain = s.wake, nil
			continue
		case <-sighted:
			sighted, sightedAgain = nil, time.After(sightedEvery)
		case <-sightedAgain:
			sighted, sightedAgain = s.sighted, nil
			continue
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
		began := time.Now()
		s.turn(background, beat)
		if woken {
			wake, wakeAgain = nil, time.After(min(wakeRest*time.Since(began), wakeRestMost))
		}
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
	s.retarget(now)
	s.view.Now = now
	s.checkWatch(now)
	s.view.Sessions, s.view.Leases = s.records.sessions, s.records.leases
	s.view.Liveness = s.judge
	s.view.Synced = s.targeting.done
	s.view.LinkDown = len(s.interfaces) == 0
	s.view.Sightings, s.sightings = s.sightings, nil
	s.doubted.Store(s.records.sessions[s.config.Node].Epoch != s.view.Epoch)
	s.fresh.Store(s.core.renewed(&s.view))
	if s.stepped != s.records.vipChanges {
		s.view.SameVIPs, s.stepped = false, s.records.vipChanges
	}
	actions := s.core.Step(&s.view)
	s.view.SameVIPs = true
	s.act(ctx, actions)
	s.dropElectors()
	if beat {
		s.beat(now)
		s.countMembers(now)
	}
	s.summary(now)
	s.turned.Store(int64(time.Since(s.born)))
}

// act does what Core decided. Nothing here waits for the API server.
func (s *Speaker) act(ctx context.Context, actions Actions) {
	unplanned := false // a VIP was withdrawn that no Service uses
	for _, change := range actions.Changes {
		s.summarise = true
		if change.Announce {
			s.config.Announcer.Announce(change.VIP, s.view.Targets[change.VIP].Interfaces)
			s.endLoss(change.VIP, s.view.Now)
			s.log.Info("announce: this node is the elected leader of the VIP", "vip", change.VIP, "node", s.config.Node, "reason", change.Reason, "services", s.plan[change.VIP].Services)
			s.config.Observer.Announced(s.vip(change.VIP))
			if elector := s.electors[change.VIP]; elector.first {
				elector.first = false
				s.electors[change.VIP] = elector
				s.config.Observer.FirstAnnounced(s.vip(change.VIP))
			}
		} else {
			s.config.Announcer.Withdraw(change.VIP)
			if !slices.ContainsFunc(actions.HandOvers, func(h HandOver) bool { return h.VIP == change.VIP }) { // which say more
				s.log.Info("withdraw", "vip", change.VIP, "node", s.config.Node, "reason", change.Reason)
			}
			s.config.Observer.Withdrawn(change.VIP)
			if _, planned := s.view.Targets[change.VIP]; !planned {
				unplanned = true
			}
		}
	}
	if unplanned {
		s.watch()
	}
	for _, each := range actions.HandOvers {
		s.summarise = true
		s.config.Metrics.handedOver(each)
		s.config.Observer.Moved(s.vip(each.VIP), s.config.Node, each.To, each.Reason)
		s.log.Info("withdraw: handed over to the VIP's new leader", "vip", each.VIP, "node", s.config.Node, "reason", each.Reason, "from", s.config.Node, "to", each.To, "took", each.Took.Round(time.Millisecond))
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
		for _, address := range s.asked[node] {
			s.config.Announcer.Ask(address)
		}
	}
	for _, sighting := range actions.Conflicts {
		message := "Another host announces a VIP of this node, which defends it"
		if sighting.Unclaimed {
			message = "Another host has the VIP, which is therefore not announced"
		}
		s.log.Info(message, "vip", sighting.VIP, "node", s.config.Node, "mac", sighting.MAC, "interface", sighting.Interface)
		s.config.Observer.Conflict(s.vip(sighting.VIP), sighting)
	}
	for _, claim := range actions.Claims {
		s.claim(ctx, claim)
	}
	for _, fence := range actions.Fences {
		s.fence(ctx, fence)
	}
	for _, mark := range actions.Marks {
		s.mark(ctx, mark)
	}
	for _, naming := range actions.Namings {
		s.name(ctx, naming)
	}
	for _, lease := range actions.Releases {
		s.release(ctx, lease)
	}
	s.read(ctx, actions.Reads)
}

// vip is what the plan says of a VIP; only its address when the newest one, for which there are no targets yet, has dropped it.
func (s *Speaker) vip(address netip.Addr) plan.VIP {
	if vip, ok := s.plan[address]; ok {
		return vip
	}
	return plan.VIP{Addr: address}
}

// dropElectors ends the electors of VIPs that the records say are no longer this speaker's. A claim that still waits for its turn is called off when the
// API server would refuse it, since the Lease has changed, when it would count for nothing, since its epoch has ended, and when nobody wants the VIP, or this
// speaker may not take it, any more.
func (s *Speaker) dropElectors() {
	takes := s.core.mayTake(&s.view)
	for vip, elector := range s.electors {
		lease, standing := s.view.standing(s.config.Node, vip)
		state := s.core.vips[vip]
		_, planned := s.view.Targets[vip]
		waits := !elector.lock.sent.Load()
		outdated := version(lease.Object) != version(elector.lock.claim.Base.Object) || elector.lock.epoch != s.view.Epoch
		switch claiming := state != nil && state.claiming; {
		case claiming && waits && (outdated || !planned || !takes):
			elector.cancel() // and the claim's end is told
		case !claiming && (standing == theirs || standing == void):
			elector.cancel()
			delete(s.electors, vip)
		}
	}
}

// beat multicasts this speaker's heartbeat, from the decision loop itself, so that a stuck loop is silent (E11).
func (s *Speaker) beat(now time.Time) {
	if s.view.Epoch == "" || s.lostUntold() {
		return
	}
	s.sequence++
	datagram := s.keys.Seal(membership.Heartbeat{
		Node:           s.config.Node,
		Epoch:          string(s.view.Epoch),
		Sequence:       s.sequence,
		Period:         s.core.timing.Period,
		GatewayAnswers: s.gatewayAnswers(now),
		AckAge:         now.Sub(s.view.Ack),
		Hears:          s.judge.Hearings(now),
	}, now)
	if datagram != nil { // else there is no key yet
		s.config.Sender.Send(datagram)
	}
}

// lostUntold says that this speaker has lost an interface and cannot write that on its session. The others must not spare it for being
// heard on another one (E4 a): it keeps silent.
func (s *Speaker) lostUntold() bool {
	own := s.records.sessions[s.config.Node].Object
	if s.fresh.Load() || own == nil {
		return false
	}
	return slices.ContainsFunc(parseInterfaces(own.Annotations[names.AnnotationInterfaces]), func(told LocalInterface) bool {
		return !slices.ContainsFunc(s.interfaces, func(has LocalInterface) bool { return has.Name == told.Name })
	})
}

// handedOver says that nothing is left that another node could take.
func (s *Speaker) handedOver() bool {
	if s.targeting.done && !s.targeting.leaving {
		return false // it does not know yet to whom
	}
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
