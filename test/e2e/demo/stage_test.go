// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestStepsAreNumberedAndErrorsSayWhich(t *testing.T) {
	var out strings.Builder
	s := &stage{out: &out, started: time.Now()}
	if err := s.step("Do this", func() error { s.say("two\nlines"); return nil }); err != nil {
		t.Fatal(err)
	}
	err := s.step("Do that", func() error { return errors.New("it is broken") })
	if got, want := fmt.Sprint(err), "step 2, do that: it is broken"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	for _, want := range []string{"[ 1] Do this\n     two\n     lines\n     done in ", "[ 2] Do that\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("colour where there is no terminal: %q", out.String())
	}
}

func TestExcerptEndsAtTheFirstBlankLine(t *testing.T) {
	var out strings.Builder
	e := &excerpt{stage: &stage{out: &out}}
	for _, chunk := range []string{"one", "\ntwo\n", "\nthe ", "rest\n"} {
		if n, err := e.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatalf("wrote %d of %q: %v", n, chunk, err)
		}
	}
	if got, want := out.String(), "     one\n     two\n"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	if got, want := e.rest, "\nthe rest\n"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 71500 * time.Microsecond: "71 ms", 1260 * time.Millisecond: "1.3 s"} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %q, want %q", d, got, want)
		}
	}
}
