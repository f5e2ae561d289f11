// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"regexp"
	"strconv"
	"testing"
	"time"
)

// The API server serves renewals of sessions with the priority of elections.
func TestLeaseWritesHaveThePriorityOfElections(t *testing.T) {
	b := begin(t, time.Minute)
	nodes, err := b.Nodes(b.ctx)
	b.must(err)
	before := b.dispatched("cloud-provider-l2-leader-election", "leader-election")
	b.must(b.AwaitCalm(b.ctx)) // every speaker renews
	if got := b.dispatched("cloud-provider-l2-leader-election", "leader-election") - before; got < len(nodes) {
		t.Errorf("while %d speakers renewed, %d requests had the priority of elections", len(nodes), got)
	}
}

// dispatched is how many requests of a FlowSchema the API server has served at a level of priority.
func (b *bench) dispatched(schema, level string) (total int) {
	b.t.Helper()
	text, err := b.Kubectl(b.ctx, "get", "--raw", "/metrics")
	b.must(err)
	line := regexp.MustCompile(`(?m)^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="` + schema + `",priority_level="` + level + `"\} (\d+)$`)
	for _, match := range line.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(match[1])
		b.must(err)
		total += n
	}
	return total
}
