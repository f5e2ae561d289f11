// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/build"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/kube"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/preflight"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/report"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// Options of a cluster to bring up.
type Options struct {
	Nodes   int
	APIPort int // on 127.0.0.1, or 0 for any that is free
}

// Build puts what clusters run into the cache. It needs Go, and no root.
func Build(ctx context.Context, progress *report.Report) (build.Builds, error) {
	return build.All(ctx, progress)
}

// prepare makes the computer fit for clusters: packages and builds.
func prepare(ctx context.Context, progress *report.Report) (build.Builds, error) {
	if missing := preflight.MissingPackages(); len(missing) > 0 {
		err := progress.Step("installed "+strings.Join(missing, " "), func() error { return preflight.Install(ctx, missing) })
		if err != nil {
			return build.Builds{}, err
		}
	}
	if err := preflight.RaiseLimits(progress.Note); err != nil {
		return build.Builds{}, err
	}
	return build.All(ctx, progress)
}

// Up brings the cluster up. One that is up stays as it is, but for what has ended in it, which is started again; what
// a run that was killed has left is removed first.
func (c Cluster) Up(ctx context.Context, options Options, progress *report.Report) error {
	if err := preflight.RequireRoot(); err != nil {
		return err
	}
	if options.Nodes < 1 || options.Nodes > topology.MaxNodes {
		return fmt.Errorf("%d nodes: between 1 and %d are possible", options.Nodes, topology.MaxNodes)
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	builds, err := prepare(ctx, progress)
	if err != nil {
		return err
	}
	s, err := c.load()
	if err == nil && c.whole(s) {
		if s.Nodes != options.Nodes {
			return fmt.Errorf("cluster %q is up with %d nodes, not %d: take it down first, or give this one another --name", c.Name, s.Nodes, options.Nodes)
		}
		return c.revive(ctx, s, progress)
	}
	if present, err := c.anythingLeft(); err != nil {
		return err
	} else if present {
		if err := progress.Step("removed what an earlier run left", c.remove); err != nil {
			return err
		}
	}
	return c.create(ctx, options, builds, progress)
}

// whole says whether the machines of a cluster are there, whatever runs on them.
func (c Cluster) whole(s state) bool {
	for _, host := range s.hosts() {
		m, err := machine.Dial(c.layout.Host(host.Name))
		if err != nil {
			return false
		}
		m.Close()
	}
	return true
}

// revive starts again what has ended in a cluster that is up.
func (c Cluster) revive(ctx context.Context, s state, progress *report.Report) error {
	server, err := c.api(s)
	if err != nil {
		return err
	}
	if c.forwarderPID() == 0 {
		err := progress.Step("started the forwarder to the API server again", func() error {
			_, err := c.startForwarder(s.APIPort)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, host := range s.hosts() {
		if err := c.reviveHost(ctx, host, server, progress); err != nil {
			return err
		}
	}
	progress.Note("cluster %q is up", c.Name)
	return nil
}

func (c Cluster) reviveHost(ctx context.Context, host topology.Host, server *api, progress *report.Report) error {
	m, err := machine.Dial(c.layout.Host(host.Name))
	if err != nil {
		return err
	}
	defer m.Close()
	running, err := m.List()
	if err != nil {
		return err
	}
	runs := map[string]bool{}
	for _, process := range running {
		runs[process.Name] = process.Running
	}
	for _, process := range c.layout.Processes(host) {
		if runs[process.Name] {
			continue
		}
		err := progress.Step("started "+process.Name+" on "+host.Name+" again", func() error {
			if err := m.Start(process); err != nil {
				return err
			}
			if process.Name != kube.APIServerName {
				return nil
			}
			return c.waitForAPI(ctx, server) // what comes next on this host needs it
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// creation is a cluster on its way up.
type creation struct {
	Cluster
	state    state
	builds   build.Builds
	computer preflight.Computer
	progress *report.Report
	api      *api
	apiReady chan struct{} // closed when the API server answers and knows the nodes
	keysMade chan struct{} // closed when every key and kubeconfig is written
}

func (c Cluster) create(ctx context.Context, options Options, builds build.Builds, progress *report.Report) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	up := &creation{
		Cluster: c, builds: builds, progress: progress,
		state:    state{Nodes: options.Nodes, APIPort: options.APIPort, Programs: builds.Programs, BootID: boot},
		apiReady: make(chan struct{}), keysMade: make(chan struct{}),
	}
	if err := up.prepareFolder(); err != nil {
		return err
	}
	if err := progress.Step("made the LAN", func() error { return wire.Up(c.Name, options.Nodes) }); err != nil {
		return err
	}
	if up.state.APIPort, err = c.startForwarder(options.APIPort); err != nil {
		return err
	}
	if err := c.save(up.state); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(up.makeKeys)
	group.Go(func() error { return up.controlPlane(ctx) })
	for _, node := range topology.Nodes(options.Nodes) {
		group.Go(func() error { return up.node(ctx, node) })
	}
	group.Go(func() error { return up.dns(ctx) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("bringing cluster %q up: %w\n(what there is of it stays for you to look at; `cluster down --name %s` removes it, and so does the next `up`)", c.Name, err, c.Name)
	}
	up.state.Complete = true
	return c.save(up.state)
}

func (up *creation) prepareFolder() error {
	for _, folder := range []string{up.layout.PKI(), up.ProgramFolder()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("making the cluster's folder: %w", err)
		}
	}
	if err := os.Symlink(filepath.Join(up.builds.Programs, "kubectl"), up.Kubectl()); err != nil {
		return fmt.Errorf("naming kubectl: %w", err)
	}
	computer, err := preflight.Look(up.layout.Folder)
	if err != nil {
		return err
	}
	up.computer = computer
	up.state.Snapshotter = kube.Snapshotter(computer)
	up.progress.Note("this computer: %s", computer)
	return up.save(up.state)
}

func (up *creation) controlPlane(ctx context.Context) error {
	host := topology.ControlPlaneHost()
	m, err := machine.Boot(up.layout.Machine(host, up.state.Programs))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := up.layout.ConfigureAPIServer(); err != nil {
		return err
	}
	if err := wait(ctx, up.keysMade); err != nil {
		return err
	}
	err = up.progress.Step("etcd and kube-apiserver serve", func() error {
		for _, process := range []machine.Process{up.layout.Etcd(), up.layout.APIServer()} {
			if err := m.Start(process); err != nil {
				return err
			}
		}
		return up.until(ctx, host, time.Minute, "the API server is ready", func() error { return up.api.ready(ctx) })
	})
	if err != nil {
		return err
	}
	for _, process := range []machine.Process{up.layout.ControllerManager(), up.layout.Scheduler()} {
		if err := m.Start(process); err != nil {
			return err
		}
	}
	if err := up.addNodes(ctx); err != nil {
		return err
	}
	close(up.apiReady)
	return nil
}

// until tries a condition until it holds, and gives up when a process of the host has ended or time is up.
func (up *creation) until(ctx context.Context, host topology.Host, patience time.Duration, what string, condition func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := condition()
		if err == nil {
			return nil
		}
		if death := up.death(host); death != nil {
			return death
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s until %s: %w", patience, what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// death tells which process of a host has ended, with its last words.
func (c Cluster) death(host topology.Host) error {
	folder := c.layout.Host(host.Name)
	m, err := machine.Dial(folder)
	if err != nil {
		return err
	}
	defer m.Close()
	processes, err := m.List()
	if err != nil {
		return err
	}
	for _, process := range processes {
		if !process.Running {
			return fmt.Errorf("%s on %s has died (%s); it said:\n%s", process.Name, host.Name, process.End, machine.Tail(machine.LogFile(folder, process.Name), 10))
		}
	}
	return nil
}

func (c Cluster) waitForAPI(ctx context.Context, server *api) error {
	host := topology.ControlPlaneHost()
	return (&creation{Cluster: c}).until(ctx, host, time.Minute, "the API server is ready", func() error { return server.ready(ctx) })
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("given up, since another step failed")
	}
}
