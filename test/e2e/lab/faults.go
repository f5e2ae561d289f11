// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// IsolateFromAPI drops the frames between a node and the API server's host; the node goes on hearing everybody else.
func (c *Cluster) IsolateFromAPI(ctx context.Context, node string) error {
	return c.drive(ctx, nil, "isolate", node, "--from", "api")
}

// Split parts the LAN in two, these hosts and the rest. Every carrier stays. HealAll mends it.
func (c *Cluster) Split(ctx context.Context, hosts ...string) error {
	return c.drive(ctx, nil, append([]string{"split"}, hosts...)...)
}

// HealAll mends what was done to several hosts, in one go.
func (c *Cluster) HealAll(ctx context.Context, hosts ...string) error {
	return c.drive(ctx, nil, append([]string{"heal"}, hosts...)...)
}

// KillSpeaker kills the speaker's process on a node, which is told nothing.
func (c *Cluster) KillSpeaker(ctx context.Context, node string) error {
	status, err := c.Exec(ctx, node, "readlink", "/proc/self/ns/net")
	if err != nil {
		return err
	}
	namespace := strings.TrimSpace(status)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Processes come and go: one that cannot be read is not the one.
		name, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		if err != nil || strings.TrimSpace(string(name)) != speakerProcess {
			continue
		}
		if where, err := os.Readlink(filepath.Join("/proc", entry.Name(), "ns/net")); err == nil && where == namespace {
			return syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("no process %s runs on %s", speakerProcess, node)
}

const speakerProcess = "l2-speaker"

// AwaitVIPLease waits until judge is content with the record of a VIP, and returns it.
func (c *Cluster) AwaitVIPLease(ctx context.Context, vip netip.Addr, what string, judge func(*coordinationv1.Lease) error) (*coordinationv1.Lease, error) {
	v := view[*coordinationv1.Lease]{c.API.CoordinationV1().RESTClient(), "leases", Namespace, named(names.VIPLease(vip)), &coordinationv1.Lease{}}
	var found *coordinationv1.Lease
	err := await(ctx, v, fmt.Sprintf("the record of %s %s", vip, what), func(all []*coordinationv1.Lease) error {
		if len(all) == 0 {
			return fmt.Errorf("there is no Lease %s", names.VIPLease(vip))
		}
		found = all[0]
		return judge(found)
	})
	return found, err
}
