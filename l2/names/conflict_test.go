// SPDX-License-Identifier: Apache-2.0

package names

import (
	"strings"
	"testing"
	"time"
)

func TestConflict(t *testing.T) {
	conflict := Conflict{MAC: "02:00:5e:10:00:01", Interface: "eth0", Node: "node-1", Time: time.Date(2026, 11, 23, 13, 4, 5, 0, time.UTC)}
	const want = `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`
	if got := conflict.Format(); got != want {
		t.Errorf("Format() = %s, want %s", got, want)
	}
	if back, err := ParseConflict(want); err != nil || back != conflict {
		t.Errorf("ParseConflict(%s) = %+v, %v", want, back, err)
	}
	if back, err := ParseConflict(strings.Replace(want, "{", `{"since":"1.5",`, 1)); err != nil || back != conflict {
		t.Errorf("a field of another version: %+v, %v", back, err)
	}
}

// What somebody wrote by hand is refused with the field's name.
func TestConflictRefuses(t *testing.T) {
	const good = `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`
	for name, test := range map[string]struct{ old, new, want string }{
		"no JSON":                      {good, "yes", "JSON"},
		"a list":                       {good, "[]", "JSON"},
		"empty":                        {good, "", "JSON"},
		"too long":                     {"node-1", strings.Repeat("a", 2000), "bytes"},
		"no MAC":                       {"02:00:5e:10:00:01", "", "mac"},
		"an Infiniband address":        {"02:00:5e:10:00:01", strings.Repeat("00:", 19) + "00", "mac"},
		"an interface with a line end": {"eth0", `eth0\nnode`, "interface"},
		"a long interface":             {"eth0", "interface-sixteen", "interface"},
		"no interface":                 {"eth0", "", "interface"},
		"a node with markup":           {"node-1", "<b>", "node"},
		"a long node":                  {"node-1", strings.Repeat("a", 254), "node"},
		"no time":                      {"2026-11-23T13:04:05Z", "yesterday", "time"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, test.old, test.new, 1)
			if got, err := ParseConflict(text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("ParseConflict(%.80s) = %+v, %v; want an error that names %s", text, got, err, test.want)
			}
		})
	}
}

// FuzzParseConflict: whatever is read can be written and read again, and is short.
func FuzzParseConflict(f *testing.F) {
	f.Add(`{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05+01:00"}`)
	f.Fuzz(func(t *testing.T, text string) {
		conflict, err := ParseConflict(text)
		if err != nil {
			return
		}
		if again, err := ParseConflict(conflict.Format()); err != nil || !again.Time.Equal(conflict.Time.Truncate(time.Second)) || again.MAC != conflict.MAC {
			t.Fatalf("%q: %+v became %+v, %v", text, conflict, again, err)
		}
	})
}
