package figure

import (
	"math"
	"strconv"
)

// Curves is a chart of values over a number, such as a loss over steps.
type Curves struct {
	Title  string
	XLabel string
	Curves []Curve
}

// A Curve is drawn through its points in their order; one that is not finite
// breaks it.
type Curve struct {
	Name   string
	X, Y   []float64
	Strong bool
}

// curvesHeight is that of the plot alone.
const curvesHeight = 180.0

// mostPoints bounds a curve in a drawing: more than its pixels tell nothing.
const mostPoints = 800

// Draw makes the chart.
func (c Curves) Draw() *SVG {
	s := &SVG{title: c.Title}
	x, y := span(c.Curves, func(c Curve) []float64 { return c.X }), span(c.Curves, func(c Curve) []float64 { return c.Y })
	lines := Lines{}
	names := make([]string, len(c.Curves))
	for i, l := range c.Curves {
		names[i] = l.Name
		lines.Lines = append(lines.Lines, Line{Strong: l.Strong})
	}
	top := s.legend(pad, names, func(i int, x, y float64) { lines.stroke(s, i, [][2]float64{{x, y + 5}, {x + 15, y + 5}}) }) + 14
	x.left, x.right = pad+46, width-pad-6
	bottom := top + curvesHeight
	s.height = bottom + 16 + pad
	x.draw(s, top, bottom)
	// An axis maps to rising coordinates; values rise upward.
	y.left, y.right = 0, curvesHeight
	at := func(v float64) float64 { return bottom - y.x(v) }
	for _, t := range y.ticks(5) {
		s.line("grid", x.left, at(t), x.right, at(t))
		s.text("soft", "end", x.left-4, at(t)+3, strconv.FormatFloat(t+0, 'g', 6, 64))
	}
	s.text("soft", "middle", (x.left+x.right)/2, bottom+13, c.XLabel)
	for i, l := range c.Curves {
		var part [][2]float64
		every := (min(len(l.X), len(l.Y)) + mostPoints - 1) / mostPoints
		for p := range min(len(l.X), len(l.Y)) {
			if every > 1 && p%every != 0 && p != len(l.X)-1 {
				continue
			}
			if !finite(l.X[p]) || !finite(l.Y[p]) {
				lines.stroke(s, i, part)
				part = nil
				continue
			}
			part = append(part, [2]float64{x.x(l.X[p]), at(l.Y[p])})
		}
		lines.stroke(s, i, part)
	}
	return s
}

// span is the axis that holds the finite values of all curves.
func span(curves []Curve, of func(Curve) []float64) axis {
	a := axis{low: math.Inf(1), high: math.Inf(-1)}
	for _, c := range curves {
		for _, v := range of(c) {
			if finite(v) {
				a.low, a.high = min(a.low, v), max(a.high, v)
			}
		}
	}
	if a.low > a.high {
		a.low, a.high = 0, 1
	}
	if !(a.high > a.low) {
		a.high = a.low + max(1, math.Abs(a.low))
	}
	return a
}
