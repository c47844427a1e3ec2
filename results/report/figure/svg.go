// Package figure draws charts as SVG: grouped bars, a grid of coloured cells,
// and lines over rows. A drawing is 400 units wide with text of 11, so that it
// can be read on a phone; it grows downward. Colours are classes whose values
// follow the reader's light or dark scheme and print as in the light one; no
// meaning rests on colour alone (values stand in figures, lines are dashed).
//
// All texts are other people's: they are escaped, and signs that XML does not
// allow are replaced.
package figure

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// CSS styles drawings; a page that holds some has it once. A drawing on its own
// brings it along.
const CSS = `
.fig{--f-paper:#fff;--f-ink:#1b1f24;--f-soft:#59636e;--f-line:#d5dae0;--f0:#9aa7b4;--f1:#2f6fb2;--f2:#c2571a;--f3:#2d8659;--f4:#8a4fa3;--f5:#8f7412;font:11px system-ui,sans-serif}
@media screen and (prefers-color-scheme:dark){.fig{--f-paper:#14171a;--f-ink:#e6e9ec;--f-soft:#9aa5b1;--f-line:#363d45;--f0:#75828f;--f1:#5b9bdc;--f2:#f0995e;--f3:#62b88d;--f4:#b98bd0;--f5:#d9bb4a}}
.fig text{fill:var(--f-ink)}.fig .soft{fill:var(--f-soft);font-size:10px}.fig .value{fill:var(--f-soft);font-size:10px;stroke:var(--f-paper);stroke-width:2.5px;paint-order:stroke}.fig .cell{font-size:9.5px}.fig .paper{fill:var(--f-paper)}.fig .strong{font-weight:700}
.fig .grid{stroke:var(--f-line);stroke-width:.7}.fig .zero{stroke:var(--f-soft);stroke-width:1}.fig .whisker{stroke:var(--f-ink);stroke-width:1}.fig .mark{stroke:var(--f2);stroke-width:1.3;stroke-dasharray:4 2}
.fig .s0{fill:var(--f0)}.fig .s1{fill:var(--f1)}.fig .s2{fill:var(--f2)}.fig .s3{fill:var(--f3)}.fig .s4{fill:var(--f4)}.fig .s5{fill:var(--f5)}
.fig .l{fill:none;stroke-width:1.2;stroke-linejoin:round}.fig .l0{stroke:var(--f0)}.fig .l1{stroke:var(--f1)}.fig .l2{stroke:var(--f2)}.fig .l3{stroke:var(--f3)}.fig .l4{stroke:var(--f4)}.fig .l5{stroke:var(--f5)}.fig .thick{stroke-width:2.6;stroke:var(--f-ink)}
`

// colours is the number of series that have a colour of their own; further ones
// are told apart by dashes.
const colours = 6

// width of every drawing; pad is its margin.
const (
	width = 400.0
	pad   = 6.0
	em    = 6.2 // mean width of a sign of the text
)

// An SVG is a drawing.
type SVG struct {
	title  string
	height float64
	body   strings.Builder
}

// Inline is the element for a page that has [CSS].
func (s *SVG) Inline() string { return s.element("") }

// File is a drawing on its own.
func (s *SVG) File() []byte {
	style := "<style>" + CSS + "</style>" + fmt.Sprintf(`<rect class="paper" width="%s" height="%s"/>`, num(width), num(s.height))
	return []byte(s.element(style) + "\n")
}

func (s *SVG) element(before string) string {
	return fmt.Sprintf(`<svg class="fig" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="%s" viewBox="0 0 %s %s"><title>%s</title>%s%s</svg>`,
		escape(s.title), num(width), num(s.height), escape(s.title), before, s.body.String())
}

func (s *SVG) rect(class string, x, y, w, h float64, title string) {
	if w < 0 {
		x, w = x+w, -w
	}
	fmt.Fprintf(&s.body, `<rect class="%s" x="%s" y="%s" width="%s" height="%s">`, class, num(x), num(y), num(w), num(h))
	if title != "" {
		fmt.Fprintf(&s.body, `<title>%s</title>`, escape(title))
	}
	s.body.WriteString(`</rect>`)
}

func (s *SVG) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&s.body, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, num(x1), num(y1), num(x2), num(y2))
}

// text writes at a baseline; anchor is start, middle or end.
func (s *SVG) text(class, anchor string, x, y float64, text string) {
	fmt.Fprintf(&s.body, `<text class="%s" text-anchor="%s" x="%s" y="%s">%s</text>`, class, anchor, num(x), num(y), escape(text))
}

// upward writes from (x, y) upward, for heads of narrow columns.
func (s *SVG) upward(x, y float64, text string) {
	fmt.Fprintf(&s.body, `<text transform="translate(%s %s) rotate(-90)">%s</text>`, num(x), num(y), escape(text))
}

// legend names the series from y downward and gives the y below it. A series
// without a name is not shown.
func (s *SVG) legend(y float64, names []string, sample func(i int, x, y float64)) float64 {
	x := pad
	for i, name := range names {
		if name == "" {
			continue
		}
		w := 20 + em*float64(utf8.RuneCountInString(name)) + 10
		if x > pad && x+w > width-pad {
			x, y = pad, y+15
		}
		sample(i, x, y)
		s.text("", "start", x+20, y+9, clip(name, 56))
		x += w
	}
	return y + 18
}

// num writes a coordinate shortly.
func num(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0" // callers leave out what is not finite; a drawing never breaks
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

// clip shortens a label to n signs.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:max(1, n-1)]) + "…"
}

// escape makes a text safe within XML.
func escape(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r == 0xfffe || r == 0xffff {
			return '\uFFFD'
		}
		return r
	}, text.Printable(s)))
}

// An axis maps values to x.
type axis struct {
	low, high, left, right float64
}

func (a axis) x(v float64) float64 {
	return a.left + (min(max(v, a.low), a.high)-a.low)/(a.high-a.low)*(a.right-a.left)
}

// ticks are round values within the axis, about n of them.
func (a axis) ticks(n int) []float64 {
	raw := (a.high - a.low) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 2.5, 5, 10} {
		if f*step >= raw*0.999 {
			step *= f
			break
		}
	}
	var out []float64
	for k := math.Ceil(a.low/step - 1e-9); k*step <= a.high+1e-9*step; k++ {
		out = append(out, k*step)
	}
	return out
}

// draw puts ticks above and grid lines behind what stands from y to bottom.
func (a axis) draw(s *SVG, y, bottom float64) {
	for _, t := range a.ticks(5) {
		class := "grid"
		if t == 0 && a.low < 0 {
			class = "zero"
		}
		s.line(class, a.x(t), y, a.x(t), bottom)
		s.text("soft", "middle", a.x(t), y-4, strconv.FormatFloat(math.Round(t*1e6)/1e6+0, 'g', -1, 64)) // +0: no minus before 0
	}
}
