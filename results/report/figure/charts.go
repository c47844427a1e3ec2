package figure

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Bars is a chart of horizontal bars in groups.
type Bars struct {
	Title  string
	Series []string // named in the legend when there are several
	Groups []Group
	// Low and High bound the axis; values beyond widen it.
	Low, High float64
	// Format of the values beside the bars; empty is %.3f.
	Format string
	// Marks are lines across all groups.
	Marks []Mark
}

// A Group is a label with its bars.
type Group struct {
	Label  string
	Strong bool
	Bars   []Bar
}

// A Bar is one value; one that is not finite is not drawn. Low and High are its interval, NaN
// without one.
type Bar struct {
	Series           int
	Value, Low, High float64
}

// A Mark is a line at a value.
type Mark struct {
	Label string
	Value float64
}

const (
	barHeight = 10.0
	rowHeight = 16.0
)

// Draw makes the chart.
func (c Bars) Draw() *SVG {
	if c.Format == "" {
		c.Format = "%.3f"
	}
	s := &SVG{title: c.Title}
	a := axis{low: c.Low, high: c.High}
	longest, negative := 0, false
	for _, g := range c.Groups {
		longest = max(longest, utf8.RuneCountInString(g.Label))
		for _, b := range g.Bars {
			for _, v := range []float64{b.Value, b.Low, b.High} {
				if finite(v) {
					a.low, a.high = min(a.low, v), max(a.high, v)
				}
			}
			negative = negative || b.Value < 0
		}
	}
	if !(a.high > a.low) {
		a.high = a.low + 1
	}
	labels := min(28, longest)
	a.left, a.right = pad+em*float64(labels)+6, width-pad-36
	if negative {
		a.left += 30
	}
	y := pad
	if len(c.Series) > 1 {
		y = s.legend(y, c.Series, func(i int, x, y float64) { s.rect(class("s", i), x, y, 14, 10, "") })
	}
	for _, m := range c.Marks {
		s.line("mark", pad, y+5, pad+14, y+5)
		s.text("", "start", pad+20, y+9, m.Label+" "+c.format(m.Value))
		y += 15
	}
	top := y + 14
	y = top + 4
	for _, g := range c.Groups {
		y += math.Max(1, float64(len(g.Bars)))*(barHeight+1) + 5
	}
	a.draw(s, top, y)
	s.height = y + pad
	for _, m := range c.Marks {
		s.line("mark", a.x(m.Value), top, a.x(m.Value), s.height-pad)
	}
	y = top + 4
	for _, g := range c.Groups {
		h := math.Max(1, float64(len(g.Bars))) * (barHeight + 1)
		style := ""
		if g.Strong {
			style = "strong"
		}
		s.text(style, "start", pad, y+h/2+4, clip(g.Label, labels))
		for i, b := range g.Bars {
			if finite(b.Value) {
				name := g.Label
				if b.Series < len(c.Series) && len(c.Series) > 1 {
					name += ", " + c.Series[b.Series]
				}
				c.bar(s, a, b, y+float64(i)*(barHeight+1), name)
			}
		}
		y += h + 5
	}
	return s
}

// format writes a value; one that is 0 to its digits has no sign.
func (c Bars) format(v float64) string {
	if math.Abs(v) >= 1e6 {
		return fmt.Sprintf("%.3g", v)
	}
	text := fmt.Sprintf(c.Format, v)
	if strings.Trim(text, "+-0.") == "" {
		return strings.TrimLeft(text, "+-")
	}
	return text
}

func (c Bars) bar(s *SVG, a axis, b Bar, y float64, name string) {
	zero := a.x(max(0, a.low))
	s.rect(class("s", b.Series), zero, y, a.x(b.Value)-zero, barHeight, name+": "+c.format(b.Value))
	end := a.x(b.Value)
	if finite(b.Low) && finite(b.High) {
		s.line("whisker", a.x(b.Low), y+barHeight/2, a.x(b.High), y+barHeight/2)
		for _, v := range []float64{b.Low, b.High} {
			s.line("whisker", a.x(v), y+2, a.x(v), y+barHeight-2)
		}
		end = max(end, a.x(b.High))
	}
	if b.Value < 0 {
		s.text("value", "end", min(end, a.x(b.Value))-3, y+9, c.format(b.Value))
		return
	}
	s.text("value", "start", end+3, y+9, c.format(b.Value))
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// class numbers a colour.
func class(kind string, series int) string { return fmt.Sprintf("%s%d", kind, series%colours) }

// Grid is a table of values from −1 to 1 on coloured ground: blue above 0,
// orange below, the stronger the farther from it.
type Grid struct {
	Title         string
	Rows, Columns []string
	Values        [][]float64 // [row][column]; NaN is left empty
}

// Draw makes the grid.
func (c Grid) Draw() *SVG {
	s := &SVG{title: c.Title}
	longest, head := 0, 0
	for _, r := range c.Rows {
		longest = max(longest, utf8.RuneCountInString(r))
	}
	for _, h := range c.Columns {
		head = max(head, utf8.RuneCountInString(h))
	}
	left := pad + em*float64(min(30, longest)) + 6
	top := pad + em*float64(min(30, head)) + 6
	w := (width - pad - left) / math.Max(1, float64(len(c.Columns)))
	for j, h := range c.Columns {
		s.upward(left+w*(float64(j)+0.5)+4, top-4, clip(h, 30))
	}
	for i, r := range c.Rows {
		y := top + rowHeight*float64(i)
		s.text("", "start", pad, y+12, clip(r, 30))
		for j := range c.Columns {
			v := c.Values[i][j]
			if math.IsNaN(v) {
				continue
			}
			series := 1
			if v < 0 {
				series = 2
			}
			x := left + w*float64(j)
			fmt.Fprintf(&s.body, `<g fill-opacity="%s">`, num(0.6*math.Min(1, math.Abs(v))))
			s.rect(class("s", series), x+0.5, y+0.5, w-1, rowHeight-1, fmt.Sprintf("%s, %s: %.3f", r, c.Columns[j], v))
			s.body.WriteString(`</g>`)
			s.text("cell", "middle", x+w/2, y+12, strings.Replace(fmt.Sprintf("%.2f", math.Round(v*100)/100+0), "-", "−", 1))
		}
	}
	s.height = top + rowHeight*float64(len(c.Rows)) + pad
	return s
}

// Lines is a chart whose rows run downward: each line joins a value a row.
type Lines struct {
	Title     string
	Rows      []string
	Lines     []Line
	Low, High float64
}

// A Line is one model's values; one that is not finite breaks it.
type Line struct {
	Name   string
	Values []float64
	Strong bool
}

// Draw makes the chart.
func (c Lines) Draw() *SVG {
	s := &SVG{title: c.Title}
	a := axis{low: c.Low, high: c.High}
	longest := 0
	for _, r := range c.Rows {
		longest = max(longest, utf8.RuneCountInString(r))
	}
	names := make([]string, len(c.Lines))
	for i, l := range c.Lines {
		names[i] = l.Name
		for _, v := range l.Values {
			if finite(v) {
				a.low, a.high = min(a.low, v), max(a.high, v)
			}
		}
	}
	if !(a.high > a.low) {
		a.high = a.low + 1
	}
	a.left, a.right = pad+em*float64(min(28, longest))+6, width-pad-6
	y := s.legend(pad, names, func(i int, x, y float64) { c.stroke(s, i, [][2]float64{{x, y + 5}, {x + 15, y + 5}}) })
	top := y + 14
	s.height = top + rowHeight*float64(len(c.Rows)) + pad
	a.draw(s, top, s.height-pad)
	at := func(row int) float64 { return top + rowHeight*(float64(row)+0.5) }
	for i, r := range c.Rows {
		s.text("", "start", pad, at(i)+4, clip(r, 28))
		s.line("grid", a.left, at(i), a.right, at(i))
	}
	for i, l := range c.Lines {
		var part [][2]float64
		for row, v := range l.Values {
			if !finite(v) {
				c.stroke(s, i, part)
				part = nil
				continue
			}
			part = append(part, [2]float64{a.x(v), at(row)})
		}
		c.stroke(s, i, part)
	}
	return s
}

// dashes tell lines of one colour apart.
var dashes = []string{"", "5 2", "1.5 2", "7 2 1.5 2"}

// stroke draws a part of line i; a single point becomes a short stroke.
func (c Lines) stroke(s *SVG, i int, points [][2]float64) {
	if len(points) == 0 {
		return
	}
	if len(points) == 1 {
		p := points[0]
		points = [][2]float64{{p[0], p[1] - 3}, {p[0], p[1] + 3}}
	}
	kind := "l " + class("l", i+1)
	if c.Lines[i].Strong {
		kind += " thick"
	}
	dash := ""
	if d := dashes[i/colours%len(dashes)]; d != "" {
		dash = fmt.Sprintf(` stroke-dasharray="%s"`, d)
	}
	var list []string
	for _, p := range points {
		list = append(list, num(p[0])+","+num(p[1]))
	}
	fmt.Fprintf(&s.body, `<polyline class="%s"%s points="%s"/>`, kind, dash, strings.Join(list, " "))
}
