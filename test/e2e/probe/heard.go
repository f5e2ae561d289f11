// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// heard returns when each speaker says, by its metrics, that it hears so many members. It asks again and again, since metrics tell
// nobody of a change.
func heard(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("heard", flag.ContinueOnError)
	members := flags.Int("members", 3, "speakers that each is to hear, itself included")
	limit := flags.Duration("limit", 30*time.Second, "when to give up")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	// A connection that was cut is not used again.
	client := &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	want := fmt.Sprintf("memberlist_members_heard %d", *members)
	for _, url := range flags.Args() {
		for {
			page, err := fetch(ctx, client, url)
			if err == nil && hasLine(page, want) {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%s does not say %q within %v: %w", url, want, *limit, errors.Join(err, ctx.Err()))
			}
		}
	}
	return nil
}

func hasLine(page, want string) bool {
	for line := range strings.Lines(page) {
		if strings.TrimSpace(line) == want {
			return true
		}
	}
	return false
}
