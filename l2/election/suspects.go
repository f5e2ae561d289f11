// SPDX-License-Identifier: Apache-2.0

package election

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// How nodes are asked whose speakers are not heard. Each question is a broadcast of every speaker for each of them, and where a switch or a firewall
// begins to drop heartbeats all are suspects for as long as that lasts.
const (
	// askedFor is how long a new suspect is asked every period; after that its node rests, and is asked again until it answers once.
	askedFor = 2 * time.Second
	// restLeast is the first rest; each is twice the one before, up to restMost.
	restLeast, restMost = 5 * time.Second, 30 * time.Second
	// askedAtOnce bounds how many nodes one speaker asks in a period.
	askedAtOnce = 16
)

// suspect is what Core remembers of an epoch that is not heard.
type suspect struct {
	// round is since when its node has been asked every period; zero while it rests, and before its turn.
	round time.Time
	// asked is when it was last asked, and rest how long it is left alone before the next round.
	asked time.Time
	rest  time.Duration
}

// askSuspects asks the LAN for the addresses of nodes whose speakers are not heard: where no third speaker can bear witness,
// a gateway that answers while they do not can (E4 b). Only an answer that is missing while a node is asked every period counts.
func (c *Core) askSuspects(v *View, out *Actions) {
	able := c.renewed(v) && !c.isolated && !v.LinkDown && !c.gatewaySince.IsZero() // to fence for it
	suspected := map[Epoch]bool{}
	var asking, waiting []Session
	for _, session := range c.others(v) {
		heard, ever := v.Liveness.LastHeard(string(session.Epoch))
		if !ever || within(suspicionPeriods*v.Liveness.Period(string(session.Epoch)), heard, v.Now) {
			continue
		}
		suspected[session.Epoch] = true
		each := c.suspects[session.Epoch]
		if each == nil {
			each = &suspect{}
			c.suspects[session.Epoch] = each
		}
		if !each.round.IsZero() && c.asksEnough(v, session, each, able) {
			each.round, each.rest = time.Time{}, min(max(restLeast, 2*each.rest), restMost)
		}
		switch {
		case !each.round.IsZero():
			asking = append(asking, session)
		case v.Now.Sub(each.asked) >= each.rest, able && (c.unrenewed(v, session) || c.gatewaySince.After(each.asked) || c.steadySince.After(each.asked)):
			waiting = append(waiting, session)
		}
	}
	maps.DeleteFunc(c.suspects, func(epoch Epoch, _ *suspect) bool { return !suspected[epoch] })
	if !out.AskGateway {
		return
	}
	if room := max(0, askedAtOnce-len(asking)); len(waiting) > room {
		slices.SortFunc(waiting, func(a, b Session) int {
			first := c.suspects[a.Epoch].asked.Compare(c.suspects[b.Epoch].asked)
			switch {
			case c.unrenewed(v, a) && !c.unrenewed(v, b):
				first = -1
			case c.unrenewed(v, b) && !c.unrenewed(v, a):
				first = 1
			}
			return cmp.Or(first, strings.Compare(a.Node, b.Node))
		})
		waiting = waiting[:room]
	}
	for _, session := range waiting {
		c.suspects[session.Epoch].round = v.Now
	}
	for _, session := range slices.Concat(asking, waiting) {
		c.suspects[session.Epoch].asked = v.Now
		out.AskNodes = append(out.AskNodes, session.Node)
	}
}

// asksEnough says that a round of questions may end: the node answers and its session is renewed, or nothing would follow if it did not answer.
func (c *Core) asksEnough(v *View, session Session, each *suspect, able bool) bool {
	answered := v.NodeAnsweredAt[session.Node]
	answers := answered.After(each.round) && within(gatewaySilence, answered, v.Now)
	switch {
	case able && (!answers || c.unrenewed(v, session)):
		return false
	case each.rest == 0:
		return v.Now.Sub(each.round) >= askedFor
	}
	return answers || v.Now.Sub(each.round) >= c.timing.silence()
}

// unrenewed says that a session has stood unchanged for so long that the silence of its speaker counts though its node answers.
func (c *Core) unrenewed(v *View, session Session) bool {
	return v.Now.Sub(later(session.ChangedAt, c.renewedSince)) >= session.unrenewed()
}

// askedSince is since when, without a break, the node of an epoch has been asked every period; zero while it is not.
func (c *Core) askedSince(epoch Epoch) time.Time {
	if each := c.suspects[epoch]; each != nil {
		return each.round
	}
	return time.Time{}
}
