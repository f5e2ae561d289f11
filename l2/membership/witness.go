// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"strings"
	"time"
)

// maxStretches bounds what is kept of a node's past as a witness. To forget the oldest can only make WitnessSince later.
const maxStretches = 8

// horizonSilences is how far back WitnessSince looks, in silences of the own period: nobody asks for more than a few.
const horizonSilences = 32

// stretch is a time in which a node was heard without a break longer than the witness window.
type stretch struct{ from, last time.Time }

// witnessWindow is by the own period alone: a witness that sends more seldom is worth less, because it may be the own ears that
// went deaf since it was heard.
func (j *Judge) witnessWindow() time.Duration {
	return time.Duration(j.config.WitnessPeriods * float64(j.config.Period))
}

func (j *Judge) horizon() time.Duration {
	return time.Duration(horizonSilences * j.config.SilencePeriods * float64(j.config.Period))
}

// witness takes in that the node was heard.
func (n *node) witness(now time.Time, window, horizon time.Duration) {
	if count := len(n.stretches); count > 0 && now.Sub(n.stretches[count-1].last) <= window {
		n.stretches[count-1].last = now
		return
	}
	for len(n.stretches) >= maxStretches || len(n.stretches) > 0 && now.Sub(n.stretches[0].last) > horizon {
		n.stretches = n.stretches[1:]
	}
	n.stretches = append(n.stretches, stretch{from: now, last: now})
}

// WitnessSince is the time since when, without a break, some member other than the node of the given epoch had been heard
// by own ears within the last WitnessPeriods; ok is false when there is no such member now.
// Members take turns: what one does not cover another may. It is never earlier than the truth, and exact within 32 silences.
func (j *Judge) WitnessSince(except string, now time.Time) (since time.Time, ok bool) {
	name, _, _ := strings.Cut(except, "/")
	suspect := j.nodes[name]
	window, earliest := j.witnessWindow(), now.Add(-j.horizon())
	since = now
	for grown := true; grown && since.After(earliest); {
		grown = false
		for _, n := range j.inOrder {
			if n == suspect {
				continue
			}
			for _, s := range n.stretches {
				if !s.from.After(since) && since.Sub(s.last) <= window {
					ok = true
					if s.from.Before(since) {
						since, grown = s.from, true
					}
				}
			}
			if !since.After(earliest) {
				break
			}
		}
	}
	return since, ok
}
