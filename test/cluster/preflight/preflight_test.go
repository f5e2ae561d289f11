// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestEffectiveCapability(t *testing.T) {
	for mask, want := range map[string]bool{
		"000001ffffffffff": true,
		"000001fffeffffff": false, // all but CAP_SYS_RESOURCE
		"0000000000000000": false,
	} {
		got, err := effective([]byte("Name:\tx\nCapEff:\t"+mask+"\nCapBnd:\t000001ffffffffff\n"), unix.CAP_SYS_RESOURCE)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", mask, got, err)
		}
	}
	if _, err := effective([]byte("Name:\tx\n"), unix.CAP_SYS_RESOURCE); err == nil {
		t.Error("no error where nothing is told")
	}
}

func TestCgroupOfANode(t *testing.T) {
	if got := Cgroup("l2", "node-1"); got != "/cloud-provider-l2/l2/node-1" {
		t.Error(got)
	}
}

func TestComputerDescribesItself(t *testing.T) {
	if got := (Computer{}).String(); got != "cgroup v1, without CAP_SYS_RESOURCE, containers on copies" {
		t.Error(got)
	}
}
