// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// units are what a value of each type of flag is.
var units = map[string]string{
	"bool": "true or false", "duration": "duration, as 1s", "float32": "number", "int": "number", "int32": "number", "uint16": "number",
	"quantity": "bytes, as 64Ki", "string": "text", "strings": "list", "stringSlice": "list", "stringArray": "list, given once for each",
	"Level": "number", "moduleSpec": "pattern=N,…", "mapStringBool": "key=true,…", "version": "true, false or raw",
}

// Examples are values of the flags of one command, by their names.
type Examples map[string]string

// Flags is a table of flags in order of name, those left out for which skip says so. The test fails when there is no example of a flag, or when
// the flag does not take it: then it is set to it.
func Flags(t *testing.T, flags *pflag.FlagSet, examples Examples, skip func(name string) bool) string {
	t.Helper()
	var table strings.Builder
	table.WriteString("| Flag | Value | Default | Example | Meaning |\n|---|---|---|---|---|\n")
	shown := 0
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || skip(flag.Name) {
			return
		}
		kind := flag.Value.Type()
		unit, known := units[kind]
		if !known {
			unit = kind
		}
		name := "--" + flag.Name
		if flag.Shorthand != "" {
			name = "-" + flag.Shorthand + ", " + name
		}
		value, there := examples[flag.Name]
		if !there {
			t.Errorf("--%s has no example: give one where its table is made", flag.Name)
			return
		}
		shown++
		example := "--" + flag.Name + "=" + value
		if err := flags.Set(flag.Name, value); err != nil {
			t.Errorf("the example %s is not taken: %v", example, err)
		}
		if value == flag.NoOptDefVal {
			example = "--" + flag.Name
		}
		initially := strings.TrimSuffix(strings.TrimPrefix(flag.DefValue, "[]"), "\n")
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", code(name), unit, code(initially), code(example), cell(flag.Usage))
	})
	if shown < len(examples) {
		t.Errorf("there are examples of flags that there are not: %v", slices.Sorted(maps.Keys(examples)))
	}
	return table.String()
}
