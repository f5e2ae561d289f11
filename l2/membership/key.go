// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// minSecret is the least length of a secret. MetalLB's, 16 random bytes as base64 text, has 24.
const minSecret = 16

// Key signs heartbeats. All speakers of a cluster have the same; it is what makes one cluster's heartbeats foreign to
// another's on the same LAN. The zero Key opens nothing that another Key sealed.
type Key struct {
	signing [sha256.Size]byte
	// id tells heartbeats of other clusters apart without checking their signature. It reveals nothing of the key.
	id [keyIDLength]byte
}

// NewKey derives a Key from the value of the Secret, which is taken as it is, not decoded.
func NewKey(secret []byte) (Key, error) {
	if len(secret) < minSecret {
		return Key{}, fmt.Errorf("key for heartbeats has %d bytes: at least %d are needed", len(secret), minSecret)
	}
	var k Key
	derive := func(purpose string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte("cloud-provider-l2 heartbeat " + purpose))
		return mac.Sum(nil)
	}
	copy(k.signing[:], derive("signing"))
	copy(k.id[:], derive("identifier"))
	return k, nil
}

// sign appends the signature of data to it.
func (k Key) sign(data []byte) []byte {
	mac := hmac.New(sha256.New, k.signing[:])
	mac.Write(data)
	return mac.Sum(data)
}

// signed tells whether signature is that of data, in constant time.
func (k Key) signed(data, signature []byte) bool {
	mac := hmac.New(sha256.New, k.signing[:])
	mac.Write(data)
	var sum [sha256.Size]byte
	return hmac.Equal(mac.Sum(sum[:0]), signature)
}
