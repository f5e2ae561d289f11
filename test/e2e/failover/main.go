// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// options are what a run was asked for.
type options struct {
	task     string
	cluster  string
	out      string // folder of raw data and reports
	failover string
	runs     int
	faults   []string // empty: all
	vips     int
	soak     time.Duration
	keep     bool
	commit   string
	command  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	klog.LogToStderr(false) // informers complain of every connection that a fault breaks
	klog.SetOutput(io.Discard)
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

var tasks = []string{"faults", "vips", "soak", "report"}

func parse(args []string) (options, error) {
	flags := flag.NewFlagSet("failover", flag.ContinueOnError)
	var o options
	var faultNames string
	flags.StringVar(&o.cluster, "cluster", "bench", "name of the test cluster")
	flags.StringVar(&o.out, "out", "out/bench-failover", "folder of raw data and reports, below the repository")
	flags.StringVar(&o.failover, "failover", "default", "the speakers' --failover: default or fast")
	flags.IntVar(&o.runs, "runs", 120, "how often each fault is measured; what is there already counts")
	flags.StringVar(&faultNames, "faults", "", "which faults, comma-separated; empty: all")
	flags.IntVar(&o.vips, "vips", 1000, "how many VIPs")
	flags.DurationVar(&o.soak, "soak", 20*time.Minute, "how long to soak")
	flags.BoolVar(&o.keep, "keep", false, "leave the cluster running")
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		flags.Usage()
		return o, fmt.Errorf("want one of %s", strings.Join(tasks, ", "))
	}
	o.task = args[0]
	if err := flags.Parse(args[1:]); err != nil {
		return o, err
	}
	if faultNames != "" {
		o.faults = strings.Split(faultNames, ",")
	}
	o.command = "failover " + strings.Join(args, " ")
	return o, o.validate()
}

func (o options) validate() error {
	known := map[string]bool{}
	for _, f := range faults {
		known[f.name] = true
	}
	for _, name := range o.faults {
		if !known[name] {
			return fmt.Errorf("--faults: there is no fault %q", name)
		}
	}
	switch {
	case !slices.Contains(tasks, o.task):
		return fmt.Errorf("there is no task %q: want one of %s", o.task, strings.Join(tasks, ", "))
	case o.failover != "default" && o.failover != "fast":
		return fmt.Errorf("--failover=%s: want default or fast", o.failover)
	case o.runs < 1:
		return fmt.Errorf("--runs=%d: want at least one", o.runs)
	case o.vips < 1 || o.vips > maxVIPs:
		return fmt.Errorf("--vips=%d: want 1 to %d", o.vips, maxVIPs)
	case o.soak <= 0:
		return fmt.Errorf("--soak=%v: want more than nothing", o.soak)
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	c, err := lab.Open(ctx, o.cluster, os.Stdout)
	if err != nil {
		return err
	}
	o.out = filepath.Join(c.Root, o.out)
	o.commit = commit(ctx, c.Root)
	if o.task != "report" {
		if err := onCluster(ctx, c, o); err != nil {
			return err
		}
	}
	return report(ctx, c.Root, o)
}

// tasks by name, with the flags their speakers need beside their own.
func (o options) do(ctx context.Context, r *rig) error {
	switch o.task {
	case "faults":
		return benchFaults(ctx, r, o)
	case "vips":
		return benchVIPs(ctx, r, o)
	default:
		return soak(ctx, r, o)
	}
}

func (o options) speakerFlags() []string {
	flags := []string{"--failover=" + o.failover}
	if o.task == "faults" || o.task == "vips" {
		flags = append(flags, noFlapBackoff)
	}
	if o.task == "vips" {
		flags = append(flags, fastRebalance)
	}
	return flags
}

// onCluster does the task on a cluster of its own, which goes down whatever becomes of it.
func onCluster(ctx context.Context, c *lab.Cluster, o options) (err error) {
	if os.Getuid() != 0 {
		return errors.New("root is needed: network namespaces are made")
	}
	if !o.keep {
		defer func() {
			down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
			defer cancel()
			err = errors.Join(err, c.Down(down, io.Discard))
		}()
	}
	r, err := newRig(ctx, c, os.Stdout, o.speakerFlags())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			c.Diagnose("failover-"+o.task, os.Stderr)
		}
		if stopped := r.close(); ctx.Err() == nil {
			err = errors.Join(err, stopped)
		}
	}()
	return o.do(ctx, r)
}

// commit is what is measured, as far as git can tell.
func commit(ctx context.Context, root string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--match=", "--always", "--abbrev=12", "--dirty")
	cmd.Dir = root
	text, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
