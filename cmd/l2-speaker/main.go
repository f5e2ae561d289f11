// SPDX-License-Identifier: Apache-2.0

// The l2-speaker runs on every node. It elects, through Leases, which node answers ARP and NDP for which VIP, and answers
// for those of its own node.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	// The first signal starts the hand-over of VIPs; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	command := newCommand()
	command.SetContext(ctx)
	os.Exit(cli.Run(command))
}
