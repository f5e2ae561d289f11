// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// The ServiceL2Status of a Service names the node that answers for it, also after somebody has changed it by hand. It follows the VIP to
// another node, and none is left of the node that had it, nor of one that is gone.
func TestServiceStatusFollowsTheHolderAndIsPutRight(t *testing.T) {
	b := begin(t, 2*time.Minute)
	a := b.announce("told")
	kubectl := func(args ...string) string {
		t.Helper()
		text, err := b.Kubectl(b.ctx, append([]string{"-n", lab.Namespace}, args...)...)
		b.must(err)
		return text
	}
	of := func(node string) string { return "servicel2status/" + namespace + "." + a.name + "." + node }
	kubectl("wait", of(a.holder), "--for=create", "--timeout=30s")
	kubectl("wait", of(a.holder), "--for=jsonpath={.status.node}="+a.holder, "--timeout=30s")
	kubectl("label", of(a.holder), "metallb.io/node-")
	kubectl("wait", of(a.holder), `--for=jsonpath={.metadata.labels.metallb\.io/node}=`+a.holder, "--timeout=30s")

	b.cordon(a.holder)
	next := b.holder(a.vip, lab.AnybodyBut(a.holder))
	kubectl("wait", of(next), "--for=create", "--timeout=30s")
	kubectl("wait", of(next), "--for=jsonpath={.status.node}="+next, "--timeout=30s")
	kubectl("wait", of(a.holder), "--for=delete", "--timeout=30s")
	there := strings.Fields(kubectl("get", "servicel2statuses", "-l", "metallb.io/service-name="+a.name+",metallb.io/service-namespace="+namespace, "-o", "jsonpath={.items[*].status.node}"))
	if diff := cmp.Diff([]string{next}, there); diff != "" {
		t.Errorf("nodes of its ServiceL2Statuses (-want +got)\n%s", diff)
	}

	// A node that is gone cannot remove its own.
	b.later(func(ctx context.Context) error { return b.Heal(ctx, next) })
	b.must(b.Cut(b.ctx, next))
	kubectl("wait", of(next), "--for=delete", "--timeout=30s")
}
