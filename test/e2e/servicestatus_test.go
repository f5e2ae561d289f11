// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// The ServiceL2Status of a Service names the node that answers for it, also after somebody has changed it by hand.
func TestServiceStatusNamesTheHolderAndIsPutRight(t *testing.T) {
	b := begin(t, 2*time.Minute)
	a := b.announce("told")
	status := "servicel2status/" + a.Namespace + "." + a.Name + "." + a.holder
	for _, args := range [][]string{
		{"wait", status, "--for=create", "--timeout=30s"},
		{"wait", status, "--for=jsonpath={.status.node}=" + a.holder, "--timeout=30s"},
		{"label", status, "metallb.io/node-"},
		{"wait", status, `--for=jsonpath={.metadata.labels.metallb\.io/node}=` + a.holder, "--timeout=30s"},
	} {
		_, err := b.Kubectl(b.ctx, append([]string{"-n", lab.Namespace}, args...)...)
		b.must(err)
	}
}
