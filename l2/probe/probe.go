// SPDX-License-Identifier: Apache-2.0

// Package probe asks the LAN, from one node, who answers for an address. It is for a process of its own beside the speaker, whose sockets and
// whose watch list it leaves alone: it works beside one that is stuck, and disturbs none.
//
// What it sends are probes (RFC 5227, and duplicate address detection for IPv6), which change nobody's neighbour table. It never claims
// anything. It needs CAP_NET_RAW.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

const (
	// count of probes, for one may get lost, in the first half of the time to wait.
	count = 3
	// interfacesWithin is how long it may take to find the interfaces and listen on them.
	interfacesWithin = 3 * time.Second
)

// Options say how to ask.
type Options struct {
	// Speaker is what the speaker of this node says of itself; Unknown, why that is not known.
	Speaker inspect.Status
	Unknown error
	// Interfaces to ask on, by name; none stands for all that the speaker may use.
	Interfaces []string
	// Timeout is how long to wait for answers.
	Timeout time.Duration
}

// Run asks for an address, and waits until the time is over: more than one host may answer.
func Run(ctx context.Context, address netip.Addr, options Options) (inspect.Probe, error) {
	report := inspect.Probe{APIVersion: inspect.APIVersion, Kind: inspect.KindProbe, Node: options.Speaker.Node, Address: address}
	expression := options.Speaker.ExcludeInterfaces
	if options.Unknown != nil {
		report.Incomplete = "which speaker a MAC belongs to, and whether this node's own answers, is not known: " + options.Unknown.Error()
		expression = announce.DefaultExcludeInterfaces
	}
	exclude, err := regexp.Compile(expression)
	if err != nil {
		return report, fmt.Errorf("the speaker's --exclude-interfaces: %w", err)
	}
	announcer, err := announce.New(logr.Discard(), announce.Config{ExcludeInterfaces: exclude})
	if err != nil {
		return report, err
	}
	listening, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- announcer.Run(listening) }()
	found, err := interfaces(listening, announcer, ended)
	if err == nil {
		report.Interfaces, err = choose(found, options.Interfaces)
	}
	if err == nil {
		report.Own = ownership(options.Speaker, found, address)
		report.Answers, err = ask(listening, announcer, address, report.Interfaces, options.Timeout)
	}
	stop()
	err = cmp.Or(err, <-ended)
	for i := range report.Answers {
		report.Answers[i].Node = options.Speaker.SpeakerWith(report.Answers[i].MAC)
	}
	return report, err
}

// interfaces waits until the announcer listens, and returns the interfaces that are up. When it ends instead, why it did comes from ended,
// later.
func interfaces(ctx context.Context, announcer *announce.Announcer, ended chan error) ([]announce.Interface, error) {
	select {
	case <-announcer.Changes():
	case <-time.After(interfacesWithin):
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-ended:
		ended <- nil
		return nil, err
	}
	up := slices.DeleteFunc(announcer.Interfaces(), func(each announce.Interface) bool { return !each.Up })
	if len(up) == 0 {
		return nil, errors.New("this node has no interface that is up and that the speaker may use")
	}
	return up, nil
}

// choose are the names of the interfaces to ask on.
func choose(found []announce.Interface, wanted []string) ([]string, error) {
	var names []string
	for _, each := range found {
		names = append(names, each.Name)
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("interface %q: those that the speaker may use and that are up are %s", name, strings.Join(names, ", "))
		}
	}
	if len(wanted) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(wanted))), nil
	}
	return names, nil
}

// ownership says why this node has the address itself: it does not hear its own answers.
func ownership(status inspect.Status, found []announce.Interface, address netip.Addr) string {
	switch {
	case status.AnswersFor(address):
		return inspect.OwnAnnounced
	case slices.ContainsFunc(found, func(each announce.Interface) bool {
		return slices.ContainsFunc(each.Prefixes, func(prefix netip.Prefix) bool { return prefix.Addr() == address })
	}):
		return inspect.OwnConfigured
	}
	return ""
}

// ask probes, and collects who answers.
func ask(ctx context.Context, announcer *announce.Announcer, address netip.Addr, interfaces []string, timeout time.Duration) ([]inspect.Answer, error) {
	announcer.Watch(address)
	began := time.Now()
	over := time.NewTimer(timeout)
	defer over.Stop()
	again := time.NewTicker(timeout / 2 / count)
	defer again.Stop()
	answers := []inspect.Answer{}
	announcer.Probe(address, interfaces)
	for sent := 1; ; {
		select {
		case <-ctx.Done():
			return answers, ctx.Err()
		case <-over.C:
			return answers, nil
		case <-again.C:
			if sent < count {
				sent++
				announcer.Probe(address, interfaces)
			}
		case sighting := <-announcer.Sightings():
			if sighting.Addr != address || sighting.Kind == announce.KindProbe || sighting.Kind == announce.KindUse {
				continue
			}
			answer := inspect.Answer{MAC: sighting.MAC.String(), Interface: sighting.Interface, After: inspect.Span(sighting.At.Sub(began))}
			if !slices.ContainsFunc(answers, func(each inspect.Answer) bool { return each.MAC == answer.MAC && each.Interface == answer.Interface }) {
				answers = append(answers, answer)
			}
		}
	}
}
