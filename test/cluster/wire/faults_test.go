// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"
	"testing"
)

func TestParseSetsOfTheSwitch(t *testing.T) {
	for name, test := range map[string]struct {
		listed string
		want   []string
	}{
		"empty": {`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {}},
			{"set": {"family": "bridge", "name": "a", "type": "ifname"}}]}`, nil},
		"filled": {`{"nftables": [{"metainfo": {}}, {"set": {"name": "b", "elem": ["x"]}},
			{"set": {"name": "a", "elem": ["node-1", "node-2"]}}]}`, []string{"node-1", "node-2"}},
	} {
		got, err := parseSets([]byte(test.listed))
		if err != nil || !slices.Equal(got["a"], test.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
