package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// hostile is a name that tries to be markup, and signs that XML forbids.
const hostile = "<script>alert(1)</script>\"'&\x00\x1b\xff\u202e]]>"

func drawings() map[string]*SVG {
	nan := math.NaN()
	return map[string]*SVG{
		"bars": Bars{Title: hostile, Series: []string{"a" + hostile, "b"}, High: 1, Marks: []Mark{{hostile, 0.5}}, Groups: []Group{
			{hostile, true, []Bar{{0, 0.5, 0.4, 0.6}, {1, -0.25, nan, nan}}}, {"none", false, []Bar{{0, nan, nan, nan}}}, {"empty", false, nil}}}.Draw(),
		"no bars":  Bars{}.Draw(),
		"infinite": Bars{Groups: []Group{{"x", false, []Bar{{0, math.Inf(1), nan, nan}, {0, 1e300, nan, nan}, {0, -1e300, math.Inf(-1), math.Inf(1)}}}}}.Draw(),
		"grid":     Grid{Title: hostile, Rows: []string{hostile, "b"}, Columns: []string{hostile, "c"}, Values: [][]float64{{1, -1}, {nan, 0}}}.Draw(),
		"no grid":  Grid{}.Draw(),
		"lines": Lines{Title: hostile, Rows: []string{hostile, "b", "c"}, High: 1, Lines: []Line{{hostile, []float64{0.1, nan, 0.3}, true},
			{"x", []float64{nan, nan, nan}, false}, {"y", nil, false}}}.Draw(),
		"no lines": Lines{}.Draw(),
		"curves": Curves{Title: hostile, XLabel: hostile, Curves: []Curve{{hostile, []float64{1, 2, 3, nan, 5}, []float64{1, math.Inf(1), 3, 4, 5}, true},
			{"one", []float64{1}, []float64{1e300}, false}, {"uneven", []float64{1, 2}, nil, false}}}.Draw(),
		"no curves": Curves{}.Draw(),
	}
}

func TestDrawingsAreWellFormed(t *testing.T) {
	for name, s := range drawings() {
		for _, text := range []string{s.Inline(), string(s.File())} {
			d := xml.NewDecoder(strings.NewReader(text))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, text)
				}
			}
			if strings.Contains(text, "<script") || strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

// Everything stands within the drawing.
func TestDrawingsKeepTheirBounds(t *testing.T) {
	x := regexp.MustCompile(` (?:x|x1|x2)="([^"]*)"`)
	for name, s := range drawings() {
		for _, m := range x.FindAllStringSubmatch(s.Inline(), -1) {
			if v, err := strconv.ParseFloat(m[1], 64); err != nil || v < 0 || v > width {
				t.Errorf("%s: x = %s", name, m[1])
			}
		}
	}
}

func TestBarLengths(t *testing.T) {
	text := Bars{High: 1, Groups: []Group{{"half", false, []Bar{plain(0.5)}}, {"whole", false, []Bar{plain(1)}}}}.Draw().Inline()
	m := regexp.MustCompile(`class="s0" [^>]*width="([^"]*)"`).FindAllStringSubmatch(text, -1)
	if len(m) != 2 {
		t.Fatal(text)
	}
	half, _ := strconv.ParseFloat(m[0][1], 64)
	whole, _ := strconv.ParseFloat(m[1][1], 64)
	if math.Abs(whole-2*half) > 0.02 || whole < 200 {
		t.Errorf("bars of %v and %v", half, whole)
	}
}

func plain(v float64) Bar { return Bar{0, v, math.NaN(), math.NaN()} }

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{{0, 1, "0 0.2 0.4 0.6 0.8 1"}, {-0.4, 0.68, "-0.25 0 0.25 0.5"}, {0, 9, "0 2 4 6 8"}} {
		var got []string
		for _, v := range (axis{low: c.low, high: c.high}).ticks(5) {
			got = append(got, strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', -1, 64))
		}
		if strings.ReplaceAll(strings.Join(got, " "), "-0 ", "0 ") != strings.ReplaceAll(c.want, "-0 ", "0 ") {
			t.Errorf("%v to %v: %v, want %s", c.low, c.high, got, c.want)
		}
	}
}
