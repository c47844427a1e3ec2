package compare

import (
	"math"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
)

// fill computes a line from its pairs.
func (l *Line) fill(p pairing, o Options) {
	n := len(p.a)
	l.N = n
	l.A, l.B = record.Float(stats.Mean(p.a)), record.Float(stats.Mean(p.b))
	differences := make([]float64, n)
	differing := 0
	for i := range p.a {
		differences[i] = p.b[i] - p.a[i]
		switch gain := differences[i] * l.sign(); {
		case gain > 0:
			l.Better++
		case gain < 0:
			l.Worse++
		}
		if differences[i] != 0 {
			differing++
		}
	}
	mean, stderr := stats.MeanStderr(differences)
	if p.clusters != nil {
		mean, stderr, _ = stats.ClusteredStderr(differences, p.clusters)
	}
	l.Difference = record.Float(mean)
	if l.variance = stderr * stderr; math.IsNaN(l.variance) {
		l.variance = 0
	}
	if p.clusters != nil {
		l.fillClustered(p, o, differences)
		return
	}
	if p.binary && p.high > p.low {
		var both, onlyA, onlyB, neither int
		for i := range p.a {
			switch {
			case p.a[i] == p.high && p.b[i] == p.high:
				both++
			case p.a[i] == p.high:
				onlyA++
			case p.b[i] == p.high:
				onlyB++
			default:
				neither++
			}
		}
		i := newcombe(both, onlyB, onlyA, neither, 0.95)
		width := p.high - p.low
		l.Interval = [2]record.Float{record.Float(width * i.Low), record.Float(width * i.High)}
		l.P = record.Float(stats.McNemar(onlyA, onlyB).ExactP)
		l.Test = "McNemar exact"
		return
	}
	l.Test = "paired bootstrap"
	if o.ClosedForm {
		l.Test = "paired t"
	}
	if differing == 0 {
		l.P = 1
		l.Interval = [2]record.Float{record.Float(mean), record.Float(mean)}
		return
	}
	if o.ClosedForm {
		i := stats.StudentT(differences, 0.95)
		l.Interval = [2]record.Float{record.Float(i.Low), record.Float(i.High)}
		l.P = record.Float(max(stats.StudentP(differences), fewest(differing)))
		return
	}
	b := stats.PairedBootstrap(p.a, p.b, o.Resamples, o.Seed)
	l.Interval = [2]record.Float{record.Float(b.Percentile95.Low), record.Float(b.Percentile95.High)}
	l.P = record.Float(bootstrapP(b, differing))
}

// fillClustered computes a line whose rows depend on each other. McNemar's test
// takes rows for independent, so that right-or-wrong metrics are drawn as graded
// ones are: whole clusters at a time.
func (l *Line) fillClustered(p pairing, o Options, differences []float64) {
	sums := make([]float64, slices.Max(p.clusters)+1)
	for i, c := range p.clusters {
		sums[c] += differences[i]
	}
	differing := 0 // clusters
	for _, s := range sums {
		if math.Abs(s) > 1e-12 {
			differing++
		}
	}
	l.Test = "clustered bootstrap"
	if o.ClosedForm {
		l.Test = "clustered t"
	}
	switch {
	case differing == 0:
		l.P = 1
		l.Interval = [2]record.Float{l.Difference, l.Difference}
	case o.ClosedForm:
		i := stats.ClusteredStudentT(differences, p.clusters, 0.95)
		l.Interval = [2]record.Float{record.Float(i.Low), record.Float(i.High)}
		l.P = record.Float(max(stats.ClusteredStudentP(differences, p.clusters), fewest(differing)))
	default:
		b := stats.PairedBootstrapClustered(p.a, p.b, p.clusters, o.Resamples, o.Seed)
		l.Interval = [2]record.Float{record.Float(b.Percentile95.Low), record.Float(b.Percentile95.High)}
		l.P = record.Float(bootstrapP(b, differing))
	}
}

// take gives the line the numbers of one with the same pairs.
func (l *Line) take(from Line) {
	l.N, l.A, l.B, l.Difference, l.Interval = from.N, from.A, from.B, from.Difference, from.Interval
	l.P, l.Test, l.Better, l.Worse, l.variance = from.P, from.Test, from.Better, from.Worse, from.variance
}

// fewest is the least p that m rows that differ can give: few can never say
// much, whatever a resampling or a t of them gives; a sign-flip test of m of
// them has no p below 2^(1−m), and so neither has this.
func fewest(differing int) float64 { return math.Exp2(float64(1 - differing)) }

// bootstrapP is the two-sided p of a paired bootstrap: twice the smaller share
// of replicates at or beyond zero, counted with one more in favour of no
// difference, and not below what so few rows can say.
func bootstrapP(b stats.Paired, differing int) float64 {
	n := float64(len(b.Replicates))
	p := 2 * (math.Round(n*min(b.ShareAtOrBelow0, b.ShareAtOrAbove0)) + 1) / (n + 1)
	return min(1, max(p, fewest(differing)))
}

// newcombe is the interval of a difference of paired proportions p1 − p2 by
// R. G. Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635–2650): the
// Wilson limits of each proportion, combined with their correlation φ. n11
// rows are successes in both, n10 in the first only, n01 in the second only,
// n00 in neither. It is not empty when no row differs.
func newcombe(n11, n10, n01, n00 int, level float64) stats.Interval {
	n := n11 + n10 + n01 + n00
	nf := float64(n)
	p1, p2 := float64(n11+n10)/nf, float64(n11+n01)/nf
	w1, w2 := stats.Wilson(n11+n10, n, level), stats.Wilson(n11+n01, n, level)
	phi := 0.0
	margins := float64(n11+n10) * float64(n01+n00) * float64(n11+n01) * float64(n10+n00)
	if margins > 0 {
		cross := float64(n11)*float64(n00) - float64(n10)*float64(n01)
		if cross > 0 { // continuity correction of φ
			cross = max(0, cross-nf/2)
		}
		phi = cross / math.Sqrt(margins)
	}
	down1, up2 := p1-w1.Low, w2.High-p2
	up1, down2 := w1.High-p1, p2-w2.Low
	low := math.Sqrt(max(0, down1*down1-2*phi*down1*up2+up2*up2))
	high := math.Sqrt(max(0, up1*up1-2*phi*up1*down2+down2*down2))
	d := p1 - p2
	return stats.Interval{Low: max(-1, d-low), High: min(1, d+high)}
}

// sign makes a difference a gain.
func (l *Line) sign() float64 {
	if l.Direction == "lower" {
		return -1
	}
	return 1
}

func (l *Line) gain() float64 { return float64(l.Difference) * l.sign() }

// judge puts the numbers in a word.
func (l *Line) judge() {
	gain := l.gain()
	sure := float64(l.Adjusted) < alpha
	switch {
	case math.Abs(gain) < 1e-12:
		l.Verdict = Same
	case gain < 0 && sure:
		l.Verdict = SurelyWorse
	case gain < 0:
		l.Verdict = MaybeWorse
	case sure:
		l.Verdict = SurelyBetter
	default:
		l.Verdict = MaybeBetter
	}
}

// rank sorts regressions to the front, the sure ones first.
func (l *Line) rank() int {
	return slices.Index([]Verdict{SurelyWorse, MaybeWorse, Same, MaybeBetter, SurelyBetter}, l.Verdict)
}

// macro averages the first metrics of a profile's tasks: over all tasks, then
// over each category in order of appearance. Scores that are better lower
// count negatively in the difference, as gains do everywhere else in it.
func macro(lines []Line, profile core.Profile) []Line {
	var names []string
	groups := map[string][]Line{}
	for _, l := range lines {
		if l.Profile != profile || !l.first {
			continue
		}
		groups[""] = append(groups[""], l)
		if l.Category == "" {
			continue
		}
		if groups[l.Category] == nil {
			names = append(names, l.Category)
		}
		groups[l.Category] = append(groups[l.Category], l)
	}
	if len(names) == 1 && len(groups[names[0]]) == len(groups[""]) {
		names = nil // the one category is all there is
	}
	var out []Line
	for _, name := range append([]string{""}, names...) {
		out = append(out, mean(groups[name], name, profile))
	}
	var p []float64
	for _, l := range out {
		p = append(p, float64(l.P))
	}
	for i, adjusted := range stats.Holm(p) {
		out[i].Adjusted = record.Float(adjusted)
		out[i].judge()
	}
	return out
}

// mean averages lines. Rows that do not differ have no spread, which is not to say
// that no others would: such a line counts with the width of its own interval. Of
// one line interval and p are that line's.
func mean(lines []Line, category string, profile core.Profile) Line {
	const z = 1.959963984540054 // the normal 97.5 % quantile
	m := Line{Category: category, Profile: profile, N: len(lines), Direction: "higher", Test: "normal, tasks independent"}
	k := float64(len(lines))
	var a, b, gain, variance float64
	for _, l := range lines {
		a += float64(l.A) / k
		b += float64(l.B) / k
		gain += l.gain() / k
		v := l.variance
		if v == 0 {
			v = math.Pow(float64(l.Interval[1]-l.Interval[0])/2/z, 2)
		}
		variance += v / (k * k)
		m.Unjudged += l.Unjudged
		if g := l.gain(); g > 0 {
			m.Better++
		} else if g < 0 {
			m.Worse++
		}
	}
	m.A, m.B, m.Difference = record.Float(a), record.Float(b), record.Float(gain)
	if len(lines) == 1 {
		l := lines[0]
		m.Interval, m.P, m.Test = l.Interval, l.P, l.Test
		if l.sign() < 0 {
			m.Interval = [2]record.Float{-l.Interval[1], -l.Interval[0]}
		}
		return m
	}
	s := math.Sqrt(variance)
	m.Interval = [2]record.Float{record.Float(gain - z*s), record.Float(gain + z*s)}
	switch {
	case s > 0:
		m.P = record.Float(math.Erfc(math.Abs(gain) / s / math.Sqrt2))
	case gain == 0:
		m.P = 1
	default: // every task differs by a constant: nothing is known of the spread
		m.P = record.Float(math.NaN())
	}
	return m
}
