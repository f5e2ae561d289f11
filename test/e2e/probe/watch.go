// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
)

// watch prints a line for each ARP answer and announcement for the targets, until interrupted or its standard input closes.
func watch(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("watch", flag.ContinueOnError)
	name := flags.String("interface", "eth0", "interface to watch")
	targets := flags.String("targets", "", "addresses, comma-separated")
	every := flags.Duration("every", 20*time.Millisecond, "how often each is asked for; 0: only listen")
	stdin := flags.Bool("stdin", false, "end when standard input closes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := arpwatch.Config{Interface: *name, Every: *every}
	for text := range strings.SplitSeq(*targets, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil || !addr.Is4() {
			return fmt.Errorf("watch needs --targets of IPv4 addresses, got %q", text)
		}
		cfg.Targets = append(cfg.Targets, addr)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if *stdin {
		cancelAtEnd(os.Stdin, cancel)
	}
	// The packet socket is read by a goroutine that never waits for a reader of ours.
	answers := make(chan arpwatch.Answer, 1<<16)
	cfg.Record = func(a arpwatch.Answer) { answers <- a }
	printed := make(chan error, 1)
	go func() { printed <- printAnswers(answers) }()
	err := arpwatch.Run(ctx, cfg)
	close(answers)
	if failed := <-printed; err == nil {
		err = failed
	}
	return err
}

// printAnswers flushes whenever it has caught up.
func printAnswers(answers <-chan arpwatch.Answer) error {
	w := bufio.NewWriter(os.Stdout)
	var failed error // kept, and the channel drained: the sender must not block
	for a := range answers {
		_, err := fmt.Fprintln(w, a.Line())
		if len(answers) == 0 && err == nil {
			err = w.Flush()
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}
