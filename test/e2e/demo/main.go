// SPDX-License-Identifier: Apache-2.0

// Command demo shows the main job on a real cluster: a Service gets an address, a client outside the cluster is served on it, and
// it stays served while the node that answers for it is drained and while another's cable is pulled. Each step says what it does and
// how long it took; the first that fails ends the demo. The cluster is left running, to look around in.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// clusterName is the demo's own, so that no other cluster is in its way.
const clusterName = "demo"

// limit is for the whole demo, Kubernetes built already or not.
const limit = 30 * time.Minute

func main() {
	klog.LogToStderr(false) // informers complain when their API server goes
	klog.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the demo's limit of %v is over", limit))
	defer cancel()
	os.Exit(run(ctx, newStage(os.Stdout)))
}

func run(ctx context.Context, s *stage) int {
	s.title("A LoadBalancer Service on bare metal, on a Kubernetes of three nodes inside this machine")
	if os.Getuid() != 0 {
		s.fail(fmt.Errorf("the demo needs root: it makes network namespaces"))
		return 1
	}
	cluster, err := lab.Open(ctx, clusterName, io.Discard)
	if err != nil {
		s.fail(err)
		return 1
	}
	d := &demo{Cluster: cluster, stage: s}
	if err := d.play(ctx); err != nil {
		s.fail(err)
		if ctx.Err() == nil && cluster.API != nil {
			cluster.Diagnose("demo", os.Stdout)
		}
		d.farewell()
		return 1
	}
	s.title(fmt.Sprintf("All of it worked, in %v.", s.elapsed()))
	d.farewell()
	return 0
}
