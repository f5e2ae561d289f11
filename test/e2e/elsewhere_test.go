// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// A pool that somebody makes beside its Services, and not in the product's namespace, says itself why nothing comes of it.
func TestPoolInAnotherNamespaceSaysThatItIsNotRead(t *testing.T) {
	b := begin(t, time.Minute)
	b.apply(strings.Replace(pool("elsewhere", "192.168.1.240"), "namespace: metallb-system", "namespace: "+namespace, 1))
	if _, err := b.Kubectl(b.ctx, "wait", "--for=condition=Ready=false", "ipaddresspool/e2e-elsewhere", "-n", namespace, "--timeout=30s"); err != nil {
		t.Fatal(err)
	}
	said, err := b.Kubectl(b.ctx, "get", "ipaddresspool/e2e-elsewhere", "-n", namespace, "-o", "jsonpath={.status.conditions[0].message}")
	b.must(err)
	if !strings.Contains(said, "metallb-system") {
		t.Errorf("its condition does not say where pools are read: %q", said)
	}
}
