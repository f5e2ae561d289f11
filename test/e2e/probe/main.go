// SPDX-License-Identifier: Apache-2.0

// Command probe is what the end-to-end tests run on the client host of a test cluster, inside its network namespace. It is one static
// binary with no configuration, so that `cluster exec client -- probe …` is all it takes.
//
//	probe load --url http://VIP/ [--rate 100] [--timeout 200ms] [--duration 0] [--csv FILE | --each] [--stdin]
//	probe get URL
//	probe census --target VIP [--interface eth0]
//	probe arping [-I eth0] [-c COUNT] VIP
//	probe arp
//	probe watch --targets VIP,VIP… [--interface eth0] [--every 20ms]
//	probe serve [--port 80]
//	probe heard --members N http://NODE:7472/metrics…
//	probe burn
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// command is one subcommand: its arguments come without its own name.
type command func(ctx context.Context, args []string) error

// commands by the name a user types.
func commands() map[string]command {
	return map[string]command{
		"load": runLoad, "get": get, "census": census, "arping": arping, "arp": neighbours,
		"watch": watch, "serve": serve, "heard": heard, "burn": burn,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	all := commands()
	if len(args) > 0 {
		if c := all[args[0]]; c != nil {
			return c(ctx, args[1:])
		}
	}
	return fmt.Errorf("want one of %s; got %q", strings.Join(slices.Sorted(maps.Keys(all)), ", "), strings.Join(args, " "))
}
