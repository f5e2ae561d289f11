// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
)

func TestKubectlKeepsItsFlags(t *testing.T) {
	for name, test := range map[string]struct{ arguments, own, rest []string }{
		"none":        {[]string{"get", "pods", "-n", "x"}, nil, []string{"get", "pods", "-n", "x"}},
		"own first":   {[]string{"--name", "dev", "-n", "x", "get"}, []string{"--name", "dev"}, []string{"-n", "x", "get"}},
		"own with =":  {[]string{"--name=dev", "get"}, []string{"--name=dev"}, []string{"get"}},
		"kubectl's":   {[]string{"-n", "x", "get"}, nil, []string{"-n", "x", "get"}},
		"not leading": {[]string{"run", "--name", "x"}, nil, []string{"run", "--name", "x"}},
	} {
		own, rest := splitName(test.arguments)
		if !slices.Equal(own, test.own) || !slices.Equal(rest, test.rest) {
			t.Errorf("%s: %q, %q", name, own, rest)
		}
	}
}
