// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"sync"
	"time"
)

// announcement is one VIP's burst, or what is left of it.
type announcement struct {
	vip    *vip
	link   *link  // nil: all the VIP is announced on
	change uint64 // the link's change that it tells of
	rounds int    // still to send
}

// sendResult is what becomes of an announcement after an attempt to send it.
type sendResult uint8

const (
	sendDone  sendResult = iota // this round is sent
	sendOver                    // the VIP is no longer announced: forget it
	sendLater                   // nothing may be sent now (rule E5): try again soon
)

// burstQueue keeps the announcements to send. All bursts have the same interval, so two queues in order of time are
// enough: what is due at once, and what comes again. What is due at once always goes first: a VIP that arrives never waits
// for ten thousand that are being repeated. mu guards the queues.
type burstQueue struct {
	mu    sync.Mutex
	now   []announcement
	again []repetition
	woken chan struct{}
}

type repetition struct {
	announcement
	due time.Time
}

// The pace is 128 frames in 5 ms, some 25,000 a second: a receiver's kernel queues 1,000 packets by default, and whoever
// sends faster than it reads announces to nobody.
const (
	paceFrames   = 128
	paceInterval = 5 * time.Millisecond

	stalledRetry = 50 * time.Millisecond
)

func newBurstQueue() *burstQueue { return &burstQueue{woken: make(chan struct{}, 1)} }

// add takes an announcement whose first round is due at once.
func (q *burstQueue) add(n announcement) {
	q.mu.Lock()
	q.now = append(q.now, n)
	q.mu.Unlock()
	signal(q.woken)
}

// run sends what is due until ctx is done. send tells how many frames it sent.
func (q *burstQueue) run(ctx context.Context, send func(announcement) (frames int, next sendResult)) {
	frames := 0
	for {
		n, wait, ok := q.next(time.Now())
		if !ok {
			frames = 0
			if !q.sleep(ctx, wait) {
				return
			}
			continue
		}
		sent, result := send(n)
		for result == sendLater { // and so is everything else
			if !pause(ctx, stalledRetry) {
				return
			}
			sent, result = send(n)
		}
		if n.rounds--; result == sendDone && n.rounds > 0 {
			q.repeat(n)
		}
		if frames += sent; frames >= paceFrames {
			frames = 0
			if !pause(ctx, paceInterval) {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// next takes the announcement that is due, or tells how long there will be none: 0 means until one is added.
func (q *burstQueue) next(now time.Time) (n announcement, wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.now) > 0 {
		n = q.now[0]
		q.now[0] = announcement{}
		if q.now = q.now[1:]; len(q.now) == 0 {
			q.now = nil
		}
		return n, 0, true
	}
	if len(q.again) == 0 {
		return n, 0, false
	}
	if wait = q.again[0].due.Sub(now); wait > 0 {
		return n, wait, false
	}
	n = q.again[0].announcement
	q.again[0] = repetition{}
	if q.again = q.again[1:]; len(q.again) == 0 {
		q.again = nil
	}
	return n, 0, true
}

// repeat takes an announcement whose next round is due after the interval.
func (q *burstQueue) repeat(n announcement) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.again = append(q.again, repetition{n, time.Now().Add(burstInterval)})
	signal(q.woken)
}

// sleep waits for an announcement to be added or due; false means that ctx is done.
func (q *burstQueue) sleep(ctx context.Context, wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-q.woken:
	case <-due:
	}
	return true
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
