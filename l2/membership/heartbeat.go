// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"time"
)

// MaxDatagram is the length that no heartbeat exceeds: it fits into every Ethernet frame, inside a tunnel too.
const MaxDatagram = 1200

// Bounds of what a heartbeat names. A node's name is a DNS subdomain.
const (
	maxNode   = 253
	maxRandom = 64
)

// maxHearings is how many hearings a heartbeat reports. In a cluster with more speakers each hearing is still reported many
// times a period, by different speakers, and heartbeats stay short: every speaker receives every other's.
const maxHearings = 64

// Bounds of a period. One speaker sends at least each MaxPeriod, so that nobody makes others wait for ever for its silence.
const (
	MinPeriod = 10 * time.Millisecond
	MaxPeriod = 10 * time.Second
)

// Heartbeat is what a speaker says each period.
type Heartbeat struct {
	// Node and Epoch of the sender; the epoch is "<node>/<random>".
	Node, Epoch string
	// Sequence grows with every heartbeat of an epoch.
	Sequence uint64
	// Period in which the sender sends, in whole milliseconds from MinPeriod to MaxPeriod, by which others judge its silence.
	Period time.Duration
	// GatewayAnswers says whether the sender's default gateway answers.
	GatewayAnswers bool
	// AckAge is how long ago the API server last acknowledged a write of the sender's session; it is at least that, when it
	// is longer than 49 days.
	AckAge time.Duration
	// Hears lists the epochs that the sender hears itself.
	Hears []Hearing
}

// Hearing says how long ago the sender of a heartbeat heard an epoch.
type Hearing struct {
	Epoch EpochID
	Ago   time.Duration
}

// EpochID stands for an epoch in lists of hearings, where its name would take too much room.
type EpochID [8]byte

// IDOf returns the EpochID of an epoch.
func IDOf(epoch string) EpochID {
	sum := sha256.Sum256([]byte(epoch))
	return EpochID(sum[:len(EpochID{})])
}

// The format, in network byte order:
//
//	 0  "L2HB"
//	 4  version
//	 5  flags: bit 0, the gateway answers; the others are 0
//	 6  identifier of the key, 8 bytes
//	14  sequence, 8 bytes
//	22  age of the last acknowledged write in ms, 4 bytes, saturated
//	26  period in ms, 2 bytes
//	28  length of the node's name
//	29  length of the epoch's random part
//	30  number of hearings, 2 bytes
//	32  node's name, then the epoch's random part
//	    hearings: epoch's identifier, 8 bytes; ms ago, 2 bytes, saturated
//	    HMAC-SHA256 of all before, 32 bytes
const (
	version         = 1
	keyIDLength     = 8
	keyIDAt         = 6
	sequenceAt      = 14
	ackAgeAt        = 22
	periodAt        = 26
	nodeLengthAt    = 28
	randomLengthAt  = 29
	hearingsAt      = 30
	headerLength    = 32
	hearingLength   = 10
	signatureLength = sha256.Size

	flagGateway = 1
)

var magic = [4]byte{'L', '2', 'H', 'B'}

// Seal returns the datagram of a heartbeat. Where not all hearings fit, it takes those whose turn it is by the sequence, so
// that consecutive heartbeats report all, provided that Hears keeps its order. It returns nil for a heartbeat that no
// speaker can have: one without a node's name, whose epoch is not that node's, or whose period is out of bounds.
func (k Key) Seal(h Heartbeat) []byte {
	random, ok := strings.CutPrefix(h.Epoch, h.Node+"/")
	if !ok || !validNode(h.Node) || !validRandom(random) || !validPeriod(h.Period) {
		return nil
	}
	room := (MaxDatagram - signatureLength - headerLength - len(h.Node) - len(random)) / hearingLength
	count := min(len(h.Hears), room, maxHearings)
	first := 0
	if count < len(h.Hears) {
		first = int(h.Sequence % uint64(len(h.Hears)) * uint64(count) % uint64(len(h.Hears)))
	}

	data := make([]byte, headerLength, MaxDatagram)
	copy(data, magic[:])
	data[4] = version
	if h.GatewayAnswers {
		data[5] = flagGateway
	}
	copy(data[keyIDAt:], k.id[:])
	binary.BigEndian.PutUint64(data[sequenceAt:], h.Sequence)
	binary.BigEndian.PutUint32(data[ackAgeAt:], uint32(milliseconds(h.AckAge, math.MaxUint32)))
	binary.BigEndian.PutUint16(data[periodAt:], uint16(milliseconds(h.Period, math.MaxUint16)))
	data[nodeLengthAt], data[randomLengthAt] = byte(len(h.Node)), byte(len(random))
	binary.BigEndian.PutUint16(data[hearingsAt:], uint16(count))
	data = append(data, h.Node...)
	data = append(data, random...)
	for i := range count {
		hearing := h.Hears[(first+i)%len(h.Hears)]
		data = append(data, hearing.Epoch[:]...)
		data = binary.BigEndian.AppendUint16(data, uint16(milliseconds(hearing.Ago, math.MaxUint16)))
	}
	return k.sign(data)
}

// milliseconds rounds up, so that nothing ever looks fresher than it is.
func milliseconds(d time.Duration, most int64) int64 {
	if d <= 0 {
		return 0
	}
	return min(int64((d-1)/time.Millisecond)+1, most)
}

// Open checks and reads a datagram. ReasonOf tells from its error what was wrong.
func (k Key) Open(data []byte) (Heartbeat, error) {
	if err := k.check(data); err != nil {
		return Heartbeat{}, err
	}
	node := string(data[headerLength : headerLength+int(data[nodeLengthAt])])
	body := data[headerLength+len(node) : len(data)-signatureLength]
	random := string(body[:data[randomLengthAt]])
	body = body[len(random):]
	if !validNode(node) || !validRandom(random) {
		return Heartbeat{}, &openError{DropMalformed, "heartbeat names no node and epoch"}
	}
	period := time.Duration(binary.BigEndian.Uint16(data[periodAt:])) * time.Millisecond
	if !validPeriod(period) {
		return Heartbeat{}, &openError{DropMalformed, "heartbeat has a period that no speaker has"}
	}
	h := Heartbeat{
		Node:           node,
		Epoch:          node + "/" + random,
		Sequence:       binary.BigEndian.Uint64(data[sequenceAt:]),
		Period:         period,
		GatewayAnswers: data[5] == flagGateway,
		AckAge:         time.Duration(binary.BigEndian.Uint32(data[ackAgeAt:])) * time.Millisecond,
	}
	for ; len(body) > 0; body = body[hearingLength:] {
		h.Hears = append(h.Hears, Hearing{
			Epoch: EpochID(body[:8]),
			Ago:   time.Duration(binary.BigEndian.Uint16(body[8:])) * time.Millisecond,
		})
	}
	return h, nil
}

// check checks everything about a datagram but the names in it: the cheap before the signature.
func (k Key) check(data []byte) error {
	switch {
	case len(data) > MaxDatagram:
		return &openError{DropOversized, "datagram is longer than any heartbeat"}
	case !looksLikeHeartbeat(data):
		return &openError{DropMalformed, "datagram is no heartbeat"}
	case data[4] != version:
		return &openError{DropVersion, "heartbeat has another version's format"}
	case !k.named(data):
		return &openError{DropForeign, "heartbeat is signed with another key"}
	}
	hearings := int(binary.BigEndian.Uint16(data[hearingsAt:]))
	length := headerLength + int(data[nodeLengthAt]) + int(data[randomLengthAt]) + hearings*hearingLength + signatureLength
	signature := len(data) - signatureLength
	switch {
	case length != len(data) || data[5]&^flagGateway != 0:
		return &openError{DropMalformed, "heartbeat contradicts itself"}
	case !k.signed(data[:signature], data[signature:]):
		return &openError{DropForged, "heartbeat has a wrong signature"}
	}
	return nil
}

// named tells whether a datagram claims to be signed with the key.
func (k Key) named(data []byte) bool {
	return len(data) >= sequenceAt && bytes.Equal(data[keyIDAt:sequenceAt], k.id[:])
}

// looksLikeHeartbeat tells whether a datagram is worth opening.
func looksLikeHeartbeat(data []byte) bool {
	return len(data) >= headerLength+signatureLength && bytes.Equal(data[:len(magic)], magic[:])
}

func validNode(node string) bool {
	return len(node) <= maxNode && printable(node) && !strings.Contains(node, "/")
}

func validPeriod(period time.Duration) bool {
	return period >= MinPeriod && period <= MaxPeriod
}

func validRandom(random string) bool { return len(random) <= maxRandom && printable(random) }

// printable keeps out what would garble a log.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// heartbeatsReceived is how many heartbeats a second a speaker should have to take in at most.
const heartbeatsReceived = 2000

// ScalePeriod returns the period of heartbeats in a cluster of so many speakers: base, unless each speaker would then
// receive more than about 2,000 a second. It is in whole milliseconds, and at most MaxPeriod.
func ScalePeriod(base time.Duration, speakers int) time.Duration {
	scaled := time.Duration(milliseconds(time.Duration(max(0, speakers-1))*time.Second/heartbeatsReceived, math.MaxInt64)) * time.Millisecond
	return min(max(base, scaled), MaxPeriod)
}
