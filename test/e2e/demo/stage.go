// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// stage is where the demo prints. It uses colour on a terminal and plain ASCII everywhere else.
type stage struct {
	out     io.Writer
	colour  bool
	started time.Time
	steps   int
}

func newStage(out *os.File) *stage {
	colour := term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &stage{out: out, colour: colour, started: time.Now()}
}

func (s *stage) elapsed() time.Duration { return time.Since(s.started).Round(100 * time.Millisecond) }

func (s *stage) title(text string) { fmt.Fprintf(s.out, "\n%s\n\n", s.paint("1", text)) }

// step does one thing, and says what it is before and how long it took after.
func (s *stage) step(what string, do func() error) error {
	s.steps++
	fmt.Fprintf(s.out, "%s %s\n", s.paint("36", fmt.Sprintf("[%2d]", s.steps)), s.paint("1", what))
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("step %d, %s: %w", s.steps, strings.ToLower(what[:1])+what[1:], err)
	}
	fmt.Fprintf(s.out, "     %s\n\n", s.paint("32", "done in "+seconds(time.Since(start))))
	return nil
}

// say prints a remark within a step.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "     %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n     "))
}

// show prints a command and what it answered.
func (s *stage) show(command, answer string) {
	s.say("%s", s.paint("33", "$ "+command))
	s.say("%s", strings.TrimRight(answer, "\n"))
}

func (s *stage) fail(err error) { fmt.Fprintf(s.out, "\n%s %v\n", s.paint("1;31", "FAILED"), err) }

func (s *stage) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// excerpt shows what another command prints, line by line, up to its first blank line. The rest is kept.
type excerpt struct {
	*stage
	line, rest string
	silent     bool
}

func (e *excerpt) Write(text []byte) (int, error) {
	e.line += string(text)
	for {
		line, more, whole := strings.Cut(e.line, "\n")
		if !whole {
			return len(text), nil
		}
		e.line = more
		if e.silent = e.silent || strings.TrimSpace(line) == ""; e.silent {
			e.rest += line + "\n"
		} else {
			e.say("%s", line)
		}
	}
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
