// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

const (
	// maxVIPs is what a /20 holds.
	maxVIPs = 4094
	// vipsPool is the network the many VIPs are from. No node has an address in it, so that none stands first.
	vipsPool = "10.100.0.0/20"
	// vipsAsked is how often each of the many VIPs is asked for. Their new holders announce them, so that asking is for an announcement which got
	// lost; more often, and the asking is what takes the machine's time.
	vipsAsked = 500 * time.Millisecond
	// restTime is how long writes are counted while nothing happens.
	restTime = 20 * time.Second
	// vipsEvery: the node is cut once for so many runs of the other faults.
	vipsEvery = 24
	// calmTime is how long one look takes at whether more is written than each speaker's session and the controller's Lease once a second, calmWrites
	// how many that are, and some, for each, and calmLimit how long it may take until it is calm.
	calmTime, calmWrites, calmLimit = 5 * time.Second, 6, 6 * time.Minute
	// evenly is how much more than the mean a node may hold; the plan has it at 1.1, rounded up.
	evenly = 1.12
	// vipsLimit is how long a node's VIPs may take to come back.
	vipsLimit = 30 * time.Second
)

// vipSample is one cable cut with many VIPs, and what they cost before it and in it.
type vipSample struct {
	Variant string    `json:"variant"`
	Commit  string    `json:"commit"`
	Started time.Time `json:"started"`
	VIPs    int       `json:"vips"` // in all
	Node    string    `json:"node"` // that was cut
	// Back is when each VIP of the node was answered by another, by the VIP, in milliseconds since the cut. Those that were not
	// within vipsLimit are not in it.
	Back map[string]float64 `json:"back_ms"`
	Held int                `json:"held"` // VIPs of the node
	// Writes to the API server by ServiceAccount: a second, while nothing happened, and in all from the cut until the last was back.
	RestWrites map[string]float64 `json:"rest_writes_per_second"`
	CutWrites  map[string]int     `json:"cut_writes"`
	// Creation is what the VIPs cost when they were made; only the first sample of a run has it.
	Creation *creation `json:"creation,omitempty"`
	// RSS of each speaker before the cut, in MiB.
	RSS map[string]float64 `json:"rss_mib"`
}

// creation of all Services with their backends.
type creation struct {
	Took   float64            `json:"took_seconds"`       // from the first Service until the last VIP was answered
	Writes map[string]float64 `json:"writes_per_service"` // by ServiceAccount
}

// back is when the first and the last VIP were. Not ok: one never was.
func (s *vipSample) back() (first, last time.Duration, ok bool) {
	var all []time.Duration
	for _, ms := range s.Back {
		all = append(all, time.Duration(ms*float64(time.Millisecond)))
	}
	if len(all) == 0 {
		return 0, 0, false
	}
	return slices.Min(all), slices.Max(all), len(all) == s.Held
}

func benchVIPs(ctx context.Context, r *rig, o options) error {
	have, err := keptVIPs(o.out, o.failover)
	if err != nil {
		return err
	}
	runs := max(o.runs/vipsEvery, 1)
	if len(have) >= runs {
		r.say("%d cuts with many VIPs are there", len(have))
		return nil
	}
	if err := r.measure(ctx); err != nil {
		return err
	}
	made, err := r.create(ctx, o.vips)
	if err != nil {
		return err
	}
	for i := len(have) + 1; i <= runs; i++ {
		s, err := r.cutWithVIPs(ctx)
		if err != nil {
			return err
		}
		s.Variant, s.Commit, s.VIPs, s.Creation = o.failover, o.commit, o.vips, made
		made = nil
		if err := s.keep(o.out); err != nil {
			return err
		}
		first, last, _ := s.back()
		r.say("%d VIPs, cut %d/%d of %s: %d of its %d VIPs back after %v .. %v; %d writes; at rest %.2f a second",
			o.vips, i, runs, s.Node, len(s.Back), s.Held, round(first), round(last), total(s.CutWrites), total(s.RestWrites))
	}
	return nil
}

// create makes the Services in one go, and returns when each VIP is answered. It tells no cost when some were there.
func (r *rig) create(ctx context.Context, count int) (*creation, error) {
	if err := r.Apply(ctx, namespaceYAML+poolYAML("many", vipsPool)); err != nil {
		return nil, err
	}
	there, err := r.API.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	place, err := r.AuditEnd()
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := r.createServices(ctx, "many", manyNames(count)...); err != nil {
		return nil, err
	}
	r.say("%d Services are made after %v", count, time.Since(started).Round(100*time.Millisecond))
	vips, err := r.addresses(ctx, count)
	if err != nil {
		return nil, err
	}
	watch, err := r.StartWatch(ctx, lab.Client, vipsAsked, vips...)
	if err != nil {
		return nil, err
	}
	_, err = awaitClaims(ctx, watch, started, "", count)
	if err = errors.Join(err, watch.Stop()); err != nil {
		return nil, err
	}
	made := &creation{Took: time.Since(started).Seconds(), Writes: map[string]float64{}}
	requests, err := r.AuditSince(place)
	if err != nil {
		return nil, err
	}
	for account, writes := range writesOf(requests) {
		made.Writes[account] = float64(writes) / float64(count)
	}
	r.say("each is answered after %.1f s; writes for each %v", made.Took, made.Writes)
	if len(there.Items) > 1 { // beside the one under load: an earlier run on this cluster has made some
		return nil, nil
	}
	return made, nil
}

// addresses of all the Services, once each has one.
func (r *rig) addresses(ctx context.Context, count int) ([]netip.Addr, error) {
	var vips []netip.Addr
	err := r.AwaitServices(ctx, namespace, "to have addresses", func(services []*corev1.Service) error {
		vips = vips[:0]
		for _, s := range services {
			if strings.HasPrefix(s.Name, manyPrefix) {
				vips = append(vips, lab.Addresses(s)...)
			}
		}
		if len(vips) < count {
			return fmt.Errorf("%d of %d have", len(vips), count)
		}
		return nil
	})
	return vips, err
}

// claims collects when each VIP was first claimed by a host other than one. It looks at each answer once: there are thousands a second.
type claims struct {
	besides string
	first   map[netip.Addr]time.Time
	looked  int
}

// of says how many VIPs are missing. It is given all answers each time, those of before first.
func (c *claims) of(answers []arpwatch.Answer, want int) error {
	for _, a := range answers[c.looked:] {
		if _, ok := c.first[a.Target]; !ok && a.Host != c.besides {
			c.first[a.Target] = a.At
		}
	}
	c.looked = len(answers)
	if len(c.first) < want {
		return fmt.Errorf("%d of %d VIPs are answered", len(c.first), want)
	}
	return nil
}

// awaitClaims returns when each VIP was first claimed, since a time, by a host other than one.
func awaitClaims(ctx context.Context, watch *lab.Stream[arpwatch.Answer], from time.Time, besides string, want int) (map[netip.Addr]time.Time, error) {
	c := claims{besides: besides, first: make(map[netip.Addr]time.Time, want)}
	err := watch.Await(ctx, from, func(answers []arpwatch.Answer) error { return c.of(answers, want) })
	return c.first, err
}

// cutWithVIPs counts at rest, then pulls the cable of the node that holds the most.
func (r *rig) cutWithVIPs(ctx context.Context) (*vipSample, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	if err := r.calm(ctx); err != nil {
		return nil, err
	}
	s := &vipSample{Started: time.Now(), Back: map[string]float64{}, RestWrites: map[string]float64{}, RSS: map[string]float64{}}
	for _, node := range r.nodes {
		rss, err := r.rss(ctx, node)
		if err != nil {
			return nil, err
		}
		s.RSS[node] = rss
	}
	place, err := r.AuditEnd()
	if err != nil {
		return nil, err
	}
	if err := r.steady(ctx, time.Now(), int(restTime.Seconds()*lab.Rate)); err != nil { // at rest, and seen to be
		return nil, err
	}
	took := time.Since(s.Started)
	requests, err := r.AuditSince(place)
	if err != nil {
		return nil, err
	}
	for account, writes := range writesOf(requests) {
		s.RestWrites[account] = float64(writes) / took.Seconds()
	}

	held, err := r.held(ctx)
	if err != nil {
		return nil, err
	}
	for _, node := range r.nodes {
		if len(held[node]) > s.Held {
			s.Node, s.Held = node, len(held[node])
		}
	}
	if s.Held == 0 {
		return nil, errors.New("no node holds any of the VIPs")
	}
	watch, err := r.StartWatch(ctx, lab.Client, vipsAsked, held[s.Node]...)
	if err != nil {
		return nil, err
	}
	_, err = awaitClaims(ctx, watch, s.Started, "", s.Held)
	if err == nil {
		err = r.cutAndCount(ctx, s, watch)
	}
	return s, errors.Join(err, watch.Stop())
}

// calm returns when every node holds its share of the VIPs, and next to nothing is written any more: events and status objects of a thousand VIPs
// that were made, or moved, take their time.
func (r *rig) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, calmLimit, fmt.Errorf("not calm within %v", calmLimit))
	defer cancel()
	for {
		place, err := r.AuditEnd()
		if err != nil {
			return err
		}
		if err := r.steady(ctx, time.Now(), int(calmTime.Seconds()*lab.Rate)); err != nil {
			return err
		}
		requests, err := r.AuditSince(place)
		if err != nil {
			return err
		}
		held, err := r.held(ctx)
		if err != nil {
			return err
		}
		all, most := 0, 0
		for _, vips := range held {
			all, most = all+len(vips), max(most, len(vips))
		}
		if total(writesOf(requests)) <= calmWrites*(len(r.nodes)+1) && float64(most) <= evenly*float64(all)/float64(len(r.nodes)) {
			return nil
		}
	}
}

func (r *rig) cutAndCount(ctx context.Context, s *vipSample, watch *lab.Stream[arpwatch.Answer]) error {
	place, err := r.AuditEnd()
	if err != nil {
		return err
	}
	cut := time.Now()
	err = r.Cut(ctx, s.Node)
	if err == nil {
		waiting, cancel := context.WithTimeout(ctx, vipsLimit)
		back, missing := awaitClaims(waiting, watch, cut, s.Node, s.Held)
		cancel()
		for vip, at := range back {
			s.Back[vip.String()] = float64(at.Sub(cut).Microseconds()) / 1000
		}
		if missing != nil {
			r.say("  %v", missing) // measured too
		}
	}
	requests, failed := r.AuditSince(place)
	s.CutWrites = writesOf(requests)
	mending, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyLimit)
	defer cancel()
	return errors.Join(err, failed, r.Heal(mending, s.Node))
}

// held are the many VIPs by the node that holds them.
func (r *rig) held(ctx context.Context) (map[string][]netip.Addr, error) {
	leases, err := r.API.CoordinationV1().Leases(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: names.LabelLease + "=" + names.LeaseVIP})
	if err != nil {
		return nil, err
	}
	pool := netip.MustParsePrefix(vipsPool)
	held := map[string][]netip.Addr{}
	for _, l := range leases.Items {
		if vip, ok := names.ParseVIPLease(l.Name); ok && pool.Contains(vip) && l.Spec.HolderIdentity != nil {
			held[*l.Spec.HolderIdentity] = append(held[*l.Spec.HolderIdentity], vip)
		}
	}
	return held, nil
}

// rss of the speaker on a node, in MiB, by its own metrics.
func (r *rig) rss(ctx context.Context, node string) (float64, error) {
	url, err := r.metricsURL(ctx, node)
	if err != nil {
		return 0, err
	}
	page, err := r.Get(ctx, url)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, "process_resident_memory_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return bytes / (1 << 20), err
		}
	}
	return 0, fmt.Errorf("the metrics of %s do not tell its memory", node)
}

// writesOf counts writes by ServiceAccount.
func writesOf(requests []lab.Request) map[string]int {
	writes := map[string]int{}
	for _, r := range requests {
		if r.Writes() {
			writes[r.Account]++
		}
	}
	return writes
}

func total[N int | float64](counts map[string]N) N {
	var sum N
	for _, n := range counts {
		sum += n
	}
	return sum
}

const vipsFolder = "vips"

func (s *vipSample) keep(out string) error {
	return keep(folderOf(out, s.Variant, vipsFolder), ".json", func(file io.Writer) error {
		encoder := json.NewEncoder(file)
		encoder.SetIndent("", " ")
		return encoder.Encode(s)
	})
}

func keptVIPs(out, variant string) ([]*vipSample, error) {
	return readFiles(folderOf(out, variant, vipsFolder), ".json", func(file io.Reader) (*vipSample, error) {
		s := &vipSample{}
		return s, json.NewDecoder(file).Decode(s)
	})
}
