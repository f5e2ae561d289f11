// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// soakVIPs is how many VIPs can move falsely, beside the one under load.
const soakVIPs = 30

// soaked is what a soak comes down to.
type soaked struct {
	Variant  string        `json:"variant"`
	Commit   string        `json:"commit"`
	Command  string        `json:"command"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took"`
	Burning  int           `json:"burning"` // busy loops
	VIPs     int           `json:"vips"`
	Changes  []change      `json:"changes"`
	Requests int           `json:"requests"`
	Failed   int           `json:"failed"`
	Broken   int           `json:"broken"`
	Gap      time.Duration `json:"gap"`
	Silence  time.Duration `json:"silence"`
	Both     time.Duration `json:"both"`
	Late     time.Duration `json:"late"`
}

// change of a record that no fault explains.
type change struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // fence, move
	What string    `json:"what"` // the node or the VIP
	From string    `json:"from,omitempty"`
	To   string    `json:"to,omitempty"` // for a fence: who ended the session
}

const (
	changeFence = "fence"
	changeMove  = "move"
)

// soak keeps every core busy and does nothing else, and notes what moves.
func soak(ctx context.Context, r *rig, o options) error {
	if err := r.measure(ctx); err != nil {
		return err
	}
	if err := r.Apply(ctx, poolYAML("many", vipsPool)); err != nil {
		return err
	}
	if err := r.createServices(ctx, "many", manyNames(soakVIPs)...); err != nil {
		return err
	}
	vips, err := r.addresses(ctx, soakVIPs)
	if err != nil {
		return err
	}
	for _, vip := range vips {
		if _, err := r.AwaitHolder(ctx, vip, lab.Anybody); err != nil {
			return err
		}
	}
	if err := r.ready(ctx); err != nil {
		return err
	}
	for range runtime.NumCPU() {
		stop, err := r.StartBurning(ctx)
		if err != nil {
			return err
		}
		r.stops = append(r.stops, stop)
	}
	s := &soaked{Variant: o.failover, Commit: o.commit, Command: o.command, Started: time.Now(), Burning: runtime.NumCPU(), VIPs: soakVIPs + 1}
	r.say("soaking for %v with %d busy loops", o.soak, s.Burning)
	if err := r.watchLeases(ctx, s, s.Started.Add(o.soak)); err != nil {
		return err
	}
	s.Took = time.Since(s.Started)
	attempts := r.connections.Since(s.Started)
	s.judge(attempts, r.watch.Since(s.Started))
	if err := r.close(); err != nil { // the machine is free again
		return err
	}
	return r.keepSoak(ctx, o, s, attempts)
}

// watchLeases notes changes of holders and ends of sessions until a time.
func (r *rig) watchLeases(ctx context.Context, s *soaked, until time.Time) error {
	known := records{}
	return r.AwaitLeases(ctx, "until the soak ends", func(leases []*coordinationv1.Lease) error {
		for _, c := range known.changes(time.Now(), leases) {
			r.say("  %s %s: %s -> %s", c.Kind, c.What, c.From, c.To)
			s.Changes = append(s.Changes, c)
		}
		if left := time.Until(until); left > 0 { // some session is renewed every second, and we are asked again
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
}

// records are the holders that the Leases named when they were last seen, by the Leases' names.
type records map[string]string

// changes compares with what was seen before. What is seen for the first time is no change.
func (k records) changes(now time.Time, leases []*coordinationv1.Lease) []change {
	var all []change
	for _, l := range leases {
		holder := ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		before, seen := k[l.Name]
		k[l.Name] = holder
		if !seen || before == holder {
			continue
		}
		if vip, ok := names.ParseVIPLease(l.Name); ok {
			all = append(all, change{At: now, Kind: changeMove, What: vip.String(), From: before, To: holder})
		}
		if node, ok := names.ParseSessionLease(l.Name); ok && before != "" {
			all = append(all, change{At: now, Kind: changeFence, What: node, From: before, To: l.Annotations[names.AnnotationFencedBy]})
		}
	}
	return all
}

func (s *soaked) judge(attempts []load.Attempt, answers []arpwatch.Answer) {
	f := judge(&sample{marks: marks{Injected: s.Started, Healed: s.Started.Add(s.Took)}, Attempts: attempts, Answers: answers})
	s.Requests, s.Failed, s.Broken, s.Gap, s.Silence, s.Both, s.Late = f.Requests, f.Failed, f.Broken, f.Gap, f.Silence, f.Both, f.Late
}

// count of changes of one kind.
func (s *soaked) count(kind string) int {
	n := 0
	for _, c := range s.Changes {
		if c.Kind == kind {
			n++
		}
	}
	return n
}

// keepSoak writes what was found, with what the speakers said meanwhile.
func (r *rig) keepSoak(ctx context.Context, o options, s *soaked, attempts []load.Attempt) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	said, err := r.Kubectl(ctx, "logs", "-n", lab.Namespace, "-l", "component=speaker", "--prefix", "--tail=-1", "--since-time="+s.Started.Format(time.RFC3339))
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	connections, err := os.Create(filepath.Join(o.out, "connections.csv"))
	if err != nil {
		return err
	}
	raw := &sample{marks: marks{Fault: "soak", Variant: s.Variant, Commit: s.Commit, Injected: s.Started}, Attempts: attempts}
	return errors.Join(
		raw.write(connections), connections.Close(),
		os.WriteFile(filepath.Join(o.out, "speakers.log"), []byte(said), 0o644),
		os.WriteFile(filepath.Join(o.out, "soak.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(o.out, "report.md"), []byte(soakReport(thisMachine(), s, reasons(said))), 0o644),
	)
}

// reasons are the speakers' log lines that say why something moved.
func reasons(log string) []string {
	var all []string
	for line := range strings.Lines(log) {
		for _, telling := range []string{"Ended the session", "Hand over VIP", "Session was ended", "withdraw"} {
			if strings.Contains(line, telling) {
				all = append(all, strings.TrimSpace(line))
				break
			}
		}
	}
	return all
}
