// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
)

// burn keeps one core busy until interrupted or its standard input closes.
func burn(ctx context.Context, args []string) error {
	if len(args) != 0 {
		return fmt.Errorf("burn takes no argument, got %q", args)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cancelAtEnd(os.Stdin, cancel)
	for done := ctx.Done(); ; {
		select {
		case <-done:
			return nil
		default:
		}
		for i, x := 0, uint64(1); i < 1<<20; i++ {
			x = x*6364136223846793005 + 1442695040888963407
			sink = x
		}
	}
}

// sink keeps the compiler from leaving the work out.
var sink uint64
