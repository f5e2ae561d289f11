// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Times of the controller's own Lease: a leader that dies is replaced within 5 s, one that is stopped at once.
//
// A leader gives up when it has had no renewal accepted for renewPeriod, a look and renewDeadline, which is less than
// leaseDuration. The elector looks every lookPeriod, which mostly costs nothing (see watchedLock).
const (
	leaseDuration = 4 * time.Second
	renewDeadline = 2800 * time.Millisecond
	renewPeriod   = time.Second
	lookPeriod    = 100 * time.Millisecond
)

// leadership is held from stand to release. Losing it in between ends the process.
type leadership struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stand stands for election and returns when it is won. When ctx ends before, the process exits; and when the Lease is lost
// afterwards, with nothing more written through the fence.
func stand(ctx context.Context, config *rest.Config, namespace string, fence *fence) (*leadership, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 2 * time.Second // a slow answer is as good as a fast one; a lost one leaves time for another try
	config.QPS = -1
	kube, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "leader-election"))
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	logger := klog.FromContext(ctx)
	electing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &leadership{cancel: cancel, done: make(chan struct{})}
	elected := make(chan struct{})
	lost := func(message string) {
		fence.close()
		exit(nil, message, "lease", klog.KRef(namespace, names.ControllerLease))
	}
	lock := newWatchedLock(electing, kube, namespace, identity)
	fence.leads = lock.valid
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name:            names.ControllerLease,
		Lock:            lock,
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     lookPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(elected) },
			OnStoppedLeading: func() {},
			OnNewLeader: func(leader string) {
				logger.Info("leader", "leader", leader, "self", leader == identity)
				select {
				case <-elected:
					if leader != identity && leader != "" && electing.Err() == nil {
						lost("Another controller has taken the Lease")
					}
				default:
				}
			},
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		elector.Run(electing)
		if electing.Err() == nil {
			lost("The Lease was lost: another controller may lead now")
		}
		close(l.done)
	}()
	select {
	case <-elected:
		return l, nil
	case <-ctx.Done():
		l.release()
		logger.Info("Stopped while standing by")
		klog.FlushAndExit(klog.ExitFlushTimeout, 0)
		return nil, ctx.Err()
	}
}

// release gives the Lease back, so that the next leader need not wait for it to end.
func (l *leadership) release() {
	l.cancel()
	<-l.done
}

// newIdentity names this process: two on one host are two.
func newIdentity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming this process: %w", err)
	}
	return host + "_" + rand.Text()[:8], nil
}
