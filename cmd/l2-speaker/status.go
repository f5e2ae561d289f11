// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/duration"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

// asking are the flags of the commands that ask.
type asking struct {
	output, socket string
}

func (a *asking) addFlags(flags *pflag.FlagSet) {
	flags.StringVarP(&a.output, "output", "o", "text", "How to print: 'text' for people, or 'json', whose fields are kept.")
	flags.StringVar(&a.socket, "status-socket", defaultStatusSocket, "Path of the Unix socket of the running speaker, its --status-socket.")
}

func (a *asking) validate() error {
	if a.output != "text" && a.output != "json" {
		return fmt.Errorf("--output=%s: must be 'text' or 'json'", a.output)
	}
	return nil
}

// print writes a report as it was asked for.
func (a *asking) print(out io.Writer, report any, text func(io.Writer)) error {
	if a.output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	text(table)
	return table.Flush()
}

func newStatusCommand() *cobra.Command {
	a := &asking{}
	command := &cobra.Command{
		Use:   "status",
		Short: "Says what the running speaker knows and does",
		Long: `Says what the speaker that runs in this container knows and does: its session, whom it hears, and each VIP that it holds, answers for or
takes. For example:

  kubectl exec -n metallb-system ds/speaker -- l2-speaker status`,
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := a.validate(); err != nil {
				return err
			}
			status, err := askStatus(command.Context(), a.socket)
			if err != nil {
				return err
			}
			return a.print(command.OutOrStdout(), status, func(out io.Writer) { writeStatus(out, status) })
		},
	}
	finish(command, a.addFlags)
	return command
}

// finish gives a command its flags and its help.
func finish(command *cobra.Command, addFlags ...func(*pflag.FlagSet)) {
	sets := cliflag.NamedFlagSets{}
	for _, add := range addFlags {
		add(sets.FlagSet(command.Name()))
	}
	command.Flags().AddFlagSet(sets.FlagSet(command.Name()))
	cliflag.SetUsageAndHelpFunc(command, sets, helpWidth)
}

func writeStatus(out io.Writer, status inspect.Status) {
	takes := "takes VIPs"
	if !status.Takes {
		takes = "takes no VIPs: " + status.WhyNot
		if status.BackOff > 0 {
			takes += fmt.Sprintf(", for %.1f s more", status.BackOff)
		}
	}
	session := "no session"
	if status.Session.Epoch != "" {
		session = fmt.Sprintf("session %s, renewed %s", status.Session.Epoch, ago(status.Session.Renewed))
		if !status.Session.Fresh {
			session += ": the API server is not reached"
		}
	}
	fmt.Fprintf(out, "Node %s, %s, running for %.0f s\n%s\n%s\n", status.Node, status.Version, status.Running, session, takes)
	switch {
	case status.Gateway == nil:
		fmt.Fprintln(out, "no gateway")
	case status.Gateway.Answers:
		fmt.Fprintf(out, "gateway %s answers\n", status.Gateway.Address)
	default:
		fmt.Fprintf(out, "gateway %s does not answer; it last did %s\n", status.Gateway.Address, ago(status.Gateway.Answered))
	}
	if status.Isolated {
		fmt.Fprintln(out, "isolated: neither the gateway nor any other speaker is heard")
	}
	fmt.Fprintf(out, "heartbeats every %.3g s, silent after %.3g of them\n", status.Period, status.SilencePeriods)

	fmt.Fprintln(out, "\nINTERFACE\tMAC\tADDRESSES")
	for _, each := range status.Interfaces {
		addresses := make([]string, 0, len(each.Addresses))
		for _, address := range each.Addresses {
			addresses = append(addresses, address.String())
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", each.Name, each.MAC, dash(strings.Join(addresses, ",")))
	}
	fmt.Fprintln(out, "\nSPEAKER\tHEARD\tGATEWAY\tREACHED API\tSESSION\tREMARKS")
	for _, each := range status.Speakers {
		writeSpeaker(out, each)
	}
	fmt.Fprintln(out, "\nVIP\tSTATE\tSINCE\tMOVES\tPOOL\tSERVICES\tREMARKS")
	for _, each := range status.VIPs {
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", each.Address, each.State, ago(each.Held), each.Moves, dash(each.Pool), dash(strings.Join(each.Services, ",")), dash(remarks(each)))
	}
	if len(status.Dropped) > 0 {
		fmt.Fprintln(out, "\nDROPPED\tREASON\tCOUNT")
	}
	for _, protocol := range slices.Sorted(maps.Keys(status.Dropped)) {
		for _, reason := range slices.Sorted(maps.Keys(status.Dropped[protocol])) {
			fmt.Fprintf(out, "%s\t%s\t%d\n", protocol, reason, status.Dropped[protocol][reason])
		}
	}
}

func writeSpeaker(out io.Writer, each inspect.Speaker) {
	heard, gateway, said := "not heard", "-", each.Self || each.HeardAgo != nil
	switch {
	case each.Self:
		heard = "itself"
	case each.Heard:
		heard = ago(each.ReportedAgo)
	case each.ReportedAgo != nil:
		heard = "not since " + ago(each.ReportedAgo)
	}
	if said {
		gateway = map[bool]string{true: "answers", false: "silent"}[each.GatewayAnswers]
	}
	var remarks []string
	if each.Leaving {
		remarks = append(remarks, "stops")
	}
	if each.BacksOff {
		remarks = append(remarks, "backs off")
	}
	fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", each.Node, heard, gateway, ago(each.Acknowledged), dash(each.Epoch), dash(strings.Join(remarks, ", ")))
}

// remarks are what is out of the ordinary with a VIP.
func remarks(each inspect.VIP) string {
	switch {
	case each.Conflict != nil:
		return fmt.Sprintf("%s on %s of node %s has it", dash(each.Conflict.MAC), dash(each.Conflict.Interface), dash(each.Conflict.Node))
	case each.Successor != "" || each.Reason != "":
		return fmt.Sprintf("to %s: %s", dash(each.Successor), dash(each.Reason))
	}
	return ""
}

func ago(span *inspect.Seconds) string {
	switch {
	case span == nil:
		return "-"
	case *span < 100:
		return fmt.Sprintf("%.1f s ago", *span)
	}
	return duration.HumanDuration(time.Duration(float64(*span)*float64(time.Second))) + " ago"
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
