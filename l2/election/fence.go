// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// judgeMyself keeps account of the conditions that this speaker itself must meet before it may judge others (E4, E9).
func (c *Core) judgeMyself(v *View, out *Actions) {
	stalled := !c.lastStep.IsZero() && v.Now.Sub(c.lastStep) > c.timing.Period*3/2
	if !c.renewed(v) || stalled {
		c.renewedSince = v.Now
	}
	if !c.renewed(v) {
		c.reachedSince = v.Now
	}
	if stalled {
		c.turningSince = v.Now
	}
	alone := c.alone(v, c.turningSince)
	switch { // a gateway is silent only if it was asked often enough: a member that has just begun is not heard yet either
	case !alone && len(c.suspects) == 0:
		c.askingSince = time.Time{}
	case c.askingSince.IsZero():
		c.askingSince = v.Now
	}
	asked := v.Now.Sub(later(c.askingSince, c.turningSince)) >= gatewayPeriods*c.timing.Period
	lost := asked && !c.askingSince.IsZero() && c.lostGateway(v)
	c.gatewayReturned = c.gatewayLost && !lost && within(gatewayPeriods*c.timing.Period, v.GatewayAnsweredAt, v.Now)
	if c.gatewayLost = lost; lost {
		c.gatewayLostAt = v.Now
	}
	c.isolated = asked && alone && c.gatewaySilent(v, c.turningSince) ||
		c.isolated && c.alone(v, time.Time{}) && c.gatewaySilent(v, time.Time{}) // a stall is no reason to think better of it
	c.heardAny = c.heardAny || len(c.heard) > 0
	c.cutOff = alone && c.heardAny && v.GatewayAnsweredAt.IsZero()
	if !c.renewed(v) || stalled || c.isolated || v.LinkDown {
		c.steadySince = v.Now
	}

	every := time.Second
	if alone || len(c.suspects) > 0 {
		every = c.timing.Period
	}
	if v.Now.Sub(c.askedGateway) >= every {
		c.askedGateway = v.Now
		out.AskGateway = true
	}
	switch {
	case !within(gatewayPeriods*c.timing.Period, v.GatewayAnsweredAt, v.Now):
		c.gatewaySince = time.Time{}
	case c.gatewaySince.IsZero():
		c.gatewaySince = v.Now
	}
}

// gatewaySilent says that a gateway which answered before has not answered for the time of an isolation (E9), since floor at the
// earliest.
func (c *Core) gatewaySilent(v *View, floor time.Time) bool {
	return !v.GatewayAnsweredAt.IsZero() && v.Now.Sub(later(v.GatewayAnsweredAt, floor)) > gatewaySilence
}

// alone says that there are other speakers by the records, and that none has been heard for the time of an isolation (E9), since floor
// at the earliest: who stood still did not listen, and silence counts only from when this speaker's loop turned again.
func (c *Core) alone(v *View, floor time.Time) bool {
	others := false
	for _, session := range c.others(v) {
		if at, ok := v.Liveness.LastHeard(string(session.Epoch)); ok && v.Now.Sub(later(at, floor)) < gatewaySilence {
			return false
		}
		others = true
	}
	return others
}

// fence ends the sessions of speakers that are gone (E4). The peers of a dead speaker take turns, so that one swap
// mostly suffices.
func (c *Core) fence(v *View, out *Actions) {
	maps.DeleteFunc(c.fencing, func(node string, _ time.Time) bool { return v.Sessions[node].Epoch == "" })
	if !v.Synced || v.Leaving || !c.renewed(v) || c.isolated || v.LinkDown {
		return
	}
	for node, session := range c.others(v) {
		since, wait, reason := c.suspect(v, session)
		if v.Now.Sub(since) < wait || v.Now.Sub(since) < wait+time.Duration(c.turn(v, node))*c.timing.Stagger/3 {
			continue
		}
		if tried, ok := c.fencing[node]; ok && v.Now.Sub(tried) < c.timing.SuccessorWait {
			continue
		}
		c.fencing[node] = v.Now
		out.Fences = append(out.Fences, Fence{Session: session, Reason: reason, Silent: wait == c.silenceOf(v, session.Epoch)})
	}
	slices.SortFunc(out.Fences, func(a, b Fence) int { return strings.Compare(a.Session.Node, b.Session.Node) })
}

// suspect says since when the conditions for fencing a session have held without a break, and how long they must. To be heard is a sign
// of life: a session that is not renewed is fenced for its duration (E4 a) only when its speaker has not been heard for as long, or when
// that has lasted for as long as it is spared. One that withdraws without the API server is not spared: nobody would answer.
func (c *Core) suspect(v *View, session Session) (since time.Time, wait time.Duration, reason string) {
	heard, ever := v.Liveness.LastHeard(string(session.Epoch))
	unchanged := later(session.ChangedAt, c.renewedSince)
	lifeless := unchanged
	if ever && !session.Withdraws {
		lifeless = later(unchanged, heard)
	}
	if v.Now.Sub(lifeless) >= session.Duration {
		return lifeless, session.Duration, "session not renewed for its whole duration"
	}
	if patience := max(spared, session.Duration); v.Now.Sub(later(session.ChangedAt, c.reachedSince)) >= patience && c.unrenewed(v, session) {
		return later(session.ChangedAt, c.reachedSince), patience, "session not renewed for 40 s or its duration, though its speaker is heard"
	}
	byDuration := func() (time.Time, time.Duration, string) { return lifeless, session.Duration, "" }
	last, _ := v.Liveness.Last(string(session.Epoch))
	if !ever || last.GatewayAnswers && c.lostGateway(v) {
		return byDuration()
	}
	silent, silence := later(heard, c.steadySince), c.silenceOf(v, session.Epoch)
	if v.Now.Sub(silent) < silence { // as nearly always: spares the search for a witness
		return byDuration()
	}
	if last.GatewayAnswers { // who had no gateway a moment ago may have been on the wrong side of the LAN
		silent = later(silent, c.gatewayLostAt)
	}
	if witness, ok := v.Liveness.WitnessSince(string(session.Epoch), v.Now); ok {
		return later(silent, witness), silence, "heartbeats silent while another member is heard"
	}
	asked := c.askedSince(session.Epoch)
	if asked.IsZero() || c.gatewaySince.IsZero() {
		return byDuration()
	}
	silent = later(silent, c.gatewaySince)
	answered := v.NodeAnsweredAt[session.Node]
	if !answered.After(asked) {
		return later(silent, asked), silence, "heartbeats and address of the node silent while the gateway answers"
	}
	if !within(gatewaySilence, answered, v.Now) { // it answered at first: its own silence counts from then
		return later(silent, answered), silence, "heartbeats and address of the node silent while the gateway answers"
	}
	if c.unrenewed(v, session) {
		return silent, silence, "heartbeats silent and session not renewed while the gateway and the node answer"
	}
	return byDuration()
}

// lostGateway says that a gateway which answered before does not now. It is for when somebody is suspected: the gateway is then
// asked every period, and one that was lost together with the suspect must be known to be before the silence is over.
func (c *Core) lostGateway(v *View) bool {
	return !v.GatewayAnsweredAt.IsZero() && !within(gatewayPeriods*c.timing.Period, v.GatewayAnsweredAt, v.Now)
}

// turn is this speaker's place among those who may fence a node.
func (c *Core) turn(v *View, suspect string) int {
	place := 0
	for node, session := range c.others(v) {
		if node != suspect && node < c.node && c.hears(v, session.Epoch) {
			place++
		}
	}
	return place
}

// noticeReturns finds members that are heard again, a gateway that answers for the first time or again and a link that came up:
// what two sides of a healed network must tell each other is who answers (E9).
func (c *Core) noticeReturns(v *View) {
	alone := len(c.heard) == 0
	returned := c.linkDown && !v.LinkDown
	c.linkDown = v.LinkDown
	returned = returned || c.gatewayReturned
	if !c.gatewayKnown && !v.GatewayAnsweredAt.IsZero() {
		c.gatewayKnown, returned = true, true
	}
	for _, session := range c.others(v) {
		epoch := string(session.Epoch)
		at, ok := v.Liveness.LastHeard(epoch)
		_, before := c.heard[epoch]
		if before {
			at = later(at, c.turningSince)
		}
		hears := ok && v.Now.Sub(at) < c.silenceOf(v, session.Epoch)
		switch {
		case hears && !before:
			c.heard[epoch], returned = v.Now, true
		case !hears:
			delete(c.heard, epoch)
		}
	}
	for epoch := range c.heard {
		if node, _, _ := strings.Cut(epoch, "/"); string(v.Sessions[node].Epoch) != epoch {
			delete(c.heard, epoch)
		}
	}
	if returned {
		c.returnedAt = v.Now
		if alone {
			c.aloneUntil = v.Now
		}
		c.returns = nil
		for _, after := range returnTimes {
			c.returns = append(c.returns, v.Now.Add(after))
		}
	}
}

// returnTimes are when, after a return, a speaker says or asks who answers (E9): announcements the first three times, and probes, of which
// each can be lost on its way there or back, each time.
var returnTimes = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond, time.Second}

// announceReturns makes a speaker with a live session announce its VIPs after a return, and one without, or that heard nobody and has not been told
// since that it has one, ask who else answers for them. With many VIPs a round of questions takes longer, and the next waits for its end.
func (c *Core) announceReturns(v *View, out *Actions) {
	renewed := c.renewed(v) && !c.mayHaveEnded(v)
	if renewed {
		c.toAsk = nil
	}
	if len(c.returns) > 0 && !v.Now.Before(c.returns[0]) && len(c.toAsk) == 0 {
		c.returns = c.returns[1:]
		late := len(c.returns) < len(returnTimes)-3
		switch {
		case !renewed:
			c.toAsk = c.AnsweringFor()
		case !late:
			for _, address := range c.AnsweringFor() {
				c.announce(v, c.vips[address], out)
			}
		}
	}
	for len(c.toAsk) > 0 {
		if c.Answering(c.toAsk[0]) && !c.ask(v, c.vips[c.toAsk[0]], out) {
			return
		}
		c.toAsk = c.toAsk[1:]
	}
}

// mayHaveEnded says that others may have ended this speaker's session, however fresh it looks: it heard nobody for a while, and the API server has not
// acknowledged a write since.
func (c *Core) mayHaveEnded(v *View) bool {
	return !c.aloneUntil.IsZero() && !v.Ack.After(c.aloneUntil)
}

// within says whether something happened, and no longer ago than that.
func within(span time.Duration, at, now time.Time) bool {
	return !at.IsZero() && now.Sub(at) <= span
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
