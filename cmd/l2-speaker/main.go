// SPDX-License-Identifier: Apache-2.0

// The l2-speaker runs on every node. It elects, through Leases, which node answers ARP and NDP for which VIP, and answers
// for those of its own node.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/collector"
)

// isAsking says whether a word names a command beside the speaker itself.
func isAsking(command *cobra.Command, word string) bool {
	return slices.ContainsFunc(command.Commands(), func(each *cobra.Command) bool { return each.Name() == word })
}

// gcPercent is lower than Go's 100: there is a speaker on every node, and most of its heap lives as long as the VIPs. GOGC in the
// environment overrules it.
const gcPercent = 40

func main() {
	collector.Tune(gcPercent)
	// The first signal starts the hand-over of VIPs; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	command := newCommand()
	command.SetContext(ctx)
	if len(os.Args) > 1 && isAsking(command, os.Args[1]) { // its output is for people, not a log
		if err := cli.RunNoErrOutput(command); err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Run(command))
}
