// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testKey(t testing.TB, secret string) Key {
	t.Helper()
	key, err := NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	secret      = "0123456789abcdef"
	otherSecret = "fedcba9876543210"
)

func beat() Heartbeat {
	return Heartbeat{
		Node: "node-1", Epoch: "node-1/abcdefghij", Sequence: 42, Period: 100 * time.Millisecond, GatewayAnswers: true, AckAge: 1500 * time.Millisecond,
		Hears: []Hearing{{IDOf("node-2/x"), 30 * time.Millisecond}, {IDOf("node-3/y"), 0}},
	}
}

func TestHeartbeatComesThrough(t *testing.T) {
	key := testKey(t, secret)
	for name, h := range map[string]Heartbeat{
		"usual":           beat(),
		"hears nobody":    {Node: "n", Epoch: "n/x", Period: time.Second},
		"shortest period": {Node: "n", Epoch: "n/x", Period: MinPeriod},
		"longest period":  {Node: "n", Epoch: "n/x", Period: MaxPeriod},
		"longest":         {Node: strings.Repeat("n", 253), Epoch: strings.Repeat("n", 253) + "/" + strings.Repeat("x", 64), Sequence: 1<<64 - 1, Period: time.Second},
	} {
		datagram := key.Seal(h)
		got, err := key.Open(datagram)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Nothing looks fresher than it is, and nothing overflows.
func TestTimesAreRoundedUp(t *testing.T) {
	key := testKey(t, secret)
	h := beat()
	h.AckAge = 1<<63 - 1
	h.Hears = []Hearing{{Ago: 1}, {Ago: time.Millisecond}, {Ago: time.Millisecond + 1}, {Ago: -5}, {Ago: time.Hour}}
	got, err := key.Open(key.Seal(h))
	if err != nil {
		t.Fatal(err)
	}
	if got.AckAge != (1<<32-1)*time.Millisecond {
		t.Errorf("AckAge %v", got.AckAge)
	}
	want := []Hearing{{Ago: time.Millisecond}, {Ago: time.Millisecond}, {Ago: 2 * time.Millisecond}, {Ago: 0}, {Ago: 65535 * time.Millisecond}}
	if diff := cmp.Diff(want, got.Hears); diff != "" {
		t.Error(diff)
	}
}

func TestSealRefusesWhatNobodyIs(t *testing.T) {
	key := testKey(t, secret)
	for _, h := range []Heartbeat{
		{}, {Node: "n"}, {Epoch: "/x"}, {Node: "n", Epoch: "n/"}, {Node: "n", Epoch: "m/x"}, {Node: "n", Epoch: "nx"},
		{Node: "a/b", Epoch: "a/b/x"}, {Node: "n\n", Epoch: "n\n/x"}, {Node: "n", Epoch: "n/\x00"},
		{Node: strings.Repeat("n", 254), Epoch: strings.Repeat("n", 254) + "/x"}, {Node: "n", Epoch: "n/" + strings.Repeat("x", 65)},
	} {
		h.Period = time.Second
		if datagram := key.Seal(h); datagram != nil {
			t.Errorf("%q, %q was sealed", h.Node, h.Epoch)
		}
	}
	for _, period := range []time.Duration{-1, 0, 1, MinPeriod - 1, MaxPeriod + 1, 1<<63 - 1} {
		h := beat()
		if h.Period = period; key.Seal(h) != nil {
			t.Errorf("a period of %v was sealed", period)
		}
	}
}

// Where not all hearings fit, consecutive heartbeats report all of them.
func TestHearingsTakeTurns(t *testing.T) {
	key := testKey(t, secret)
	for _, count := range []int{1, 63, 64, 65, 100, 199, 1000, 4096} {
		h := beat()
		h.Hears = nil
		for n := range count {
			h.Hears = append(h.Hears, Hearing{Epoch: IDOf(fmt.Sprintf("node-%d/x", n)), Ago: time.Millisecond})
		}
		reported := map[EpochID]bool{}
		beats := 0
		for ; len(reported) < count && beats < 200; beats++ {
			h.Sequence++
			datagram := key.Seal(h)
			if len(datagram) > MaxDatagram {
				t.Fatalf("a datagram of %d bytes", len(datagram))
			}
			got, err := key.Open(datagram)
			if err != nil {
				t.Fatal(err)
			}
			for _, hearing := range got.Hears {
				reported[hearing.Epoch] = true
			}
		}
		if fit := maxHearings; len(reported) < count || beats > 2*(count/fit+1) {
			t.Errorf("%d of %d hearings reported in %d heartbeats", len(reported), count, beats)
		}
	}
}

func TestOpenSaysWhyNot(t *testing.T) {
	key, other := testKey(t, secret), testKey(t, otherSecret)
	fine := key.Seal(beat())
	change := func(at int, to byte) []byte {
		data := slices.Clone(fine)
		data[at] = to
		return data
	}
	period := func(ms uint16) []byte {
		data := slices.Clone(fine)
		binary.BigEndian.PutUint16(data[periodAt:], ms)
		return key.sign(data[: len(data)-signatureLength : len(data)-signatureLength])
	}
	resigned := func(data []byte) []byte {
		return key.sign(data[: len(data)-signatureLength : len(data)-signatureLength])
	}
	for name, c := range map[string]struct {
		data []byte
		want DropReason
	}{
		"fine":                     {fine, DropNone},
		"empty":                    {nil, DropMalformed},
		"short":                    {fine[:20], DropMalformed},
		"no heartbeat":             {bytes.Repeat([]byte{'x'}, 200), DropMalformed},
		"too long":                 {append(slices.Clone(fine), make([]byte, MaxDatagram)...), DropOversized},
		"other version":            {change(4, 2), DropVersion},
		"other key":                {other.Seal(beat()), DropForeign},
		"zero key":                 {Key{}.Seal(beat()), DropForeign},
		"cut":                      {fine[:len(fine)-1], DropMalformed},
		"appended":                 {append(slices.Clone(fine), 0), DropMalformed},
		"sequence changed":         {change(sequenceAt+7, 43), DropForged},
		"name changed":             {change(headerLength, 'x'), DropForged},
		"signature changed":        {change(len(fine)-1, ^fine[len(fine)-1]), DropForged},
		"unknown flag":             {resigned(change(5, 2)), DropMalformed},
		"no node":                  {resigned(change(nodeLengthAt, 0)), DropMalformed},
		"name and count disagree":  {resigned(change(hearingsAt+1, 3)), DropMalformed},
		"period too short, signed": {period(9), DropMalformed},
		"period too long, signed":  {period(10001), DropMalformed},
		"longest period, signed":   {period(10000), DropNone},
		"unprintable name, signed": {resigned(change(headerLength, '\n')), DropMalformed},
		"slash in name, signed":    {resigned(change(headerLength, '/')), DropMalformed},
	} {
		_, err := key.Open(c.data)
		if got := ReasonOf(err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if _, err := NewKey([]byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
}

// Every datagram is refused or read without a crash, and what is read is within bounds and comes through again.
func FuzzOpen(f *testing.F) {
	key := testKey(f, secret)
	f.Add(key.Seal(beat()), false)
	f.Add(key.Seal(beat()), true)
	f.Add([]byte{}, true)
	long := beat()
	long.Hears = make([]Hearing, 200)
	f.Add(key.Seal(long), true)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign && len(data) >= sequenceAt { // else the fuzzer never gets past the signature
			data = slices.Clone(data)
			copy(data[keyIDAt:], key.id[:])
			data = key.sign(data)
		}
		h, err := key.Open(data)
		if err != nil {
			if ReasonOf(err) == DropNone {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if h.Period < MinPeriod || h.Period > MaxPeriod {
			t.Fatalf("a period of %v", h.Period)
		}
		if len(data) > MaxDatagram || len(h.Node) > maxNode || !strings.HasPrefix(h.Epoch, h.Node+"/") {
			t.Fatalf("out of bounds: %+v", h)
		}
		again, err := key.Open(key.Seal(h))
		if diff := cmp.Diff(h, again); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
		NewJudge(Config{Period: time.Second, SilencePeriods: 5.5, WitnessPeriods: 2.5}).Heard(h, time.Now())
	})
}

func BenchmarkSeal(b *testing.B) {
	key, h := testKey(b, secret), beat()
	h.Hears = make([]Hearing, 200)
	b.ReportAllocs()
	for b.Loop() {
		key.Seal(h)
	}
}

func BenchmarkOpen(b *testing.B) {
	key, h := testKey(b, secret), beat()
	h.Hears = make([]Hearing, 200)
	foreign := testKey(b, otherSecret).Seal(h)
	forged := slices.Clone(key.Seal(h))
	forged[len(forged)-1]++
	for name, datagram := range map[string][]byte{"fine": key.Seal(h), "forged": forged, "foreign": foreign} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = key.Open(datagram)
			}
		})
	}
}
