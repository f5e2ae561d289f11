// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// units are what a value of each type of flag is.
var units = map[string]string{
	"bool": "true or false", "duration": "duration, as 1s", "float32": "number", "int": "number", "int32": "number", "uint16": "number",
	"quantity": "bytes, as 64Ki", "string": "text", "strings": "list", "stringSlice": "list", "stringArray": "list, given once for each",
	"Level": "number", "moduleSpec": "pattern=N,…", "mapStringBool": "key=true,…", "version": "true, false or raw",
}

// Flags is a table of flags in order of name, those left out for which skip says so.
func Flags(flags *pflag.FlagSet, skip func(name string) bool) string {
	var table strings.Builder
	table.WriteString("| Flag | Value | Default | Meaning |\n|---|---|---|---|\n")
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
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", code(name), unit, code(strings.TrimSuffix(strings.TrimPrefix(flag.DefValue, "[]"), "\n")), cell(flag.Usage))
	})
	return table.String()
}
