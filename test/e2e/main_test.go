// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// inside marks the process that runs the tests.
const inside = "L2_E2E_INSIDE"

// shared is the cluster of all tests; TestMain sets it before the first.
var shared *lab.Cluster

// What takes long and finds little that unit tests do not is left to `make test-long`.
var long = flag.Bool("long", false, "run the tests that take long, too")

// TestMain runs the tests in a process of their own, so that the cluster goes down whatever becomes of them: a failure, a panic,
// a timeout, an interrupt.
func TestMain(m *testing.M) {
	flag.Parse()
	klog.LogToStderr(false) // informers complain of every API server a test stops
	klog.SetOutput(io.Discard)
	switch {
	case flag.Lookup("test.list").Value.String() != "":
		os.Exit(m.Run())
	case os.Getenv(inside) != "":
		os.Exit(runTests(m))
	default:
		os.Exit(supervise())
	}
}

func runTests(m *testing.M) int {
	ctx := context.Background()
	cluster, err := lab.Open(ctx, clusterName(), io.Discard)
	if err == nil {
		err = cluster.Connect(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = cluster
	return m.Run()
}

func clusterName() string {
	if name := os.Getenv("L2_CLUSTER"); name != "" {
		return name
	}
	return "e2e"
}

// supervise brings the cluster up with the product on it, runs the tests, and takes it down.
func supervise() int {
	started := time.Now()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need root: they make network namespaces")
		return 1
	}
	cluster, err := lab.Open(ctx, clusterName(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer takeDown(cluster)
	if err := prepare(ctx, cluster); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("cluster %s with the product is ready after %v\n", cluster.Name, time.Since(started).Round(100*time.Millisecond))
	return runChild(ctx, time.Since(started))
}

func prepare(ctx context.Context, cluster *lab.Cluster) error {
	if err := cluster.Up(ctx, os.Stdout); err != nil {
		return err
	}
	if err := cluster.LoadProduct(ctx); err != nil {
		return err
	}
	err := cluster.ApplyProduct(ctx)
	if err == nil {
		calm, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err = cluster.AwaitCalm(calm)
	}
	if err != nil && ctx.Err() == nil {
		cluster.Diagnose("install", os.Stderr)
	}
	return err
}

func runChild(ctx context.Context, spent time.Duration) int {
	child := exec.CommandContext(ctx, os.Args[0], os.Args[1:]...)
	if limit, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String()); err == nil && limit > 0 {
		// The time that `go test` allows has begun with us.
		child.Args = append(child.Args, "-test.timeout="+max(limit-spent, time.Second).String())
	}
	child.Env = append(os.Environ(), inside+"=1")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := child.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted")
		return 130
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "running the tests:", err)
		return 1
	}
}

func takeDown(cluster *lab.Cluster) {
	if os.Getenv("KEEP") != "" {
		fmt.Printf("KEEP is set: cluster %[1]s is left running. Look around: eval \"$(L2_CLUSTER=%[1]s bin/cluster env)\"; remove: L2_CLUSTER=%[1]s bin/cluster down\n", cluster.Name)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := cluster.Down(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
