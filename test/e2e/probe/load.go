// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// progressEvery is how many requests pass between two progress lines.
const progressEvery = 20

// runLoad prints progress lines to standard error while it runs, and at its end one JSON report to standard output; or, for whoever
// judges for himself, each request as it ends.
func runLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	url := flags.String("url", "", "page to ask for")
	rate := flags.Int("rate", 100, "new connections a second")
	timeout := flags.Duration("timeout", 200*time.Millisecond, "limit for each request, from connecting to the last byte")
	duration := flags.Duration("duration", 0, "end after this long; 0: when interrupted")
	csv := flags.String("csv", "", "file for one line per request")
	each := flags.Bool("each", false, "print a line for each request as it ends, in place of progress and report")
	stdin := flags.Bool("stdin", false, "end also when standard input closes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *url == "" {
		return fmt.Errorf("load needs --url")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if *stdin {
		cancelAtEnd(os.Stdin, cancel)
	}
	cfg := load.Config{
		URL: *url, Rate: *rate, Timeout: *timeout, Duration: *duration,
		Progress: func(requests, failures int) {
			if requests%progressEvery == 0 {
				fmt.Fprintf(os.Stderr, load.ProgressLine, requests, failures)
			}
		},
	}
	if *each {
		cfg.Progress, cfg.Each = nil, func(start time.Time, r load.Request) { fmt.Println(r.Attempt(start).Line()) }
	}
	requests, start, err := load.Run(ctx, cfg)
	if err != nil || *each {
		return err
	}
	if *csv != "" {
		if err := writeCSV(*csv, start, requests); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(load.Summarize(*url, start, requests))
}

// cancelAtEnd ends what was started when whoever started it closes our standard input, or is no more.
func cancelAtEnd(stdin io.Reader, cancel context.CancelFunc) {
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
}

// writeCSV keeps the raw measurement, so that a doubt about the report can be settled later.
func writeCSV(name string, start time.Time, requests []load.Request) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	fmt.Fprintf(w, "# started %s; times in milliseconds since then\n", start.Format(time.RFC3339Nano))
	fmt.Fprintln(w, "due,sent,ended,error")
	for _, r := range slices.SortedFunc(slices.Values(requests), func(a, b load.Request) int { return cmp.Compare(a.Due, b.Due) }) {
		fmt.Fprintf(w, "%.3f,%.3f,%.3f,%q\n", milliseconds(r.Due), milliseconds(r.Sent), milliseconds(r.Ended), r.Error)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Close()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
