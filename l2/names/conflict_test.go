// SPDX-License-Identifier: Apache-2.0

package names

import (
	"net"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
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

// FuzzParseConflict: what is read without an error is well-formed, short and printable, and the same when it is written and read again; an error is no
// longer than people read.
func FuzzParseConflict(f *testing.F) {
	for _, text := range []string{
		`{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05+01:00"}`,
		`{"mac":"02-00-5E-10-00-01","interface":"eth0.100","node":"node-1.example.com","time":"1970-01-01T00:00:00Z"}`,
		`{"mac":"0200.5e10.0001","interface":"a","node":"n","time":"9999-12-31T23:59:59.999999999-00:01"}`,
		`{"mac":"02:00:5e:10:00:01","mac":"x","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`,
		`{"mac":null,"interface":7,"node":[],"time":{}}`, "{}", "[]", "null", "", "{", strings.Repeat("[", 1000), strings.Repeat(" ", 2000),
		`{"mac":"` + strings.Repeat("\x01", 900) + `"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		conflict, err := ParseConflict(text)
		if err != nil {
			if conflict != (Conflict{}) {
				t.Fatalf("%q: %+v beside the error %v", text, conflict, err)
			}
			if message := err.Error(); len(message) > 8*maxConflict || !strings.Contains(message, AnnotationConflict) {
				t.Fatalf("%q: %q", text, message)
			}
			return
		}
		if mac, err := net.ParseMAC(conflict.MAC); err != nil || len(mac) != 6 || mac.String() != conflict.MAC {
			t.Fatalf("%q: mac %q", text, conflict.MAC)
		}
		if !validInterface(conflict.Interface) || len(validation.IsDNS1123Subdomain(conflict.Node)) > 0 || conflict.Time.Location() != time.UTC {
			t.Fatalf("%q: %+v", text, conflict)
		}
		again, err := ParseConflict(conflict.Format())
		conflict.Time = conflict.Time.Truncate(time.Second)
		if err != nil || again != conflict {
			t.Fatalf("%q: %+v became %+v, %v", text, conflict, again, err)
		}
	})
}
