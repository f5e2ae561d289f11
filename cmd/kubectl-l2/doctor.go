// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
)

// exitFailed is doctor's exit status when it could not examine anything.
const exitFailed = 3

func newDoctorCommand(o *options) *cobra.Command {
	probes := 50
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with a cluster, why it matters and how to mend it",
		Long: `Examine the cluster, the configuration, the Services and the LAN, and say of each check what was seen, and where
something is wrong, why it matters and how to mend it. Sessions are watched for a few seconds.

Exit status: 0 when all is well; 1 when there are warnings, or something could not be looked at; 2 when something does
not work; 3 when nothing could be examined.`,
		Example: `  kubectl l2 doctor
  kubectl l2 doctor -o json | jq -r '.checks[].findings[]?.saw'`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return o.examine(command.Context(), probes) },
	}
	command.Flags().IntVar(&probes, "probes", probes, "Addresses to ask the LAN for, at most; each takes about a second. 0: none.")
	o.addOutput(command, "json", "yaml")
	return command
}

func (o *options) examine(ctx context.Context, probes int) error {
	diagnosis, err := o.diagnosis(ctx, probes)
	if err != nil {
		fmt.Fprintln(o.errors, "error:", err)
		return exitStatus(exitFailed)
	}
	done, err := o.print(diagnosis)
	if err != nil {
		return err
	}
	if !done {
		o.tellDiagnosis(diagnosis)
		o.unread(diagnosis.Unread)
	}
	if status := diagnosis.ExitStatus(); status != 0 {
		return exitStatus(status)
	}
	return nil
}

func (o *options) diagnosis(ctx context.Context, probes int) (doctor.Diagnosis, error) {
	c, err := o.collector()
	if err != nil {
		return doctor.Diagnosis{}, err
	}
	taken, err := c.Basic(ctx)
	if err != nil {
		return doctor.Diagnosis{}, err
	}
	c.Rest(ctx)
	c.Ask(ctx, doctor.Questions(taken, probes))
	return doctor.Examine(taken), nil
}

// tellDiagnosis writes a diagnosis for people to read.
func (o *options) tellDiagnosis(diagnosis doctor.Diagnosis) {
	paint := paintFor(o.out)
	colours := map[doctor.Severity]string{doctor.OK: green, doctor.Skipped: yellow, doctor.Warning: yellow, doctor.Error: red}
	counts := map[doctor.Severity]int{}
	for _, result := range diagnosis.Checks {
		counts[result.Severity]++
		fmt.Fprintf(o.out, "%s %-22s %s\n", paint.in(colours[result.Severity], fmt.Sprintf("%-8s", result.Severity)), result.Check, result.Saw)
		if len(result.Findings) == 0 {
			continue
		}
		fmt.Fprintf(o.out, "         Why it matters: %s.\n", result.Why)
		for _, finding := range result.Findings {
			saw := finding.Saw
			if finding.Object != "" {
				saw = finding.Object + ": " + saw
			}
			fmt.Fprintf(o.out, "         %s %s\n", paint.in(colours[finding.Severity], "*"), saw)
			fmt.Fprintf(o.out, "           To mend it: %s\n", finding.Mend)
		}
	}
	var parts []string
	for _, severity := range []doctor.Severity{doctor.OK, doctor.Warning, doctor.Error, doctor.Skipped} {
		parts = append(parts, fmt.Sprintf("%d %s", counts[severity], severity))
	}
	fmt.Fprintln(o.out, strings.Join(parts, ", "))
}
