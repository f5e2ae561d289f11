// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestDescribeTellsHowAProcessEnded(t *testing.T) {
	for status, want := range map[syscall.WaitStatus]string{
		0x0100: "exit status 1",
		0x0009: "signal: killed",
	} {
		if got := describe(status); got != want {
			t.Errorf("%#x: %q, want %q", status, got, want)
		}
	}
}

func TestTailShowsTheEndOfALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if got := Tail(path, 2); !strings.Contains(got, "empty") {
		t.Errorf("a missing log: %q", got)
	}
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); strings.Contains(got, "one") || !strings.Contains(got, "    two\n    three\n") {
		t.Errorf("the last two lines: %q", got)
	}
}

func TestOwnAncestorsAreSpared(t *testing.T) {
	if spared := ancestors(); !spared[os.Getpid()] || !spared[os.Getppid()] {
		t.Errorf("spared: %v", spared)
	}
}
