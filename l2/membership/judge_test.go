// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const period = 100 * time.Millisecond

// ears is a Judge of the node "me", with a clock that counts from the start, in milliseconds.
type ears struct {
	*Judge
	t     *testing.T
	start time.Time
	next  map[string]uint64
}

func newEars(t *testing.T) *ears {
	return &ears{
		Judge: NewJudge(Config{Node: "me", Period: period, SilencePeriods: 5.5, WitnessPeriods: 2.5}),
		t:     t, start: time.Now(), next: map[string]uint64{},
	}
}

func (e *ears) at(ms int) time.Time { return e.start.Add(time.Duration(ms) * time.Millisecond) }

func (e *ears) ms(at time.Time) int { return int(at.Sub(e.start) / time.Millisecond) }

// hear brings the next heartbeat of an epoch, "node/random".
func (e *ears) hear(ms int, epoch string, hears ...Hearing) {
	e.t.Helper()
	e.next[epoch]++
	if ok, reason := e.Heard(heartbeat(epoch, e.next[epoch], hears...), e.at(ms)); !ok {
		e.t.Fatalf("%d ms: heartbeat %d of %s was dropped: %s", ms, e.next[epoch], epoch, reason)
	}
}

// hearAll brings heartbeats of an epoch each period.
func (e *ears) hearAll(from, to int, epochs ...string) {
	e.t.Helper()
	for ms := from; ms <= to; ms += 100 {
		for _, epoch := range epochs {
			e.hear(ms, epoch)
		}
	}
}

func heartbeat(epoch string, sequence uint64, hears ...Hearing) Heartbeat {
	node := epoch[:slices.Index([]byte(epoch), '/')]
	return Heartbeat{Node: node, Epoch: epoch, Sequence: sequence, Hears: hears}
}

func (e *ears) wantDropped(ms int, h Heartbeat, want DropReason) {
	e.t.Helper()
	if ok, reason := e.Heard(h, e.at(ms)); ok || reason != want {
		e.t.Errorf("%d ms: heartbeat %d of %s: %v %q, want %q", ms, h.Sequence, h.Epoch, ok, reason, want)
	}
}

func (e *ears) wantMembers(ms int, want ...string) {
	e.t.Helper()
	var got []string
	for _, member := range e.Members(e.at(ms)) {
		got = append(got, member.Epoch)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		e.t.Errorf("%d ms: members: %s", ms, diff)
	}
}

func (e *ears) wantLastHeard(epoch string, want int) {
	e.t.Helper()
	at, ok := e.LastHeard(epoch)
	switch {
	case !ok && want >= 0:
		e.t.Errorf("%s was never heard, want at %d ms", epoch, want)
	case ok && e.ms(at) != want:
		e.t.Errorf("%s was heard at %d ms, want %d", epoch, e.ms(at), want)
	}
}

const never = -1

func (e *ears) wantWitness(ms int, except string, want int) {
	e.t.Helper()
	since, ok := e.WitnessSince(except, e.at(ms))
	switch {
	case ok != (want >= 0):
		e.t.Errorf("%d ms: a witness beside %s: %v", ms, except, ok)
	case ok && e.ms(since) != want:
		e.t.Errorf("%d ms: a witness beside %s since %d ms, want %d", ms, except, e.ms(since), want)
	}
}

// A member is heard until 5.5 periods after its last heartbeat.
func TestSilence(t *testing.T) {
	e := newEars(t)
	e.wantLastHeard("a/1", never)
	e.wantMembers(0)
	e.hearAll(0, 1000, "a/1", "b/1")
	e.wantMembers(1000, "a/1", "b/1")
	e.hear(1100, "b/1")
	e.wantMembers(1549, "a/1", "b/1")
	e.wantMembers(1550, "b/1")
	e.wantLastHeard("a/1", 1000)
	if last, ok := e.Last("a/1"); !ok || last.Node != "a" || last.GatewayAnswers {
		t.Errorf("%+v, %v", last, ok)
	}
	e.wantDropped(1600, Heartbeat{Node: "me", Epoch: "me/1", Sequence: 1}, DropOwn)
}

func TestWhatTheLastHeartbeatSaid(t *testing.T) {
	e := newEars(t)
	e.Heard(Heartbeat{Node: "a", Epoch: "a/1", Sequence: 1, GatewayAnswers: true, AckAge: 300 * time.Millisecond, Period: 90 * time.Millisecond}, e.at(1000))
	want := Member{Node: "a", Epoch: "a/1", LastHeard: e.at(1000), HeardAt: e.at(1000), GatewayAnswers: true, AckedAt: e.at(700), Period: 90 * time.Millisecond}
	if diff := cmp.Diff([]Member{want}, e.Members(e.at(2000-451))); diff != "" {
		t.Error(diff)
	}
	if got, ok := e.Last("a/1"); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	e.hear(1200, "b/1", Hearing{Epoch: IDOf("a/1"), Ago: 50 * time.Millisecond})
	want.LastHeard = e.at(1150) // by others; that makes what it said no newer
	if got, _ := e.Last("a/1"); got != want {
		t.Errorf("%+v", got)
	}
	if _, ok := e.Last("c/1"); ok {
		t.Error("one that was never heard said something")
	}
}

// A heartbeat counts once, and none counts that is older than one that counted.
func TestReplay(t *testing.T) {
	e := newEars(t)
	e.wantDropped(0, Heartbeat{Node: "me", Epoch: "me/old", Sequence: 9}, DropOwn)
	for _, c := range []struct {
		sequence uint64
		want     DropReason
	}{
		{0, DropNone}, {0, DropDuplicate}, {7, DropNone}, {7, DropDuplicate}, {6, DropReplayed}, {0, DropReplayed}, {8, DropNone},
	} {
		if _, reason := e.Heard(heartbeat("a/1", c.sequence), e.at(10)); reason != c.want {
			t.Errorf("sequence %d: %q, want %q", c.sequence, reason, c.want)
		}
	}
	e.wantDropped(5000, heartbeat("a/1", 8), DropDuplicate) // after a long silence as well
	e.wantLastHeard("a/1", 10)
}

// Without records, a node's epoch ends when a later one is heard and it is silent itself; it does not come back.
func TestRestartWithoutRecords(t *testing.T) {
	e := newEars(t)
	e.hearAll(0, 1000, "a/old")
	e.hear(1100, "a/new")
	e.wantMembers(1100, "a/new")
	e.hear(1150, "a/old") // overtaken on the way
	e.hearAll(1200, 1700, "a/new")
	e.wantDropped(1710, heartbeat("a/old", 1000), DropEndedEpoch)
	e.wantMembers(1710, "a/new")
	e.wantLastHeard("a/old", 1150)

	// The older one going on does not end the newer.
	e = newEars(t)
	e.hear(0, "a/old")
	e.hear(100, "a/new")
	e.hearAll(200, 900, "a/old")
	e.hear(1000, "a/new")
	e.wantMembers(1000, "a/new")
}

// The records decide: what they named and no longer name has ended; what they never named is heard, and vouches for nothing.
func TestRecordsDecide(t *testing.T) {
	e := newEars(t)
	e.Sessions(map[string]string{"a": "a/1", "b": "b/1", "me": "me/1"})
	e.hearAll(0, 1000, "a/1", "b/1")

	// A recording of a node's past: heard, but no witness, and it says nothing of others.
	e.hear(1050, "a/0", Hearing{Epoch: IDOf("c/1")})
	e.wantMembers(1050, "a/1", "b/1")
	e.wantLastHeard("a/0", 1050)
	e.wantLastHeard("c/1", never)
	e.hear(1060, "x/1")
	e.wantMembers(1060, "a/1", "b/1", "x/1")
	if got := len(e.Hearings(e.at(1060))); got != 2 {
		t.Errorf("%d epochs reported, want 2", got)
	}
	e.wantWitness(1500, "b/1", never)

	// The watch shows the new session, which has been heard before.
	e.hear(1600, "a/2")
	e.Sessions(map[string]string{"a": "a/2", "b": "b/1"})
	e.wantDropped(1610, heartbeat("a/1", 100), DropEndedEpoch)
	e.wantMembers(1610, "a/2")
	e.hear(1700, "a/2")
	e.wantWitness(1700, "b/1", 1700)

	// A session that ended, and one whose Lease is gone.
	e.hear(1700, "b/1")
	e.Sessions(map[string]string{"b": ""})
	e.wantDropped(1710, heartbeat("a/2", 100), DropEndedEpoch)
	e.wantDropped(1710, heartbeat("b/1", 100), DropEndedEpoch)
	e.hear(1720, "b/2")
	e.wantMembers(1720, "b/2")
	e.wantWitness(1720, "c/1", never)
}

// What was heard before the records were known may have been a recording: the witness starts from zero.
func TestWitnessStartsWithTheRecords(t *testing.T) {
	e := newEars(t)
	e.hearAll(0, 1000, "a/1")
	e.hearAll(0, 1000, "stray/1")
	e.wantWitness(1000, "b/1", 0)
	e.Sessions(map[string]string{"a": "a/1"})
	e.wantWitness(1000, "b/1", never)
	e.hearAll(1100, 1300, "a/1")
	e.wantWitness(1300, "b/1", 1100)
}

// E11: one receiver's loss is not taken for death, because others report whom they hear.
func TestReportsOfOthers(t *testing.T) {
	e := newEars(t)
	hearing := func(epoch string, ago int) Hearing {
		return Hearing{Epoch: IDOf(epoch), Ago: time.Duration(ago) * time.Millisecond}
	}
	e.hear(0, "a/1")
	e.hear(900, "b/1", hearing("a/1", 50), hearing("never/1", 30))
	e.wantLastHeard("a/1", 850)
	e.wantLastHeard("never/1", 870)
	e.wantMembers(1000, "a/1", "b/1")
	e.hear(1000, "b/1", hearing("a/1", 400)) // no newer than what is known
	e.wantLastHeard("a/1", 850)

	// What was reported and then heard keeps both; a witness must be heard by own ears.
	e.hear(1100, "never/1")
	e.wantLastHeard("never/1", 1100)
	e.wantWitness(1100, "b/1", 1100)
	e.wantWitness(800, "b/1", never)

	// Reports are not passed on: else a rumour would keep a dead epoch alive.
	for _, h := range e.Hearings(e.at(1100)) {
		if h.Epoch == IDOf("a/1") {
			t.Error("a/1, which was not heard by own ears, is reported")
		}
	}
}

// E4: the witness must have been there without a break for the whole silence; members may take turns, the suspect does not count.
func TestWitness(t *testing.T) {
	e := newEars(t)
	e.wantWitness(0, "a/1", never)
	e.hearAll(0, 1000, "a/1", "b/1", "c/1")
	e.wantWitness(1000, "a/1", 0)
	e.wantWitness(1250, "a/1", 0)
	e.wantWitness(1251, "a/1", never)

	e.hear(1251, "b/1") // a break of 251 ms
	e.wantWitness(1251, "a/1", 1251)
	e.hearAll(1300, 1400, "b/1")
	e.hearAll(1400, 2000, "c/1") // takes over
	e.wantWitness(2000, "a/1", 1251)
	e.wantWitness(2000, "c/1", never)
	e.hear(2100, "c/2") // the same node is no witness of itself
	e.wantWitness(2100, "c/1", never)
}

// E11: an epoch is judged by the longer of the own period and the one it announced: neither a change of --failover nor a
// growing cluster makes anybody look silent who is not.
func TestPeriodOfASender(t *testing.T) {
	const fast, usual, slow = 50 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond
	for _, test := range []struct {
		name           string
		own, announced time.Duration
		heardUntil     int // ms after its last heartbeat
	}{
		{"the same", usual, usual, 549},
		{"nothing announced", usual, 0, 549},
		{"this one fast, the sender not yet", fast, usual, 549},
		{"the sender fast, this one not yet", usual, fast, 549},
		{"both fast", fast, fast, 274},
		{"the sender's view of a growing cluster is newer", usual, slow, 2199},
		{"the own view of a growing cluster is newer", slow, usual, 2199},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEars(t)
			e.SetPeriod(test.own)
			h := heartbeat("a/1", 1)
			h.Period = test.announced
			if _, reason := e.Heard(h, e.at(1000)); reason != DropNone {
				t.Fatal(reason)
			}
			if got, want := e.Period("a/1"), max(test.own, test.announced); got != want {
				t.Errorf("judged by %v, want %v", got, want)
			}
			e.wantMembers(1000+test.heardUntil, "a/1")
			e.wantMembers(1000 + test.heardUntil + 1)
			if got := len(e.Hearings(e.at(1000 + test.heardUntil))); got != 1 {
				t.Errorf("%d epochs reported, want 1", got)
			}
		})
	}
}

// Who announces a long period makes others wait for its own silence, and for nobody else's.
func TestLongPeriodIsItsSendersAlone(t *testing.T) {
	e := newEars(t)
	e.Sessions(map[string]string{"a": "a/1", "b": "b/1", "slow": "slow/1"})
	slow := heartbeat("slow/1", 1)
	slow.Period = MaxPeriod
	e.Heard(slow, e.at(0))
	e.hearAll(0, 1000, "a/1", "b/1")
	e.hearAll(1100, 2000, "b/1")
	e.wantMembers(2000, "b/1", "slow/1")
	if got := e.Period("a/1"); got != period {
		t.Errorf("a is judged by %v", got)
	}
	e.wantWitness(2000, "b/1", never) // it is no witness for longer than others
	e.wantMembers(54999, "slow/1")
	e.wantMembers(55000)
}

// A rollout from the usual period to the fast one, and back, speaker by speaker: nobody is ever silent.
func TestChangeOfPeriodSilencesNobody(t *testing.T) {
	for name, change := range map[string][2]int{"to fast": {100, 50}, "back": {50, 100}, "large cluster": {100, 350}} {
		t.Run(name, func(t *testing.T) {
			const speakers = 4
			var all [speakers]*ears
			var periods [speakers]int
			var sequence [speakers]uint64
			for n := range all {
				all[n] = newEars(t)
				all[n].start = all[0].start
				periods[n] = change[0]
				all[n].SetPeriod(time.Duration(change[0]) * time.Millisecond)
			}
			due := [speakers]int{0, 13, 29, 41}
			for ms := 0; ms < 12000; ms++ {
				if turn := ms / 2000; ms%2000 == 0 && turn > 0 && turn <= speakers {
					n := turn - 1 // its turn to change: it says so at once
					periods[n], due[n] = change[1], ms
					all[n].SetPeriod(time.Duration(change[1]) * time.Millisecond)
				}
				for n := range all {
					if ms != due[n] {
						continue
					}
					due[n] = ms + periods[n]
					if sequence[n]++; sequence[n]%3 == 0 {
						continue // lost
					}
					h := heartbeat(fmt.Sprintf("%c/1", 'a'+n), sequence[n])
					h.Period = time.Duration(periods[n]) * time.Millisecond
					for other, ears := range all {
						if other != n {
							ears.Heard(h, ears.at(ms))
						}
					}
				}
				for n, ears := range all {
					if got := len(ears.Members(ears.at(ms))); ms > 1000 && got != speakers-1 {
						t.Fatalf("%d ms: %c hears %d of %d", ms, 'a'+n, got, speakers-1)
					}
				}
			}
		})
	}
}

// An epoch that only others hear is judged by the longest period that is announced; an ended one counts for nothing.
func TestPeriodOfOneThatIsOnlyReported(t *testing.T) {
	e := newEars(t)
	h := heartbeat("a/1", 1, Hearing{Epoch: IDOf("b/1")})
	h.Period = 300 * time.Millisecond
	e.Heard(h, e.at(0))
	if got := e.Period("b/1"); got != 300*time.Millisecond {
		t.Errorf("judged by %v", got)
	}
	e.Sessions(map[string]string{"a": "a/1"})
	e.Sessions(map[string]string{"a": "a/2"})
	if got := e.Period("b/1"); got != period {
		t.Errorf("judged by %v", got)
	}
}

// WitnessSince is never earlier than the truth, found the slow way.
func TestWitnessIsNeverEarly(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 4))
		e := newEars(t)
		heard := map[string][]int{}
		nodes := 2 + random.IntN(3)
		for ms := 0; ms < 6000; ms += 10 {
			for n := range nodes {
				if epoch := fmt.Sprintf("%c/1", 'a'+n); random.IntN(14) == 0 {
					e.hear(ms, epoch)
					heard[epoch] = append(heard[epoch], ms)
				}
			}
			if random.IntN(10) > 0 {
				continue
			}
			covered := func(at int) bool {
				for epoch, times := range heard {
					for _, each := range times {
						if epoch != "a/1" && each <= at && at-each <= 250 {
							return true
						}
					}
				}
				return false
			}
			since, ok := e.WitnessSince("a/1", e.at(ms))
			if ok != covered(ms) {
				t.Fatalf("seed %d: %d ms: a witness: %v", seed, ms, ok)
			}
			for at := e.ms(since); ok && at <= ms; at++ {
				if !covered(at) {
					t.Fatalf("seed %d: %d ms: a witness since %d ms, but there was none at %d ms", seed, ms, e.ms(since), at)
				}
			}
			if ok && ms < 1500 && e.ms(since) > 0 && covered(e.ms(since)-1) {
				t.Fatalf("seed %d: %d ms: a witness since %d ms, but there was one before", seed, ms, e.ms(since))
			}
		}
	}
}

// Whatever members send, the member list stays bounded, and those that the records name stay in it.
func TestMemberListIsBounded(t *testing.T) {
	e := newEars(t)
	e.Sessions(map[string]string{"a": "a/1"})
	e.hear(0, "a/1")
	for n := range maxEpochs + 500 {
		e.hear(n, fmt.Sprintf("n%d/%d", n%50, n))
		hears := make([]Hearing, 50)
		for i := range hears {
			hears[i].Epoch = IDOf(fmt.Sprint(n, i))
		}
		if n%100 == 0 {
			e.hear(n, "a/1", hears...)
		}
	}
	if len(e.epochs) > maxEpochs || len(e.byID) > maxEpochs || len(e.reported) > maxEpochs || len(e.nodes) > 51 {
		t.Errorf("%d epochs, %d by ID, %d reported, %d nodes", len(e.epochs), len(e.byID), len(e.reported), len(e.nodes))
	}
	if _, ok := e.Last("a/1"); !ok {
		t.Error("the one that the records name was forgotten")
	}
}

// 200 speakers: what one heartbeat, and judging all others once, costs.
func BenchmarkJudge(b *testing.B) {
	judge := NewJudge(Config{Node: "me", Period: period, SilencePeriods: 5.5, WitnessPeriods: 2.5})
	now := time.Now()
	var epochs []string
	sessions := map[string]string{}
	for n := range 200 {
		epochs = append(epochs, fmt.Sprintf("node-%d/abcdefghij", n))
		sessions[fmt.Sprintf("node-%d", n)] = epochs[n]
	}
	judge.Sessions(sessions)
	hears := make([]Hearing, 110)
	for n := range hears {
		hears[n].Epoch = IDOf(epochs[n])
	}
	for sequence := range uint64(100) {
		now = now.Add(period)
		for _, epoch := range epochs {
			judge.Heard(heartbeat(epoch, sequence, hears...), now)
		}
	}
	sequence := uint64(100)
	b.Run("a heartbeat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sequence++
			judge.Heard(heartbeat(epochs[0], sequence, hears...), now)
		}
	})
	b.Run("all silences, periods and witnesses", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, epoch := range epochs {
				judge.LastHeard(epoch)
				judge.Period(epoch)
				judge.WitnessSince(epoch, now)
			}
		}
	})
}
