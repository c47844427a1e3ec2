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
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
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
	return "Paired by task, sample and repeat; repeats of a row are averaged first, or made one verdict as the metric's reduce says. Right-or-wrong metrics: McNemar's exact test, Newcombe's paired interval. " +
		"Graded metrics: " + graded + ". Rows that share a cluster (cluster: in the task) are drawn together, and a t has the standard error of clusters, right-or-wrong metrics too. " +
		"p values adjusted by Holm's method over all lines of a profile, and over its macro rows by themselves. Macro rows: mean over tasks, normal interval, tasks independent."
}

func nameOf(s Side) Name {
	return Name{Run: s.Folder.Manifest.ID, Model: s.Model, Tag: s.Folder.Manifest.Tag}
}
