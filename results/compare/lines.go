package compare

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results/reference"
)

type comparison struct {
	o          Options
	a, b       *side
	categories map[string]string
	directions map[string]string
	result     *Result
	pairs      []pairing // as Result.Lines
}

// pairing is what a line's test works on.
type pairing struct {
	a, b      []float64
	low, high float64
	binary    bool
	// clusters numbers the cluster of each pair; nil where no two share one.
	clusters []int
}

// tasks pairs the rows of every task and measure.
func (c *comparison) tasks() {
	for _, task := range c.a.order {
		if c.wanted(task) && c.b.tasks[task] == nil {
			c.missing(&c.result.OnlyA, task, c.a.tasks[task], &taskTable{})
		}
	}
	for _, task := range c.b.order {
		if !c.wanted(task) {
			continue
		}
		ta, tb := c.a.tasks[task], c.b.tasks[task]
		if ta == nil {
			c.missing(&c.result.OnlyB, task, tb, &taskTable{})
			continue
		}
		c.missing(&c.result.OnlyA, task, ta, tb)
		c.missing(&c.result.OnlyB, task, tb, ta)
		shared := sharedPlaces(ta, tb)
		c.asked(task, ta, tb, shared)
		first := map[core.Profile]bool{}
		for _, m := range ta.measures {
			at := tb.column(m)
			if at < 0 {
				c.warn("%s: %s (%s) was only scored in A; rescore B", task, m.Metric, m.Profile)
				continue
			}
			if c.line(task, m, ta, tb, shared, at, !first[m.Profile]) {
				first[m.Profile] = true
			}
		}
		for _, m := range tb.measures {
			if ta.column(m) < 0 {
				c.warn("%s: %s (%s) was only scored in B; rescore A", task, m.Metric, m.Profile)
			}
		}
	}
}

func (c *comparison) wanted(task string) bool {
	return len(c.o.Tasks) == 0 || slices.Contains(c.o.Tasks, task)
}

func (c *comparison) warn(format string, args ...any) {
	c.result.Warnings = append(c.result.Warnings, fmt.Sprintf(format, args...))
}

// sharedPlaces lists where the places of both are in a and in b, in row order.
func sharedPlaces(a, b *taskTable) [][2]int {
	out := make([][2]int, 0, min(len(a.list), len(b.list)))
	guess := 0
	for i := range a.list {
		if j := b.find(a.list[i].place, guess); j >= 0 {
			out = append(out, [2]int{i, j})
			guess = j + 1
		}
	}
	return out
}

// missing counts the places of have that the other lacks.
func (c *comparison) missing(list *[]Missing, task string, have, other *taskTable) {
	var only []place
	guess := 0
	for i := range have.list {
		at := other.find(have.list[i].place, guess)
		if at < 0 {
			only = append(only, have.list[i].place)
		}
		guess = at + 1
	}
	if len(only) == 0 {
		return
	}
	m := Missing{Task: task, N: len(only)}
	for _, p := range only[:min(len(only), namedSamples)] {
		name := p.sample
		if p.repeat > 0 {
			name = fmt.Sprintf("%s#%d", p.sample, p.repeat)
		}
		m.Samples = append(m.Samples, name)
	}
	*list = append(*list, m)
}

// asked warns where a pair was not asked the same.
func (c *comparison) asked(task string, ta, tb *taskTable, shared [][2]int) {
	prompts, targets, forms := 0, 0, 0
	for _, p := range shared {
		va, vb := &ta.list[p[0]], &tb.list[p[1]]
		switch {
		case va.chat != vb.chat:
			forms++
		case va.prompt != vb.prompt:
			prompts++
		}
		if va.target != vb.target {
			targets++
		}
	}
	if targets > 0 {
		c.warn("%s: THE RIGHT ANSWERS DIFFER on %d of %d shared samples: these are not the same rows", task, targets, len(shared))
	}
	if prompts > 0 {
		c.warn("%s: the prompts differ on %d of %d shared samples", task, prompts, len(shared))
	}
	if forms > 0 {
		c.warn("%s: %d of %d shared samples were asked as chat on one side and as completion on the other", task, forms, len(shared))
	}
}

// line pairs one measure; false when no pair has two verdicts.
func (c *comparison) line(task string, m measure, ta, tb *taskTable, shared [][2]int, columnB int, first bool) bool {
	columnA := ta.column(m)
	l := Line{Task: task, Category: c.categories[task], Metric: m.Metric, Profile: m.Profile, Direction: "higher", first: first}
	if l.Category == "" {
		if t, ok := reference.Lookup(task); ok {
			l.Category = t.Category
		}
	}
	metric, reduce := run.SplitName(m.Metric)
	p := pairing{low: 0, high: 1, binary: true}
	known := false
	if c.o.Info != nil {
		var info core.MetricInfo
		if info, known = c.o.Info(metric, m.Profile); known {
			p.low, p.high, p.binary = info.Low, info.High, info.Binary
			if !info.HigherIsBetter {
				l.Direction = "lower"
			}
		}
	}
	if !known && c.directions[m.Metric] == "lower" {
		l.Direction = "lower"
	}
	p.a, p.b = make([]float64, 0, len(shared)), make([]float64, 0, len(shared))
	if reduce.Kind == "mean" || reduce.Kind == "pass" {
		p.binary = false
	}
	var clusters clusterNumbers
	var a, b answers // of the present row
	votesMissing := false
	for i, at := range shared {
		va, vb := &ta.list[at[0]], &tb.list[at[1]]
		if x, y := va.value(columnA), vb.value(columnB); math.IsNaN(x) || math.IsNaN(y) {
			l.Unjudged++
		} else {
			a.add(x, va.vote(columnA))
			b.add(y, vb.vote(columnB))
		}
		if i+1 < len(shared) && ta.list[shared[i+1][0]].sample == va.sample || len(a.values) == 0 {
			continue
		}
		if reduce.Kind == "" && len(a.values) > 1 {
			p.binary = false
		}
		votesMissing = votesMissing || reduce.Kind == "majority" && (slices.Contains(a.votes, 0) || slices.Contains(b.votes, 0))
		x, okA := a.reduce(reduce, p.high, l.Direction == "higher")
		y, okB := b.reduce(reduce, p.high, l.Direction == "higher")
		a.clear()
		b.clear()
		if !okA || !okB {
			l.Unjudged++
			continue
		}
		p.a, p.b = append(p.a, x), append(p.b, y)
		clusters.add(va.cluster, vb.cluster)
	}
	if votesMissing {
		c.warn("%s: %s (%s) was stored by a version that kept no votes; rescore both runs", task, m.Metric, m.Profile)
		return false
	}
	p.clusters = clusters.list()
	if p.clusters != nil {
		l.Clusters = clusters.n
	}
	if len(p.a) == 0 {
		c.warn("%s: %s (%s) has no pair with a verdict on both sides", task, m.Metric, m.Profile)
		return false
	}
	if p.binary {
		for i := range p.a {
			p.binary = p.binary && (p.a[i] == p.low || p.a[i] == p.high) && (p.b[i] == p.low || p.b[i] == p.high)
		}
	}
	c.result.Lines, c.pairs = append(c.result.Lines, l), append(c.pairs, p)
	return true
}

// answers are one side's to one row, in their order.
type answers struct {
	values []float64
	votes  []uint64
}

func (a *answers) add(value float64, vote uint64) {
	a.values, a.votes = append(a.values, value), append(a.votes, vote)
}

func (a *answers) clear() { a.values, a.votes = a.values[:0], a.votes[:0] }

// reduce makes one value of them as the run's table does, the mean where the
// metric says nothing.
func (a *answers) reduce(r run.Reduce, high float64, higherIsBetter bool) (float64, bool) {
	if r.Kind == "" {
		r.Kind = "mean"
	}
	value, _, ok := run.ReduceRow(r, a.values, a.votes, high, higherIsBetter)
	return value, ok
}

// test fills the lines, on all cores.
func (c *comparison) test(ctx context.Context) error {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(c.pairs)) {
		wg.Go(func() {
			for i := range next {
				c.result.Lines[i].fill(c.pairs[i], c.o)
			}
		})
	}
	twin := map[int]int{}
	for i := range c.pairs {
		if ctx.Err() != nil {
			break
		}
		if j := c.twin(i); j >= 0 {
			if first, ok := twin[j]; ok {
				j = first // a twin has no numbers of its own yet
			}
			twin[i] = j
			continue
		}
		next <- i
	}
	close(next)
	wg.Wait()
	for i, j := range twin {
		c.result.Lines[i].take(c.result.Lines[j])
	}
	return ctx.Err()
}

// twin finds an earlier line of the task with the same values: on most tasks
// both profiles judge alike, and a bootstrap is worth saving.
func (c *comparison) twin(i int) int {
	p, l := c.pairs[i], c.result.Lines[i]
	for j := i - 1; j >= 0 && c.result.Lines[j].Task == l.Task; j-- {
		q := c.pairs[j]
		if q.binary == p.binary && q.low == p.low && q.high == p.high && c.result.Lines[j].Direction == l.Direction &&
			slices.Equal(p.a, q.a) && slices.Equal(p.b, q.b) && slices.Equal(p.clusters, q.clusters) {
			return j
		}
	}
	return -1
}

// finish adjusts the p values, adds the macro lines and sorts.
func (c *comparison) finish() {
	r := c.result
	for _, profile := range profilesOf(r.Lines) {
		var at []int
		var p []float64
		for i, l := range r.Lines {
			if l.Profile == profile {
				at, p = append(at, i), append(p, float64(l.P))
			}
		}
		for k, adjusted := range stats.Holm(p) {
			r.Lines[at[k]].Adjusted = record.Float(adjusted)
			r.Lines[at[k]].judge()
		}
		r.Macro = append(r.Macro, macro(r.Lines, profile)...)
	}
	slices.SortStableFunc(r.Lines, func(x, y Line) int {
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), cmp.Compare(x.gain(), y.gain()), cmp.Compare(x.Task, y.Task))
	})
}

func profilesOf(lines []Line) []core.Profile {
	var out []core.Profile
	for _, l := range lines {
		if !slices.Contains(out, l.Profile) {
			out = append(out, l.Profile)
		}
	}
	return out
}
