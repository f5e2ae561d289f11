// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// noFlapBackoff keeps a node that was just cut a candidate. Without it no node could be cut every few seconds.
const noFlapBackoff = "--flap-backoff=0"

// fastRebalance gives a node that returns its share of a thousand VIPs back in a minute, before it or another is cut.
const fastRebalance = "--rebalance-interval=50ms"

// rig is a cluster with the product on it, and what measures. One goroutine uses it.
type rig struct {
	*lab.Cluster
	say   func(format string, args ...any)
	nodes []string
	vip   netip.Addr
	stops []func() error // what was started, the latest last

	connections *lab.Stream[load.Attempt]
	watch       *lab.Stream[arpwatch.Answer]
}

// newRig brings the cluster up with the product, its speakers started with the given flags beside their own.
func newRig(ctx context.Context, c *lab.Cluster, progress io.Writer, speakerFlags []string) (*rig, error) {
	if err := knowsFlags(ctx, c, speakerFlags); err != nil {
		return nil, err
	}
	if err := c.Up(ctx, progress); err != nil {
		return nil, err
	}
	if err := c.LoadProduct(ctx); err != nil {
		return nil, err
	}
	// A drain would evict it, and wait for it.
	if _, err := c.Kubectl(ctx, "scale", "deployment/coredns", "-n", "kube-system", "--replicas=0"); err != nil {
		return nil, err
	}
	if err := c.ApplyProduct(ctx); err != nil {
		return nil, err
	}
	r := &rig{Cluster: c, say: func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }}
	if err := r.setSpeakerFlags(ctx, speakerFlags); err != nil {
		return nil, err
	}
	var err error
	if r.nodes, err = c.Nodes(ctx); err != nil {
		return nil, err
	}
	return r, c.AwaitCalm(ctx)
}

// knowsFlags asks the program rather than a DaemonSet whose pods do not start.
func knowsFlags(ctx context.Context, c *lab.Cluster, flags []string) error {
	program := filepath.Join(c.Root, "bin", "l2-speaker")
	help, err := exec.CommandContext(ctx, program, "--help").CombinedOutput()
	if err != nil {
		return fmt.Errorf("asking the speaker for its flags (make build?): %w", err)
	}
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		if !strings.Contains(string(help), name) {
			return fmt.Errorf("%s has no flag %s, without which this cannot be measured", program, name)
		}
	}
	return nil
}

func (r *rig) setSpeakerFlags(ctx context.Context, flags []string) error {
	sets := r.API.AppsV1().DaemonSets(lab.Namespace)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		speaker, err := sets.Get(ctx, "speaker", metav1.GetOptions{})
		if err != nil {
			return err
		}
		container := &speaker.Spec.Template.Spec.Containers[0]
		container.Args = withFlags(container.Args, flags)
		_, err = sets.Update(ctx, speaker, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("giving the speakers the flags %v: %w", flags, err)
	}
	return r.AwaitRollout(ctx)
}

// withFlags replaces the flags of the same names, as an earlier run on this cluster may have left them.
func withFlags(args, flags []string) []string {
	name := func(flag string) string { before, _, _ := strings.Cut(flag, "="); return before }
	for _, flag := range flags {
		args = slices.DeleteFunc(args, func(arg string) bool { return name(arg) == name(flag) })
	}
	return append(args, flags...)
}

// measure makes the VIP, its backend, the client and the ARP watch. They last until close.
func (r *rig) measure(ctx context.Context) error {
	stop, err := r.ServeOnGateway(ctx)
	if err != nil {
		return err
	}
	r.stops = append(r.stops, stop)
	if err := r.Apply(ctx, namespaceYAML+poolYAML("one", "192.168.1.240/32")); err != nil {
		return err
	}
	if err := r.createServices(ctx, "one", "one"); err != nil {
		return err
	}
	if r.vip, err = r.AwaitAddress(ctx, namespace, "one"); err != nil {
		return err
	}
	if _, err := r.AwaitHolder(ctx, r.vip, lab.Anybody); err != nil {
		return err
	}
	if r.watch, err = r.StartWatch(ctx, lab.Client, asked, r.vip); err != nil {
		return err
	}
	r.stops = append(r.stops, r.watch.Stop)
	if r.connections, err = r.StartConnections(ctx, "http://"+r.vip.String()+"/"); err != nil {
		return err
	}
	r.stops = append(r.stops, r.connections.Stop)
	return nil
}

// close stops what measures.
func (r *rig) close() error {
	var errs []error
	for _, stop := range slices.Backward(r.stops) {
		errs = append(errs, stop())
	}
	r.stops = nil
	return errors.Join(errs...)
}

// readyLimit is how long a cluster may take to be as before a fault.
const readyLimit = 90 * time.Second

// ready returns when all is as it was before a fault, so that the next finds every node able to take the VIP.
func (r *rig) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("not as before within %v", readyLimit))
	defer cancel()
	if err := r.AwaitCalm(ctx); err != nil {
		return err
	}
	if err := r.heard(ctx); err != nil {
		return err
	}
	if err := r.steady(ctx, time.Now().Add(-time.Second), lab.Rate); err != nil {
		return err
	}
	lease, err := r.lease(ctx, func(*coordinationv1.Lease) error { return nil })
	if err != nil {
		return err
	}
	return r.answered(ctx, time.Now().Add(-2*pause), *lease.Spec.HolderIdentity)
}

// heard returns when every speaker hears all of them.
func (r *rig) heard(ctx context.Context) error {
	args := []string{filepath.Join(r.Root, "bin", "probe"), "heard", "--members", fmt.Sprint(len(r.nodes))}
	for _, node := range r.nodes {
		url, err := r.metricsURL(ctx, node)
		if err != nil {
			return err
		}
		args = append(args, url)
	}
	_, err := r.Exec(ctx, lab.Client, args...)
	return err
}

func (r *rig) metricsURL(ctx context.Context, node string) (string, error) {
	n, err := r.API.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return "http://" + netip.AddrPortFrom(netip.MustParseAddr(a.Address), 7472).String() + "/metrics", nil
		}
	}
	return "", fmt.Errorf("%s has no InternalIP", node)
}

// lease returns the VIP's record when it has a holder and judge is content with it.
func (r *rig) lease(ctx context.Context, judge func(*coordinationv1.Lease) error) (*coordinationv1.Lease, error) {
	return r.AwaitVIPLease(ctx, r.vip, "to have another holder", func(l *coordinationv1.Lease) error {
		if id := l.Spec.HolderIdentity; id == nil || *id == "" {
			return errors.New("it names nobody")
		}
		return judge(l)
	})
}

// steady returns when so many of the newest connections since a time have succeeded, one after the other.
func (r *rig) steady(ctx context.Context, from time.Time, count int) error {
	return r.connections.Await(ctx, from, func(attempts []load.Attempt) error {
		streak := 0
		for _, a := range slices.Backward(attempts) {
			if !a.Succeeded() || a.Sent.Before(from) {
				break
			}
			streak++
		}
		if streak < count {
			return fmt.Errorf("%d connections have succeeded in a row, not yet %d", streak, count)
		}
		return nil
	})
}

// answered returns when a host has replied for the VIP since a time, and was the last that did.
func (r *rig) answered(ctx context.Context, from time.Time, host string) error {
	return r.watch.Await(ctx, from, func(answers []arpwatch.Answer) error {
		for _, a := range slices.Backward(answers) {
			if a.Kind != arpwatch.Reply {
				continue
			}
			if a.Host == host {
				return nil
			}
			return fmt.Errorf("%s answers for %s, not yet %s", a.Host, r.vip, host)
		}
		return fmt.Errorf("nobody answers for %s, not yet %s", r.vip, host)
	})
}
