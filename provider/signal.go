// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"time"
)

// signal says that something is to be done. Setting it twice before it is done does it once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// each calls do whenever the signal is set, at most once in a period, until ctx is done.
func (s signal) each(ctx context.Context, period time.Duration, do func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s:
		}
		do()
		if !pause(ctx, period) {
			return
		}
	}
}

// pause tells whether the time has passed before ctx was done.
func pause(ctx context.Context, period time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(period):
		return true
	}
}
