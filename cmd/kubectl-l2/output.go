// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"

	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
)

// print writes a value as JSON or YAML; done is false when it is for people to read.
func (o *options) print(value any) (done bool, err error) {
	var text []byte
	switch o.output {
	case "json":
		text, err = json.MarshalIndent(value, "", "    ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(value)
	default:
		return false, nil
	}
	if err == nil {
		_, err = o.out.Write(text)
	}
	return true, err
}

// column of a table. A wide one is shown with -o wide only.
type column struct {
	name string
	wide bool
}

// table prints rows as kubectl does.
func (o *options) table(columns []column, rows [][]any, headers bool) error {
	table := &metav1.Table{}
	for _, column := range columns {
		definition := metav1.TableColumnDefinition{Name: column.name, Type: "string"}
		if column.wide {
			definition.Priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, definition)
	}
	for _, row := range rows {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: row})
	}
	return printers.NewTablePrinter(printers.PrintOptions{Wide: o.output == "wide", NoHeaders: !headers}).PrintObj(table, o.out)
}

// unread tells on standard error what could not be read.
func (o *options) unread(list []snapshot.Unread) {
	for _, each := range list {
		fmt.Fprintf(o.errors, "could not read %s: %s\n", each.What, each.Why)
	}
}

// whyUnread says why one of several kinds of things could not be read, if that is so.
func whyUnread(list []snapshot.Unread, whats ...string) (why string, unread bool) {
	i := slices.IndexFunc(list, func(each snapshot.Unread) bool { return slices.Contains(whats, each.What) })
	if i < 0 {
		return "", false
	}
	return list[i].Why, true
}

// paint colours a text on a terminal, and nowhere else.
type paint bool

func paintFor(out io.Writer) paint {
	file, ok := out.(*os.File)
	return paint(ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// Colours of ECMA-48.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

func (p paint) in(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
