// SPDX-License-Identifier: Apache-2.0

package guide

import "strings"

// Commands splits a shell block into what a reader would paste at the prompt, one after the other: comments dropped, continued lines,
// pipelines and loops kept whole. It knows as much of the shell as how-tos use: backslashes, trailing pipes and operators, quotes
// over several lines, and for, while, until, if and case with their ends.
func Commands(script string) []string {
	var commands []string
	var open statement
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if open.text == "" && isBlank(line) {
			continue
		}
		open.add(line)
		if open.complete() {
			commands = append(commands, open.text)
			open = statement{}
		}
	}
	if open.text != "" {
		commands = append(commands, open.text)
	}
	return commands
}

func isBlank(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "#")
}

// statement is a command that may not be over yet.
type statement struct {
	text  string
	quote byte // the quote that is open, or 0
	depth int  // loops and conditions that are open
	more  bool // the last line asks for another
}

func (s *statement) complete() bool { return s.quote == 0 && s.depth == 0 && !s.more }

func (s *statement) add(line string) {
	if s.text != "" {
		s.text += "\n"
	}
	s.text += line
	if s.depth > 0 && s.quote == 0 && isBlank(line) {
		return
	}
	words, quote := scan(line, s.quote)
	s.quote = quote
	for _, w := range words {
		switch w {
		case "for", "while", "until", "if", "case":
			s.depth++
		case "done", "fi", "esac":
			s.depth--
		}
	}
	code := strings.TrimRight(line, " \t")
	s.more = quote == 0 && (strings.HasSuffix(code, `\`) || strings.HasSuffix(code, "|") || strings.HasSuffix(code, "&&"))
}

// scan returns the words of a line that stand where a command may start, outside quotes and comments, and the quote that is open
// at its end.
func scan(line string, quote byte) (words []string, open byte) {
	start := true // a command may start here
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote, start = c, false
		case c == '\\':
			i++
			start = false
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return words, 0
		case c == ';' || c == '|' || c == '&' || c == '(':
			start = true
		case c == ' ' || c == '\t':
		default:
			end := i
			for end < len(line) && !strings.ContainsRune(" \t;|&()'\"\\", rune(line[end])) {
				end++
			}
			end = max(end, i+1)
			word := line[i:end]
			if start {
				words = append(words, word)
			}
			// After these words another command starts.
			start = word == "do" || word == "then" || word == "else" || word == "!"
			i = end - 1
		}
	}
	return words, quote
}
