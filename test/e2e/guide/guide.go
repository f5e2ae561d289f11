// SPDX-License-Identifier: Apache-2.0

// Package guide reads a how-to written in Markdown as a reader with a terminal does: by section, its YAML and shell blocks as they
// stand, the shell blocks command by command. It runs nothing.
package guide

import (
	"regexp"
	"strings"
)

// Section is what stands under one heading, up to the next of any level.
type Section struct {
	Title  string
	Level  int
	Line   int // of the heading, counted from 1
	Blocks []Block
}

// Block is one fenced block.
type Block struct {
	Language string
	Text     string
	Line     int // of its first line
	// File is the file the text above tells the reader to put the block in; often there is none.
	File string
}

// In returns the section's blocks in one language, in order.
func (s Section) In(language string) []Block {
	var blocks []Block
	for _, b := range s.Blocks {
		if b.Language == language {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

var (
	heading  = regexp.MustCompile(`^(#{1,6})\s+(.*?)\s*#*$`)
	fence    = regexp.MustCompile("^( *)(```+|~~~+)\\s*([A-Za-z0-9_-]*)") // indented when it stands in a list
	fileName = regexp.MustCompile("(?i)file (?:named|called) `([^`/]+)`")
)

// Parse never fails: what it does not know is prose. An unclosed fence ends with the text.
func Parse(markdown string) []Section {
	var sections []Section
	current := Section{Line: 1}
	var block *Block
	var closing, indent, file string
	for i, line := range strings.Split(strings.ReplaceAll(markdown, "\r\n", "\n"), "\n") {
		if block != nil {
			line = strings.TrimPrefix(line, indent)
			if strings.HasPrefix(line, closing) && strings.Trim(line, closing[:1]+" \t") == "" {
				current.Blocks = append(current.Blocks, *block)
				block = nil
				continue
			}
			block.Text += line + "\n"
			continue
		}
		if m := fence.FindStringSubmatch(line); m != nil {
			block, closing, indent = &Block{Language: strings.ToLower(m[3]), Line: i + 2, File: file}, m[2], m[1]
			file = ""
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			sections = appendFilled(sections, current)
			current, file = Section{Title: m[2], Level: len(m[1]), Line: i + 1}, ""
			continue
		}
		if m := fileName.FindStringSubmatch(line); m != nil {
			file = m[1]
		}
	}
	if block != nil {
		current.Blocks = append(current.Blocks, *block)
	}
	return appendFilled(sections, current)
}

// appendFilled leaves out the nothing before the first heading.
func appendFilled(sections []Section, s Section) []Section {
	if s.Title == "" && len(s.Blocks) == 0 {
		return sections
	}
	return append(sections, s)
}

var span = regexp.MustCompile("`([^`\n]+)`")

// Spans are what a text has between single backticks, outside of its blocks: commands, flags and names in sentences and tables. A bar that
// a table wants to be escaped is a bar.
func Spans(markdown string) []Block {
	lines := strings.Split(strings.ReplaceAll(markdown, "\r\n", "\n"), "\n")
	for _, section := range Parse(markdown) {
		for _, block := range section.Blocks {
			for i := range strings.Count(block.Text, "\n") {
				if at := block.Line - 1 + i; at < len(lines) {
					lines[at] = ""
				}
			}
		}
	}
	var spans []Block
	for i, line := range lines {
		if fence.MatchString(line) {
			continue
		}
		for _, found := range span.FindAllStringSubmatch(line, -1) {
			spans = append(spans, Block{Text: strings.ReplaceAll(found[1], `\|`, "|"), Line: i + 1})
		}
	}
	return spans
}
