// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// story is an allocator and what happens to it, one line a step.
type story struct {
	t   *testing.T
	a   *Allocator
	now time.Time
}

func newStory(t *testing.T, pools ...Pool) *story {
	s := &story{t: t, a: NewAllocator(), now: epoch}
	s.a.SetPools(pools)
	return s
}

type option func(*Request)

func families(families ...Family) option { return func(r *Request) { r.Families = families } }
func flexible(r *Request)                { r.Families, r.Flexible = []Family{IPv4, IPv6}, true }
func dual(r *Request)                    { r.Families = []Family{IPv4, IPv6} }
func from(pool string) option            { return func(r *Request) { r.Pool = pool } }
func asking(texts ...string) option      { return func(r *Request) { r.Addresses = addrs(texts...) } }
func in(namespace string) option         { return func(r *Request) { r.Namespace = namespace } }
func labelled(key, value string) option {
	return func(r *Request) { r.Labels = map[string]string{key: value} }
}
func sharing(key, backend string, ports ...uint16) option {
	return func(r *Request) {
		r.Sharing = Sharing{Key: key, Backend: backend}
		for _, port := range ports {
			r.Sharing.Ports = append(r.Sharing.Ports, Port{"TCP", port})
		}
	}
}

func (s *story) request(name string, options ...option) Request {
	r := Request{ID: name, Namespace: "default", Name: name, Families: []Family{IPv4}, Created: epoch}
	for _, option := range options {
		option(&r)
	}
	return r
}

// gets lets a Service ask, and checks what it holds then: addresses, and after a "!" the sentence of the refusal.
func (s *story) gets(want, name string, options ...option) {
	s.t.Helper()
	result, err := s.a.Allocate(s.request(name, options...), s.now)
	if got := outcome(result.Addresses, err); got != want {
		s.t.Errorf("%s gets %q, want %q", name, got, want)
	}
}

func (s *story) releases(name string) {
	s.t.Helper()
	s.a.Release(name, s.now)
	if s.a.Knows(name) {
		s.t.Errorf("%s is still known", name)
	}
}

// step is one line of a conformance table: a Service asks and gets, or is released.
type step struct {
	id       string // case in the list of the rules that MetalLB's users rely on, and what it is about
	service  string
	options  []option
	want     string
	released bool
}

// play runs the steps one after the other, each a subtest.
func (s *story) play(steps []step) {
	s.t.Helper()
	for _, step := range steps {
		s.t.Run(step.id, func(t *testing.T) {
			inner := &story{t: t, a: s.a, now: s.now}
			if step.released {
				inner.releases(step.service)
			} else {
				inner.gets(step.want, step.service, step.options...)
			}
			checkInvariants(t, s.a)
		})
	}
}

func outcome(addrs []netip.Addr, err error) string {
	var parts []string
	for _, addr := range addrs {
		parts = append(parts, addr.String())
	}
	if err != nil {
		parts = append(parts, "! "+err.Error())
	}
	return strings.Join(parts, " ")
}

func pool(t *testing.T, name string, entries ...string) Pool {
	return Pool{Name: name, AutoAssign: true, Ranges: ranges(t, entries...)}
}

type team string

func (t team) Matches(labels map[string]string) bool { return labels["team"] == string(t) }

func ranges(t testing.TB, entries ...string) []Range {
	t.Helper()
	var ranges []Range
	for _, entry := range entries {
		r, err := ParseRange(entry)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	return ranges
}

func addrs(texts ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}

func sameAddr(a, b netip.Addr) bool { return a == b }
