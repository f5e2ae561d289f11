// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Which of the keys A, B and C heartbeats are signed with, and which are believed, after updates.
func TestKeys(t *testing.T) {
	letters := map[byte]Key{}
	for _, letter := range "ABC" {
		letters[byte(letter)] = testKey(t, "the secret of key "+string(letter))
	}
	type update struct {
		after time.Duration
		key   byte
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		name     string
		updates  []update
		at       time.Duration
		signs    string
		believes string
	}{
		{"no key yet", nil, 0, "", ""},
		{"the first key counts at once", []update{{0, 'A'}}, 0, "A", "A"},
		{"the same key again changes nothing", []update{{0, 'A'}, {time.Hour, 'A'}}, time.Hour, "A", "A"},
		{"a new key is believed at once, the old one signs", []update{{0, 'A'}, {time.Hour, 'B'}}, time.Hour, "A", "AB"},
		{"also when the old one is new", []update{{0, 'A'}, {ms, 'B'}}, 2 * ms, "A", "AB"},
		{"the old one signs for 10 s", []update{{0, 'A'}, {time.Hour, 'B'}}, time.Hour + 10*time.Second - 1, "A", "AB"},
		{"then the new one does", []update{{0, 'A'}, {time.Hour, 'B'}}, time.Hour + 10*time.Second, "B", "AB"},
		{"the old one is believed for a minute", []update{{0, 'A'}, {time.Hour, 'B'}}, time.Hour + time.Minute - 1, "B", "AB"},
		{"then no more", []update{{0, 'A'}, {time.Hour, 'B'}}, time.Hour + time.Minute, "B", "B"},
		{"changed twice within 10 s: the first signs", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 5*time.Second, 'C'}}, time.Hour + 9*time.Second, "A", "ABC"},
		{"changed twice: the one in between has its time", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 5*time.Second, 'C'}}, time.Hour + 12*time.Second, "B", "ABC"},
		{"changed twice: each is forgotten in its turn", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 5*time.Second, 'C'}}, time.Hour + 62*time.Second, "C", "BC"},
		{"taken back while it signs: it goes on", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 5*time.Second, 'A'}}, time.Hour + 6*time.Second, "A", "AB"},
		{"taken back while it signs: it stays", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 5*time.Second, 'A'}}, time.Hour + 20*time.Second, "A", "AB"},
		{"taken back later: it is new again", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 30*time.Second, 'A'}}, time.Hour + 39*time.Second, "B", "AB"},
		{"taken back later: and then signs", []update{{0, 'A'}, {time.Hour, 'B'}, {time.Hour + 30*time.Second, 'A'}}, time.Hour + 41*time.Second, "A", "AB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			var keys Keys
			present := byte(0)
			for _, each := range test.updates {
				if changed := keys.Update(letters[each.key], start.Add(each.after)); changed != (each.key != present) {
					t.Errorf("key %c after %v: changed is %v", each.key, each.after, changed)
				}
				present = each.key
			}
			now := start.Add(test.at)
			signs, believes := "", ""
			datagram := keys.Seal(beat(), now)
			for _, letter := range "ABC" {
				key := letters[byte(letter)]
				if _, err := key.Open(datagram); err == nil {
					signs += string(letter)
				}
				_, err := keys.Open(key.Seal(beat()), now)
				switch reason := ReasonOf(err); reason {
				case DropNone:
					believes += string(letter)
				case DropForeign:
				case DropNoKey:
					if len(test.updates) > 0 {
						t.Error("there is a key")
					}
				default:
					t.Errorf("a heartbeat of key %c: %s", letter, reason)
				}
			}
			if signs != test.signs || believes != test.believes {
				t.Errorf("signs with %q and believes %q, want %q and %q", signs, believes, test.signs, test.believes)
			}
		})
	}
}

// Speakers that learn of a new key at different times, up to 9 s apart, hear each other all the time.
func TestChangeOfKeySilencesNobody(t *testing.T) {
	older, newer := testKey(t, secret), testKey(t, otherSecret)
	start := time.Now()
	learns := []time.Duration{0, 700 * time.Millisecond, 4 * time.Second, 9 * time.Second}
	speakers := make([]Keys, len(learns))
	for n := range speakers {
		speakers[n].Update(older, start.Add(-time.Hour))
	}
	for at := time.Duration(0); at < 100*time.Second; at += 100 * time.Millisecond {
		now := start.Add(at)
		for n := range speakers {
			if at >= learns[n] {
				speakers[n].Update(newer, now)
			}
		}
		for from := range speakers {
			datagram := speakers[from].Seal(beat(), now)
			for to := range speakers {
				if _, err := speakers[to].Open(datagram, now); err != nil {
					t.Fatalf("after %v, speaker %d drops what %d says: %v", at, to, from, err)
				}
			}
		}
	}
}

// What is wrong with a datagram is said whatever the keys, and the number of keys is bounded.
func TestKeysSayWhyNot(t *testing.T) {
	var keys Keys
	now := time.Now()
	if _, err := keys.Open(nil, now); ReasonOf(err) != DropNoKey {
		t.Errorf("without a key: %v", err)
	}
	for n := range 100 {
		keys.Update(testKey(t, fmt.Sprintf("secret number %10d", n)), now)
	}
	if count := len(keys.load()); count != maxKeys {
		t.Errorf("%d keys are kept", count)
	}
	fine := keys.Seal(beat(), now)
	forged := append([]byte{}, fine...)
	forged[len(forged)-1]++
	for reason, datagram := range map[DropReason][]byte{
		DropNone: fine, DropForged: forged, DropForeign: testKey(t, secret).Seal(beat()), DropMalformed: nil, DropOversized: make([]byte, MaxDatagram+1),
	} {
		if _, err := keys.Open(datagram, now); ReasonOf(err) != reason {
			t.Errorf("%q, want %q", ReasonOf(err), reason)
		}
	}
}

// The loop seals, the receiver opens and the watch updates, all at once: for the race detector.
func TestKeysFromSeveralGoroutines(t *testing.T) {
	var keys Keys
	now := time.Now()
	keys.Update(testKey(t, secret), now)
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() { keys.Update(testKey(t, fmt.Sprintf("secret number %10d", n)), now) })
		all.Go(func() {
			if _, err := keys.Open(keys.Seal(beat(), now), now); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
