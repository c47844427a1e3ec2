// Package compare sets two stored runs, or two models of one run, against each
// other on the samples that both answered.
//
// Samples are matched by task, sample and repeat. Two scores on the same rows
// are far better known relative to each other than each alone, so that all
// statements rest on the differences within pairs:
//
//   - a metric that only says right or wrong is tested with McNemar's exact
//     test, and its difference gets Newcombe's paired interval;
//   - a graded metric is tested with a seeded paired bootstrap, whose
//     percentiles are its interval;
//   - p values are adjusted by Holm's method over all lines of a profile, so
//     that 31 tasks do not yield one false alarm in two comparisons.
//
// What the pairing cannot repair (other prompts, other data, other task
// files, samples on one side only) is said in [Result.Warnings].
package compare

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
)

// A Side is one model of one run.
type Side struct {
	Folder *results.Folder
	Model  string
}

// Options of a comparison.
type Options struct {
	// Resamples of the bootstrap; 0 is 10,000.
	Resamples int
	// Seed of the bootstrap.
	Seed uint64
	// Info describes a metric: its range, its direction and whether it is
	// binary. Where it is nil or does not know one, the direction is that of
	// the run's table, and values that are all 0 or 1 count as binary.
	Info func(metric string, profile core.Profile) (core.MetricInfo, bool)
	// Tasks restricts the comparison to these; empty is all.
	Tasks []string
	// ClosedForm tests graded metrics with Student's t on the differences
	// instead of the bootstrap: no drawing, for reports of many models.
	ClosedForm bool
	// Reader keeps what was read for further comparisons; nil reads anew.
	Reader *Reader
}

// Result is a comparison; differences are B − A.
type Result struct {
	A        Name     `json:"a"`
	B        Name     `json:"b"`
	Warnings []string `json:"warnings,omitempty"`
	// Macro holds, for each profile, the mean over all tasks and over the
	// tasks of each category, each task counted once with its first metric.
	Macro []Line `json:"macro"`
	// Lines holds one line a task, metric and profile: what got worse first.
	Lines []Line `json:"tasks"`
	// OnlyA and OnlyB count samples that the other side does not have.
	OnlyA []Missing `json:"only_a,omitempty"`
	OnlyB []Missing `json:"only_b,omitempty"`
	// Method says how p values and intervals were made.
	Method string `json:"method"`

	own core.Profile // of all runs; strict where they differ
}

// Name identifies a side.
type Name struct {
	Run   string `json:"run"`
	Model string `json:"model"`
	Tag   string `json:"tag,omitempty"`
}

// Missing counts a task's samples that one side lacks.
type Missing struct {
	Task string `json:"task"`
	N    int    `json:"n"`
	// Samples names the first few.
	Samples []string `json:"samples"`
}

// Verdict is what a line says.
type Verdict string

// The verdicts: sure ones hold after Holm's correction at 5 %.
const (
	SurelyWorse  Verdict = "worse"
	MaybeWorse   Verdict = "worse, not sure"
	Same         Verdict = "same"
	MaybeBetter  Verdict = "better, not sure"
	SurelyBetter Verdict = "better"
)

// A Line compares one number.
type Line struct {
	Task     string       `json:"task"` // empty in Macro
	Category string       `json:"category,omitempty"`
	Metric   string       `json:"metric,omitempty"` // empty in Macro
	Profile  core.Profile `json:"profile"`
	// N is the number of paired rows, and of tasks in Macro.
	N int `json:"n"`
	// Clusters is the number of groups of rows that depend on each other; 0
	// where each row stands alone.
	Clusters   int             `json:"clusters,omitempty"`
	A          record.Float    `json:"a"`
	B          record.Float    `json:"b"`
	Difference record.Float    `json:"difference"`
	Interval   [2]record.Float `json:"interval"`
	// P is two-sided, Adjusted after Holm's correction over the profile.
	P        record.Float `json:"p"`
	Adjusted record.Float `json:"p_holm"`
	Test     string       `json:"test"`
	// Better counts rows on which B is better than A, Worse the reverse.
	Better    int    `json:"rows_better"`
	Worse     int    `json:"rows_worse"`
	Direction string `json:"direction"` // higher or lower is better
	// Unjudged pairs have no verdict on one side or both: an API error, or an
	// answer that the profile leaves out.
	Unjudged int     `json:"unjudged,omitempty"`
	Verdict  Verdict `json:"verdict"`

	variance float64 // of the mean difference
	first    bool    // the task's first metric in this profile
}

const (
	defaultResamples = 10_000
	namedSamples     = 5
	alpha            = 0.05
)

// Compare reads both sides and compares them. The error is a *core.UserError
// where a side has no such model or the two have no sample in common.
func Compare(ctx context.Context, a, b Side, o Options) (*Result, error) {
	return Joined(ctx, []Side{a}, []Side{b}, o)
}

// Joined is [Compare] of models whose tasks are spread over several runs: the
// sides in a, and those in b, count as one. A task that two of them have is
// taken from the first.
func Joined(ctx context.Context, a, b []Side, o Options) (*Result, error) {
	if o.Resamples <= 0 {
		o.Resamples = defaultResamples
	}
	reader := o.Reader
	if reader == nil {
		reader = NewReader()
	}
	var sides [2]*side
	var errs [2]error
	var wg sync.WaitGroup
	for i, parts := range [][]Side{a, b} {
		wg.Go(func() { sides[i], errs[i] = reader.join(ctx, parts) })
	}
	wg.Wait()
	for i, parts := range [][]Side{a, b} {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if len(sides[i].tasks) == 0 {
			hint := "evalrun resume goes on with a run that has none yet"
			if len(sides[i].models) > 0 {
				hint = "its models: " + strings.Join(sides[i].models, ", ")
			}
			return nil, &core.UserError{Where: parts[0].Folder.Path, Message: fmt.Sprintf("no stored samples of model %q", parts[0].Model), Hint: hint}
		}
	}
	c := &comparison{o: o, a: sides[0], b: sides[1], categories: map[string]string{}, directions: map[string]string{}}
	r := &Result{A: nameOf(a[0]), B: nameOf(b[0]), Method: o.method(), own: a[0].Folder.Manifest.Config.Profile()}
	for _, s := range append(slices.Clone(a), b...) { // of what both name, B's counts
		if s.Folder.Manifest.Config.Profile() != r.own {
			r.own = core.Strict
		}
		for _, l := range reader.table(s.Folder) {
			if l.Category != "" || c.categories[l.Task] == "" {
				c.categories[l.Task] = l.Category
			}
			c.directions[l.Metric] = l.Better
		}
	}
	for _, task := range o.Tasks {
		if sides[0].tasks[task] == nil && sides[1].tasks[task] == nil {
			known := slices.Sorted(maps.Keys(sides[0].tasks))
			hint := "the tasks of A: " + strings.Join(known, ", ")
			if near := nearest.Word(task, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, &core.UserError{Where: a[0].Folder.Path + " and " + b[0].Folder.Path, Message: fmt.Sprintf("no samples of task %q", task), Hint: hint}
		}
	}
	for _, x := range a {
		for _, y := range b {
			if sharesTask(x.Folder.Manifest, y.Folder.Manifest) {
				r.Warnings = append(r.Warnings, settingsWarnings(x.Folder.Manifest, y.Folder.Manifest)...)
			}
		}
	}
	c.result = r
	c.tasks()
	if len(r.Lines) == 0 {
		return nil, &core.UserError{Where: a[0].Folder.Path + " and " + b[0].Folder.Path, Message: "no sample was answered and scored in both", Hint: "runs can be compared when they ran the same tasks on the same rows"}
	}
	if err := c.test(ctx); err != nil {
		return nil, err
	}
	c.finish()
	return r, nil
}

// method says how p values and intervals are made.
func (o Options) method() string {
	graded := fmt.Sprintf("paired bootstrap, %d resamples, seed %d, percentile interval; no p below 2^(1-m) for m rows that differ", o.Resamples, o.Seed)
	if o.ClosedForm {
		graded = "Student's t on the differences, and its interval; no p below 2^(1-m) for m rows that differ (evalrun compare draws a bootstrap instead)"
	}
	return "Paired by task, sample and repeat; repeats of a row are averaged first. Right-or-wrong metrics: McNemar's exact test, Newcombe's paired interval. " +
		"Graded metrics: " + graded + ". Rows that share a cluster (cluster: in the task) are drawn together, and a t has the standard error of clusters, right-or-wrong metrics too. " +
		"p values adjusted by Holm's method over all lines of a profile, and over its macro rows by themselves. Macro rows: mean over tasks, normal interval, tasks independent."
}

func nameOf(s Side) Name {
	return Name{Run: s.Folder.Manifest.ID, Model: s.Model, Tag: s.Folder.Manifest.Tag}
}

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
	p := pairing{low: 0, high: 1, binary: true}
	known := false
	if c.o.Info != nil {
		var info core.MetricInfo
		if info, known = c.o.Info(m.Metric, m.Profile); known {
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
	count, row := 0, "" // repeats of the present row
	var clusters clusterNumbers
	for _, at := range shared {
		sample := ta.list[at[0]].sample
		va, vb := ta.list[at[0]].value(columnA), tb.list[at[1]].value(columnB)
		if math.IsNaN(va) || math.IsNaN(vb) {
			l.Unjudged++
			continue
		}
		if count > 0 && sample == row {
			last := len(p.a) - 1
			p.a[last] += (va - p.a[last]) / float64(count+1)
			p.b[last] += (vb - p.b[last]) / float64(count+1)
			count++
			p.binary = false
			continue
		}
		p.a, p.b, count, row = append(p.a, va), append(p.b, vb), 1, sample
		clusters.add(ta.list[at[0]].cluster, tb.list[at[1]].cluster)
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
