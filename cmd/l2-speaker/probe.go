// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/probe"
)

// Bounds of --timeout.
const (
	leastTimeout   = 100 * time.Millisecond
	longestTimeout = time.Minute
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
			speaker, unknown := askStatus(command.Context(), p.socket)
			report, err := probe.Run(command.Context(), address, probe.Options{Speaker: speaker, Unknown: unknown, Interfaces: p.interfaces, Timeout: p.timeout})
			if err != nil {
				return err
			}
			return p.print(command.OutOrStdout(), report, func(out io.Writer) { writeProbe(out, report, p.timeout) })
		},
	}
	finish(command, p.asking.addFlags, p.addFlags)
	return command
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
		who := "a host without a speaker"
		switch {
		case each.Node != "":
			who = "node " + each.Node
		case report.Incomplete != "":
			who = "a host unknown"
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
