// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/announce"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

const (
	// probes are sent so many times, for one may get lost, in the first half of the time to wait.
	probes = 3
	// interfacesWithin is how long it may take to find the interfaces and listen on them.
	interfacesWithin             = 3 * time.Second
	leastTimeout, longestTimeout = 100 * time.Millisecond, time.Minute
)

// probing are the flags of `l2-speaker probe`.
type probing struct {
	asking
	timeout    time.Duration
	interfaces []string
}

func (p *probing) addFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&p.timeout, "timeout", time.Second, "How long to wait for answers, from "+leastTimeout.String()+" to "+longestTimeout.String()+".")
	flags.StringSliceVar(&p.interfaces, "interface", nil, "Ask on these interfaces only, separated by commas. Default: on all that the speaker announces on.")
}

func (p *probing) validate(text string) (netip.Addr, error) {
	if err := p.asking.validate(); err != nil {
		return netip.Addr{}, err
	}
	if p.timeout < leastTimeout || p.timeout > longestTimeout {
		return netip.Addr{}, fmt.Errorf("--timeout=%s: must be from %s to %s", p.timeout, leastTimeout, longestTimeout)
	}
	address, err := netip.ParseAddr(text)
	address = address.Unmap()
	if err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() || address.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("%q: must be the IPv4 or IPv6 address of one host, as 192.168.1.240", text)
	}
	return address, nil
}

func newProbeCommand() *cobra.Command {
	p := &probing{}
	command := &cobra.Command{
		Use:   "probe ADDRESS",
		Short: "Asks the LAN who answers for an address",
		Long: `Asks the LAN, by ARP or NDP from this node, who answers for an address. It changes nobody's neighbour table. For example:

  kubectl exec -n metallb-system ds/speaker -- l2-speaker probe 192.168.1.240`,
		SilenceUsage: true,
		Args:         cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			address, err := p.validate(args[0])
			if err != nil {
				return err
			}
			report, err := p.probe(command.Context(), address)
			if err != nil {
				return err
			}
			return p.print(command.OutOrStdout(), report, func(out io.Writer) { writeProbe(out, report, p.timeout) })
		},
	}
	finish(command, p.asking.addFlags, p.addFlags)
	return command
}

// probe asks with sockets of its own, so that it works beside a speaker that is stuck; what only a running speaker knows, whose MAC an
// answer comes from, that one is asked for.
func (p *probing) probe(ctx context.Context, address netip.Addr) (inspect.Probe, error) {
	report := inspect.Probe{APIVersion: inspect.APIVersion, Kind: inspect.KindProbe, Address: address, Interfaces: []string{}, Answers: []inspect.Answer{}}
	status, err := askStatus(ctx, p.socket)
	if err != nil {
		report.Incomplete = "which speaker a MAC belongs to, and whether this node's own answers, is not known: " + err.Error()
		status = inspect.Status{ExcludeInterfaces: announce.DefaultExcludeInterfaces}
	}
	report.Node = status.Node
	exclude, err := regexp.Compile(status.ExcludeInterfaces)
	if err != nil {
		return inspect.Probe{}, fmt.Errorf("the speaker's --exclude-interfaces: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	announcer, err := announce.New(logr.Discard(), announce.Config{ExcludeInterfaces: exclude, AnnounceOnReturn: func() bool { return false }})
	if err != nil {
		return inspect.Probe{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- announcer.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	found, err := interfacesOf(ctx, announcer, ended)
	if err != nil {
		return inspect.Probe{}, err
	}
	if report.Interfaces, err = p.choose(found); err != nil {
		return inspect.Probe{}, err
	}
	report.Own = ownership(status, found, address)
	report.Answers, err = p.ask(ctx, announcer, address, report.Interfaces)
	for i := range report.Answers {
		report.Answers[i].Node = status.SpeakerWith(report.Answers[i].MAC)
	}
	return report, err
}

// interfacesOf waits until the announcer listens, and returns the interfaces that are up.
func interfacesOf(ctx context.Context, announcer *announce.Announcer, ended chan error) ([]announce.Interface, error) {
	select {
	case <-announcer.Changes():
	case <-time.After(interfacesWithin):
	case err := <-ended:
		ended <- err // for who waits for the end
		return nil, cmp.Or(err, ctx.Err())
	}
	up := slices.DeleteFunc(announcer.Interfaces(), func(each announce.Interface) bool { return !each.Up })
	if len(up) == 0 {
		return nil, errors.New("this node has no interface that is up and that the speaker may use")
	}
	return up, nil
}

// choose are the names of the interfaces to ask on.
func (p *probing) choose(found []announce.Interface) ([]string, error) {
	var names []string
	for _, each := range found {
		names = append(names, each.Name)
	}
	for _, wanted := range p.interfaces {
		if !slices.Contains(names, wanted) {
			return nil, fmt.Errorf("--interface=%s: the speaker's interfaces that are up are %s", wanted, strings.Join(names, ", "))
		}
	}
	if len(p.interfaces) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(p.interfaces))), nil
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

// ask probes, and collects who answers until the time is over: there may be more than one.
func (p *probing) ask(ctx context.Context, announcer *announce.Announcer, address netip.Addr, interfaces []string) ([]inspect.Answer, error) {
	announcer.Watch(address)
	began := time.Now()
	over := time.NewTimer(p.timeout)
	defer over.Stop()
	again := time.NewTicker(p.timeout / 2 / probes)
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
			if sent < probes {
				sent++
				announcer.Probe(address, interfaces)
			}
		case sighting := <-announcer.Sightings():
			answer := inspect.Answer{MAC: sighting.MAC.String(), Interface: sighting.Interface, After: inspect.Span(sighting.At.Sub(began))}
			known := slices.ContainsFunc(answers, func(each inspect.Answer) bool {
				return each.MAC == answer.MAC && each.Interface == answer.Interface
			})
			if sighting.Addr == address && sighting.Kind != announce.KindProbe && !known {
				answers = append(answers, answer)
			}
		}
	}
}

func writeProbe(out io.Writer, report inspect.Probe, timeout time.Duration) {
	on := strings.Join(report.Interfaces, ", ")
	switch report.Own {
	case inspect.OwnAnnounced:
		fmt.Fprintf(out, "The speaker of this node, %s, answers for %s.\n", report.Node, report.Address)
	case inspect.OwnConfigured:
		fmt.Fprintf(out, "%s is an address of this node itself.\n", report.Address)
	}
	for _, each := range report.Answers {
		who := "which is no speaker"
		switch {
		case each.Node != "":
			who = "the speaker of node " + each.Node
		case report.Incomplete != "":
			who = "whose host is not known"
		}
		fmt.Fprintf(out, "%s on %s answers for %s: %s.\n", each.MAC, each.Interface, report.Address, who)
	}
	switch {
	case len(report.Answers) == 0 && report.Own != "":
		fmt.Fprintf(out, "Nobody else answers on %s within %s.\n", on, timeout)
	case len(report.Answers) == 0:
		fmt.Fprintf(out, "Nobody answers for %s on %s within %s.\n", report.Address, on, timeout)
	}
	if report.Incomplete != "" {
		fmt.Fprintf(out, "Note: %s\n", report.Incomplete)
	}
}
