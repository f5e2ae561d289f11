// SPDX-License-Identifier: Apache-2.0

// Command l2-cloud-controller-manager gives LoadBalancer Services their addresses. It runs the stock service controller of
// k8s.io/cloud-provider with one provider, "l2". Speakers announce what it allocates; when it is away, they go on, and
// only new Services wait.
//
// It starts that controller by itself and not through k8s.io/cloud-provider/app: the app links a whole API server, for
// endpoints and flags that mean nothing here, which cost 40 MB of program in memory.
package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API client and the queues
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/collector"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
)

// gcPercent is lower than Go's 100: most of the heap is caches that live for ever, and memory in every cluster is worth
// more than a moment's work during a burst. GOGC in the environment overrules it.
const gcPercent = 25

func main() {
	collector.Tune(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	process := &process{ctx: ctx}
	code := cli.Run(newCommand(process))
	process.handOver()
	stop()
	os.Exit(code)
}

// process is what the parts of one run share. Its fields are set before the controllers start, but for leading, and not changed after.
type process struct {
	ctx        context.Context // ends with SIGTERM
	flags      flags
	fence      fence
	cloud      *provider.Cloud
	leadership *leadership
	leading    atomic.Bool
	reporting  sync.WaitGroup
}

// handOver ends the leadership in an order that the next leader can rely on: first nothing is decided any more, then
// nothing is written any more, then the Lease is free. While a write is still under way it is not released, but runs out.
func (p *process) handOver() {
	if p.leadership == nil {
		return
	}
	waitFor(func() {
		p.cloud.Wait()
		p.reporting.Wait()
	})
	p.fence.close()
	if waitFor(p.fence.wait) {
		p.leadership.release()
	}
}

func exit(err error, message string, keysAndValues ...any) {
	klog.Background().Error(err, message, keysAndValues...)
	klog.FlushAndExit(klog.ExitFlushTimeout, 1)
}
