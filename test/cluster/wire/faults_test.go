// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"
	"testing"
)

func TestParseElementsOfASet(t *testing.T) {
	for name, test := range map[string]struct {
		output string
		want   []string
	}{
		"empty":  {`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "bridge", "name": "a", "type": "ifname"}}]}`, nil},
		"filled": {`{"nftables": [{"metainfo": {}}, {"set": {"name": "a", "elem": ["node-1", "node-2"]}}]}`, []string{"node-1", "node-2"}},
	} {
		got, err := parseElements([]byte(test.output))
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
