// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// StartWatch asks for the targets from a host of the LAN, each of them every so often, and records who answers and who announces them,
// by the names of nodes.
func (c *Cluster) StartWatch(ctx context.Context, host string, every time.Duration, targets ...netip.Addr) (*Stream[arpwatch.Answer], error) {
	if _, err := c.hostOf(ctx, ""); err != nil { // learns the nodes' MACs while all can be reached
		return nil, err
	}
	var names []string
	for _, target := range targets {
		names = append(names, target.String())
	}
	parse := func(line string) (arpwatch.Answer, error) {
		a, err := arpwatch.ParseLine(line)
		if err == nil {
			a.Host, err = c.hostOf(ctx, a.Host)
		}
		return a, err
	}
	args := []string{"watch", "--interface", lanInterface, "--targets", strings.Join(names, ","), "--every", every.String(), "--stdin"}
	return startStream(ctx, c, "the ARP watch on "+host, host, args, parse, func(a arpwatch.Answer) time.Time { return a.At })
}

// StartConnections opens new connections to a page from the client host, Rate of them a second, until stopped, and records each as it ends.
func (c *Cluster) StartConnections(ctx context.Context, url string) (*Stream[load.Attempt], error) {
	args := []string{"load", "--url", url, "--rate", fmt.Sprint(Rate), "--timeout", "200ms", "--each", "--stdin"}
	return startStream(ctx, c, "the load of "+url, Client, args, load.ParseAttempt, func(a load.Attempt) time.Time { return a.Ended })
}

// StartBurning keeps one core busy, at the priority of everything else, until stopped.
func (c *Cluster) StartBurning(ctx context.Context) (stop func() error, err error) {
	parse := func(line string) (string, error) { return line, nil }
	s, err := startStream(ctx, c, "a busy loop", Client, []string{"burn"}, parse, func(string) time.Time { return time.Time{} })
	if err != nil {
		return nil, err
	}
	return s.Stop, nil
}
