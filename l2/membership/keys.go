// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// signAfter is how long a key must be known before heartbeats are signed with it: until then, peers whose watch is slower
	// would drop them, and take this speaker for silent.
	signAfter = 10 * time.Second
	// acceptFor is how long a key that was replaced is still believed: peers may learn of the new one late, and sign with the
	// old one for signAfter more.
	acceptFor = time.Minute
	// maxKeys bounds the keys in use, should the Secret be changed over and over.
	maxKeys = 8
)

// Keys signs and checks heartbeats while the key changes, so that nobody becomes silent by it: for a while the old key goes on
// signing, and for a longer while it is believed. The zero value has no key. Its methods may be called from any goroutine.
type Keys struct {
	mu    sync.Mutex // for Update
	known atomic.Pointer[[]knownKey]
}

// knownKey is a key, when it was learned, and when it was replaced. The last of them is the present one; the others are in the
// order in which they were replaced.
type knownKey struct {
	key               Key
	learned, replaced time.Time
}

// Update brings the present key. It tells whether that is another one than before.
func (k *Keys) Update(key Key, now time.Time) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.load()
	if count := len(known); count > 0 && known[count-1].key == key {
		return false
	}
	signing, _ := signingKey(known, now)
	known = slices.Clone(accepted(known, now))
	learned := now
	known = slices.DeleteFunc(known, func(each knownKey) bool {
		if each.key != key {
			return false
		}
		if key == signing { // it comes back before it went out of use
			learned = each.learned
		}
		return true
	})
	if count := len(known); count > 0 && known[count-1].replaced.IsZero() {
		known[count-1].replaced = now
	}
	known = append(known, knownKey{key: key, learned: learned})
	known = known[max(0, len(known)-maxKeys):]
	k.known.Store(&known)
	return true
}

func (k *Keys) load() []knownKey {
	if known := k.known.Load(); known != nil {
		return *known
	}
	return nil
}

// accepted are the keys that are still believed: the present one, and those that were replaced a short while ago.
func accepted(known []knownKey, now time.Time) []knownKey {
	for len(known) > 1 && now.Sub(known[0].replaced) >= acceptFor {
		known = known[1:]
	}
	return known
}

// signingKey is the newest key that has been known for long enough, or else the oldest that there is.
func signingKey(known []knownKey, now time.Time) (Key, bool) {
	for _, each := range slices.Backward(known) {
		if now.Sub(each.learned) >= signAfter {
			return each.key, true
		}
	}
	if len(known) == 0 {
		return Key{}, false
	}
	return known[0].key, true
}

// Seal is Key.Seal with the key of the time. It returns nil before the first Update.
func (k *Keys) Seal(h Heartbeat, now time.Time) []byte {
	key, ok := signingKey(k.load(), now)
	if !ok {
		return nil
	}
	return key.Seal(h)
}

// Open is Key.Open with whichever accepted key the datagram names; its signature is checked at most once.
func (k *Keys) Open(datagram []byte, now time.Time) (Heartbeat, error) {
	known := accepted(k.load(), now)
	if len(known) == 0 {
		return Heartbeat{}, &openError{DropNoKey, "no key to check heartbeats with yet"}
	}
	key := known[len(known)-1].key
	for _, each := range known {
		if each.key.named(datagram) {
			key = each.key
		}
	}
	return key.Open(datagram)
}
