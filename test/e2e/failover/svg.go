// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Colours that people who see few of them can tell apart (Okabe and Ito), and greys.
var palette = []string{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"}

const (
	inkColour    = "#222222"
	gridColour   = "#dddddd"
	failedColour = "#D55E00"
	servedColour = "#009E73"
)

// Measures of every plot, in pixels.
const (
	plotWidth, plotHeight = 860, 420
	marginLeft            = 86
	marginRight           = 24
	marginTop             = 44
	marginBottom          = 58
)

// svg is a drawing under way.
type svg struct{ strings.Builder }

func newSVG(title string) *svg {
	s := &svg{}
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(s, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	s.text(plotWidth/2, 22, "middle", title)
	return s
}

// end returns the whole drawing.
func (s *svg) end() string { return s.String() + "</svg>\n" }

func (s *svg) text(x, y float64, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, inkColour, html.EscapeString(text))
}

func (s *svg) line(x1, y1, x2, y2 float64, colour, more string) {
	fmt.Fprintf(s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>`+"\n", x1, y1, x2, y2, colour, more)
}

const dashed = ` stroke-dasharray="5 4"`

// axis maps values to pixels.
type axis struct {
	from, to      float64 // values
	first, second float64 // pixels
}

func (a axis) at(value float64) float64 {
	return a.first + (value-a.from)/(a.to-a.from)*(a.second-a.first)
}

// xAxis and yAxis span the plot.
func xAxis(from, to float64) axis { return axis{from, to, marginLeft, plotWidth - marginRight} }
func yAxis(from, to float64) axis { return axis{from, to, plotHeight - marginBottom, marginTop} }

// ticks are round values that divide a range into four to ten parts.
func ticks(from, to float64) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/4)))
	for _, factor := range []float64{1, 2, 5} {
		if (to-from)/(step*factor) <= 10 {
			step *= factor
			break
		}
	}
	var all []float64
	for i := math.Ceil(from/step - 1e-9); i*step <= to+step*1e-9; i++ {
		all = append(all, i*step+0) // never -0
	}
	return all
}

// gridX draws the values along x and the label below them.
func (s *svg) gridX(x axis, label string) {
	for _, v := range ticks(x.from, x.to) {
		s.line(x.at(v), marginTop, x.at(v), plotHeight-marginBottom, gridColour, "")
		s.text(x.at(v), plotHeight-marginBottom+18, "middle", fmt.Sprintf("%g", round9(v)))
	}
	s.text((x.first+x.second)/2, plotHeight-14, "middle", label)
}

// gridY draws the values along y, and the label beside them.
func (s *svg) gridY(y axis, label string) {
	for _, v := range ticks(y.from, y.to) {
		s.line(marginLeft, y.at(v), plotWidth-marginRight, y.at(v), gridColour, "")
		s.text(marginLeft-8, y.at(v)+4, "end", fmt.Sprintf("%g", round9(v)))
	}
	middle := (y.first + y.second) / 2
	fmt.Fprintf(s, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle" fill="%s">%s</text>`+"\n", middle, inkColour, html.EscapeString(label))
}

// round9 takes away what binary fractions add.
func round9(v float64) float64 { return math.Round(v*1e9) / 1e9 }

// mark is a vertical line with a word, as for a target.
func (s *svg) mark(x float64, word string) {
	s.line(x, marginTop, x, plotHeight-marginBottom, inkColour, dashed)
	s.text(x, marginTop-5, "middle", word)
}

// steps draws a line that goes up by steps.
func (s *svg) steps(x, y axis, points [][2]float64, colour string) {
	var path strings.Builder
	for i, p := range points {
		if i == 0 {
			fmt.Fprintf(&path, "M%.1f %.1f", x.at(p[0]), y.at(p[1]))
			continue
		}
		fmt.Fprintf(&path, "H%.1fV%.1f", x.at(p[0]), y.at(p[1]))
	}
	fmt.Fprintf(s, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour)
}

// legend names the colours, at the bottom right.
func (s *svg) legend(words, colours []string) {
	const row, width = 18, 214
	left := float64(plotWidth - marginRight - width - 6)
	top := float64(plotHeight - marginBottom - 6 - row*len(words))
	fmt.Fprintf(s, `<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="white" stroke="%s"/>`+"\n", left, top-4, width, row*len(words)+6, gridColour)
	for i, word := range words {
		y := top + float64(i*row) + 12
		s.line(left+8, y-4, left+32, y-4, colours[i], ` stroke-width="3"`)
		s.text(left+40, y, "start", word)
	}
}
