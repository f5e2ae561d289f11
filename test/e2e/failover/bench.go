// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// discards is how many faults in a row may have measured nothing.
const discards = 5

// runsOf is how often a fault is measured, of so many runs.
func runsOf(f fault, runs int) int { return max(runs/f.every, 1) }

// benchFaults measures what is still missing of each fault.
func benchFaults(ctx context.Context, r *rig, o options) error {
	if err := r.measure(ctx); err != nil {
		return err
	}
	if err := r.ready(ctx); err != nil {
		return err
	}
	for _, f := range faults {
		if len(o.faults) > 0 && !slices.Contains(o.faults, f.name) {
			continue
		}
		if err := r.repeat(ctx, f, o); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) repeat(ctx context.Context, f fault, o options) error {
	have, err := kept(o.out, o.failover, f.name)
	if err != nil {
		return err
	}
	runs := runsOf(f, o.runs)
	if len(have) > 0 {
		r.say("%s: %d of %d are there", f.title, min(len(have), runs), runs)
	}
	discarded := 0
	for i := len(have) + 1; i <= runs; {
		started := time.Now()
		s, err := r.once(ctx, f)
		if errors.Is(err, errNotTheHolder) && discarded < discards {
			r.say("  not counted: %v", err)
			discarded++
			continue
		}
		if err != nil {
			return err
		}
		s.Variant, s.Commit = o.failover, o.commit
		if err := s.keep(o.out); err != nil {
			return err
		}
		g := judge(s)
		r.say("%s %d/%d: %s -> %s; gap %v, %d of %d new connections failed, %d broke; nobody replied for %v, two for %v; client late by %v; %v in all",
			f.title, i, runs, s.Node, orNobody(s.Next), round(g.Gap), g.Failed, g.Requests, g.Broken, round(g.Silence), round(g.Both), round(g.Late), time.Since(started).Round(100*time.Millisecond))
		discarded = 0
		i++
	}
	return nil
}

func orNobody(node string) string {
	if node == "" {
		return "nobody"
	}
	return node
}

func round(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
