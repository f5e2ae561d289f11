// SPDX-License-Identifier: Apache-2.0

// Command kubectl-l2 is a kubectl plugin, `kubectl l2`: it shows which node announces which address, explains why an address is pending
// or not reached, and finds out what is wrong with a cluster. It only ever reads, with the rights of whoever runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand(streams{in: os.Stdin, out: os.Stdout, errors: os.Stderr}).ExecuteContext(ctx)
	stop()
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// exitStatus ends the program without another word.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
