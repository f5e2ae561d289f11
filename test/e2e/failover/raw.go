// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// sample is one fault and all that was seen around it. Whatever the report says is computed from samples, and each is kept in a file.
type sample struct {
	marks
	Attempts []load.Attempt    // in the order in which they ended
	Answers  []arpwatch.Answer // for the VIP, by the names of nodes
}

// marks say what was done, and when.
type marks struct {
	Fault   string `json:"fault"`
	Variant string `json:"variant"` // of --failover
	Commit  string `json:"commit"`
	Node    string `json:"node"` // which held the VIP, and to which it was done
	Next    string `json:"next"` // which held it then; empty: nobody took it in time
	// Injected is just before the fault, Done when the command that makes it has returned, Recovered when the VIP had moved and clients
	// were served without a break, Healed when mending began, Ready when all was as before.
	Injected  time.Time `json:"injected"`
	Done      time.Time `json:"done"`
	Recovered time.Time `json:"recovered,omitzero"`
	Healed    time.Time `json:"healed"`
	Ready     time.Time `json:"ready"`
}

var rawColumns = []string{"kind", "due_ms", "at_ms", "ended_ms", "host", "outcome"}

const (
	kindConnection = "connection"
	succeeded      = "ok"
	brokenPrefix   = "broken: " // an established connection
)

// write keeps a sample. Times are in milliseconds since the fault.
func (s *sample) write(w io.Writer) error {
	head, err := json.Marshal(s.marks)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "# %s\n", head); err != nil {
		return err
	}
	rows := csv.NewWriter(w)
	_ = rows.Write(rawColumns) // the writer keeps its error
	for _, a := range s.Attempts {
		outcome := succeeded
		if !a.Succeeded() {
			outcome = a.Error
			if a.Connected {
				outcome = brokenPrefix + a.Error
			}
		}
		_ = rows.Write([]string{kindConnection, s.since(a.Due), s.since(a.Sent), s.since(a.Ended), "", outcome})
	}
	for _, a := range s.Answers {
		_ = rows.Write([]string{string(a.Kind), "", s.since(a.At), "", a.Host, ""})
	}
	rows.Flush()
	return rows.Error()
}

func (s *sample) since(at time.Time) string {
	return strconv.FormatFloat(float64(at.Sub(s.Injected))/float64(time.Millisecond), 'f', 3, 64)
}

// readSample is the inverse of write.
func readSample(r io.Reader) (*sample, error) {
	text := bufio.NewReader(r)
	head, err := text.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("reading the first line: %w", err)
	}
	s := &sample{}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(head, "# ")), &s.marks); err != nil {
		return nil, fmt.Errorf("reading the first line: %w", err)
	}
	rows := csv.NewReader(text)
	rows.FieldsPerRecord = len(rawColumns)
	if _, err := rows.Read(); err != nil {
		return nil, fmt.Errorf("reading the heading: %w", err)
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err == nil {
			err = s.add(row)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *sample) add(row []string) error {
	var times [3]time.Time
	for i, text := range row[1:4] {
		if text == "" {
			continue
		}
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("reading the row %q: %w", row, err)
		}
		times[i] = s.Injected.Add(time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond))
	}
	if row[0] != kindConnection {
		s.Answers = append(s.Answers, arpwatch.Answer{At: times[1], Host: row[4], Kind: arpwatch.Kind(row[0])})
		return nil
	}
	a := load.Attempt{Due: times[0], Sent: times[1], Ended: times[2]}
	if row[5] != succeeded {
		a.Error, a.Connected = strings.CutPrefix(row[5], brokenPrefix)
	}
	s.Attempts = append(s.Attempts, a)
	return nil
}

// folderOf is where the samples of one fault are.
func folderOf(out, variant, fault string) string { return filepath.Join(out, variant, fault) }

// keep writes the sample to the first free number.
func (s *sample) keep(out string) error {
	return keep(folderOf(out, s.Variant, s.Fault), ".csv", s.write)
}

// kept reads all samples of one fault, in the order in which they were taken.
func kept(out, variant, fault string) ([]*sample, error) {
	return readFiles(folderOf(out, variant, fault), ".csv", readSample)
}

// keep writes a file of the first free number, whole or not at all: what a killed run leaves is not taken for a measurement.
func keep(folder, suffix string, write func(io.Writer) error) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	there, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
	if err != nil {
		return err
	}
	name := filepath.Join(folder, fmt.Sprintf("%04d%s", len(there)+1, suffix))
	file, err := os.Create(name + ".part")
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	err = errors.Join(write(buffered), buffered.Flush(), file.Close())
	if err != nil {
		return fmt.Errorf("keeping %s: %w", name, err)
	}
	return os.Rename(name+".part", name)
}

// readFiles reads the files of a folder in the order of their names.
func readFiles[T any](folder, suffix string, read func(io.Reader) (T, error)) ([]T, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []T
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		one, err := read(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w (remove it, and it is measured again)", name, err)
		}
		all = append(all, one)
	}
	return all, nil
}
