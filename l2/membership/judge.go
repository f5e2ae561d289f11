// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"
)

// maxEpochs bounds the member list: epochs heard, and epochs only reported. Ended ones are kept until room is needed,
// so that recordings of them stay recognised.
const maxEpochs = 4096

// Config of a Judge.
type Config struct {
	// Node is the own node; heartbeats that name it are dropped.
	Node string
	// Period of the own heartbeats; see Judge.Period.
	Period time.Duration
	// SilencePeriods without a heartbeat make an epoch silent; within WitnessPeriods of one its node is a witness.
	SilencePeriods, WitnessPeriods float64
}

// Judge keeps the member list. It belongs to one goroutine, and now must not go backwards from one call to the next.
type Judge struct {
	config Config
	// epochs are those heard by own ears, reported those never heard but reported, and when that was.
	epochs   map[string]*epoch
	reported map[EpochID]time.Time
	byID     map[EpochID]*epoch
	nodes    map[string]*node
	// inOrder has the same nodes as a slice, which is much faster to go through.
	inOrder []*node
	// recorded is set once the records are known.
	recorded bool
}

// node is what is known of one node.
type node struct {
	name string
	// session is the epoch that the records name, if any.
	session string
	epochs  []*epoch
	// stretches are the times in which the node was a witness, oldest first.
	stretches []stretch
}

// epoch is an entry of the member list.
type epoch struct {
	node      *node
	name      string
	id        EpochID
	firstAt   time.Time
	heardAt   time.Time // by own ears
	reportAt  time.Time // as others report it
	sequence  uint64
	ended     bool
	period    time.Duration // as it announced
	gateway   bool
	ackedAt   time.Time
	heardOnce bool
}

// Member is a speaker that is, or was, heard.
type Member struct {
	Node, Epoch string
	// LastHeard by own ears or as others report it.
	LastHeard time.Time
	// HeardAt is when it was last heard by own ears. What follows is what it said then: whether its gateway answers, when by the local
	// clock its last acknowledged write was, and its period, 0 when it did not say.
	HeardAt        time.Time
	GatewayAnswers bool
	AckedAt        time.Time
	Period         time.Duration
}

// NewJudge returns a Judge with an empty member list.
func NewJudge(config Config) *Judge {
	return &Judge{
		config:   config,
		epochs:   map[string]*epoch{},
		reported: map[EpochID]time.Time{},
		byID:     map[EpochID]*epoch{},
		nodes:    map[string]*node{},
	}
}

// SetPeriod changes the own period; see ScalePeriod.
func (j *Judge) SetPeriod(period time.Duration) { j.config.Period = period }

// Period is the one by which an epoch is judged: the longer of its own, as it announced with its last heartbeat, and this
// speaker's. So nobody is taken for silent who sends as slowly as it said, while a change of period goes through the cluster.
// One that was never heard by own ears is judged by the longest period of all that are.
func (j *Judge) Period(name string) time.Duration {
	if e := j.epochs[name]; e != nil {
		return j.period(e)
	}
	longest := j.config.Period
	for _, e := range j.epochs {
		if !e.ended && j.vouches(e) {
			longest = max(longest, e.period)
		}
	}
	return longest
}

func (j *Judge) period(e *epoch) time.Duration { return max(j.config.Period, e.period) }

// silent tells whether an epoch that was last heard at a time is silent.
func (j *Judge) silent(e *epoch, heard, now time.Time) bool {
	return now.Sub(heard) >= time.Duration(j.config.SilencePeriods*float64(j.period(e)))
}

// Sessions brings the records: the present epoch of every node that has a session. An epoch that was named and no longer
// is has ended for good.
func (j *Judge) Sessions(epochs map[string]string) {
	first := !j.recorded
	j.recorded = true
	for _, n := range j.nodes {
		if first {
			n.stretches = nil // it may have been a recording that was heard
		}
		if n.session != epochs[n.name] {
			j.endSession(n)
		}
	}
	for name, session := range epochs {
		if session != "" && name != j.config.Node {
			j.node(name).session = session
		}
	}
}

func (j *Judge) endSession(n *node) {
	if e := j.epochs[n.session]; e != nil {
		e.ended = true
	}
	n.session, n.stretches = "", nil
	j.dropIfEmpty(n)
}

func (j *Judge) node(name string) *node {
	n := j.nodes[name]
	if n == nil {
		n = &node{name: name}
		j.nodes[name], j.inOrder = n, append(j.inOrder, n)
	}
	return n
}

func (j *Judge) dropIfEmpty(n *node) {
	if len(n.epochs) == 0 && n.session == "" {
		delete(j.nodes, n.name)
		j.inOrder = slices.DeleteFunc(j.inOrder, func(each *node) bool { return each == n })
	}
}

// Heard takes in a heartbeat. It tells whether it counted, and if not, why.
func (j *Judge) Heard(h Heartbeat, now time.Time) (accepted bool, reason DropReason) {
	if h.Node == j.config.Node {
		return false, DropOwn
	}
	e := j.epochs[h.Epoch]
	if e == nil {
		e = j.enter(h, now)
	}
	switch {
	case e.ended:
		return false, DropEndedEpoch
	case e.heardOnce && h.Sequence == e.sequence:
		return false, DropDuplicate
	case e.heardOnce && h.Sequence < e.sequence:
		return false, DropReplayed
	}
	e.heardOnce, e.sequence, e.heardAt = true, h.Sequence, now
	e.period = h.Period
	e.gateway, e.ackedAt = h.GatewayAnswers, now.Add(-h.AckAge)
	if !j.recorded {
		j.endPredecessors(e, now)
	}
	if j.vouches(e) {
		e.node.witness(now, j.witnessWindow(), j.horizon())
		j.takeReports(h.Hears, now)
	}
	return true, DropNone
}

// enter makes an entry for an epoch.
func (j *Judge) enter(h Heartbeat, now time.Time) *epoch {
	if len(j.epochs) >= maxEpochs {
		j.makeRoom()
	}
	n := j.node(h.Node)
	e := &epoch{node: n, name: h.Epoch, id: IDOf(h.Epoch), firstAt: now}
	if at, ok := j.reported[e.id]; ok {
		e.reportAt = at
		delete(j.reported, e.id)
	}
	n.epochs = append(n.epochs, e)
	j.epochs[e.name], j.byID[e.id] = e, e
	return e
}

// makeRoom forgets the epoch that has not been heard for longest, one that the records name last of all.
func (j *Judge) makeRoom() {
	var oldest *epoch
	for _, e := range j.epochs {
		if oldest == nil || e.less(oldest) {
			oldest = e
		}
	}
	n := oldest.node
	n.epochs = slices.DeleteFunc(n.epochs, func(e *epoch) bool { return e == oldest })
	delete(j.epochs, oldest.name)
	delete(j.byID, oldest.id)
	j.dropIfEmpty(n)
}

func (e *epoch) less(other *epoch) bool {
	if e.named() != other.named() {
		return other.named()
	}
	return e.heardAt.Before(other.heardAt)
}

// named tells whether the records name the epoch as the present one of its node.
func (e *epoch) named() bool { return e.node.session == e.name }

// vouches tells whether what the epoch says is believed: it is not a recording of the node's past.
func (j *Judge) vouches(e *epoch) bool { return !j.recorded || e.named() }

// endPredecessors ends the epochs of e's node that are older than e and silent. It is for the time without records.
func (j *Judge) endPredecessors(e *epoch, now time.Time) {
	for _, other := range e.node.epochs {
		if other.firstAt.Before(e.firstAt) && j.silent(other, other.heardAt, now) {
			other.ended = true
		}
	}
}

// takeReports takes in whom another member heard.
func (j *Judge) takeReports(hears []Hearing, now time.Time) {
	for _, hearing := range hears {
		at := now.Add(-hearing.Ago)
		if e := j.byID[hearing.Epoch]; e != nil {
			e.reportAt = later(e.reportAt, at)
			continue
		}
		if known, ok := j.reported[hearing.Epoch]; ok || len(j.reported) < maxEpochs {
			j.reported[hearing.Epoch] = later(known, at)
			continue
		}
		for id, known := range j.reported { // make room for those that matter
			if now.Sub(known) > j.horizon() {
				delete(j.reported, id)
			}
		}
	}
}

func (e *epoch) lastHeard() time.Time { return later(e.heardAt, e.reportAt) }

// LastHeard is when an epoch was last heard, by this speaker or as others report it; ok is false when it never was.
func (j *Judge) LastHeard(name string) (at time.Time, ok bool) {
	if e := j.epochs[name]; e != nil {
		return e.lastHeard(), true
	}
	at, ok = j.reported[IDOf(name)]
	return at, ok
}

// Last is what the last heartbeat of an epoch said; ok is false when none was heard by own ears.
func (j *Judge) Last(name string) (member Member, ok bool) {
	e := j.epochs[name]
	if e == nil {
		return Member{}, false
	}
	return e.member(), true
}

func (e *epoch) member() Member {
	return Member{
		Node: e.node.name, Epoch: e.name, LastHeard: e.lastHeard(),
		HeardAt: e.heardAt, GatewayAnswers: e.gateway, AckedAt: e.ackedAt, Period: e.period,
	}
}

// Members lists who was heard within the silence, by node. A node is listed once: with the epoch that the records name, if it
// is heard, else with the one first heard last.
func (j *Judge) Members(now time.Time) []Member {
	var members []Member
	for _, n := range j.nodes {
		var present *epoch
		for _, e := range n.epochs {
			if e.ended || j.silent(e, e.lastHeard(), now) || present != nil && present.named() {
				continue
			}
			if present == nil || e.named() || present.firstAt.Before(e.firstAt) {
				present = e
			}
		}
		if present != nil {
			members = append(members, present.member())
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	return members
}

// Hearings lists the epochs that were heard by own ears within the silence, for the own heartbeat. The order is steady, as
// Seal wants it.
func (j *Judge) Hearings(now time.Time) []Hearing {
	hearings := make([]Hearing, 0, len(j.nodes))
	for _, e := range j.epochs {
		if !e.ended && j.vouches(e) && !j.silent(e, e.heardAt, now) {
			hearings = append(hearings, Hearing{Epoch: e.id, Ago: now.Sub(e.heardAt)})
		}
	}
	slices.SortFunc(hearings, func(a, b Hearing) int {
		return cmp.Or(bytes.Compare(a.Epoch[:], b.Epoch[:]), cmp.Compare(a.Ago, b.Ago))
	})
	return hearings
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
