package run

import (
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// A Tally gathers the records of one task under one model, fresh ones and
// stored ones alike, and sums them up. It is used by one goroutine at a time.
type Tally struct {
	task   *core.Task
	model  string
	judges []Judge
	names  []string // of the judges
	seed   maphash.Seed

	verdicts [][]verdict                    // by judge, in the order in which they came
	skips    []string                       // the reasons that verdicts name by number
	parts    []map[int32]map[string]float64 // by judge and place, where a metric needs them
	warnings [][]Warning                    // by judge, in the order in which they first came
	repeats  int
	targets  []Target
	stride   int
	clusters map[int]int    // of each row's index, where rows share a cluster
	named    map[string]int // clusters by name

	counts Counts
}

// A verdict is what a tally keeps of a score: runs of a hundred thousand samples
// must fit into little memory.
type verdict struct {
	value           float64
	text            uint64 // hash of the text that was judged, where a majority is sought
	place           int32  // index × repeats + repeat: sample order
	skip            int16  // 0 is none, else 1 + its place in skips
	failed, dropped bool
}

// Counts are the quality flags that stand beside a score.
type Counts struct {
	// Samples were asked; Answered got an answer.
	Samples, Answered int
	// APIErrors got none: they are no verdict on the model.
	APIErrors int
	// Truncated prompts lost tokens, or characters to the bakeoff profile; Cut answers ended at the token limit.
	Truncated, Cut int
	// Settled answers ended early, because nothing more could change what is
	// read from them; Saved is how many tokens they might have gone on for.
	Settled, Saved int
	// Empty answers hold nothing but blanks; the service's filter cut Withheld
	// ones or kept them back; Cached ones were not computed in this run.
	Empty, Withheld, Cached int
	Usage                   core.Usage
	CostUSD                 float64
	Seconds                 float64 // summed over answers
}

// Target is a row's accepted answers with its place, kept for the baseline.
type Target struct {
	Index   int
	Answers []string
}

// maxTargets bounds what the baseline looks at; a longer run keeps every n-th.
const maxTargets = 4096

// NewTally starts at nothing.
func NewTally(task *core.Task, model string, judges []Judge, repeats int) *Tally {
	t := &Tally{task: task, model: model, judges: judges, repeats: max(repeats, 1), stride: 1, seed: maphash.MakeSeed(),
		verdicts: make([][]verdict, len(judges)), warnings: make([][]Warning, len(judges)), parts: make([]map[int32]map[string]float64, len(judges))}
	for _, j := range judges {
		t.names = append(t.names, j.Name())
	}
	return t
}

// Add counts a record. Callers pass each sample once: its answer where there is
// one, else its last API error.
func (t *Tally) Add(r *record.Record) {
	t.counts.Samples++
	if r.Error != nil {
		t.counts.APIErrors++
		return
	}
	t.counts.Answered++
	if r.Truncated > 0 || r.PromptCut > 0 {
		t.counts.Truncated++
	}
	if r.Finish == core.FinishLength {
		t.counts.Cut++
	}
	if r.Finish == core.FinishFilter {
		t.counts.Withheld++
	}
	if r.Finish == core.FinishUntil {
		t.counts.Settled++
		if r.Generation != nil {
			t.counts.Saved += max(0, r.Generation.MaxTokens-r.Usage.Completion)
		}
	}
	if isBlank(r.Response) && len(r.Likelihoods) == 0 {
		t.counts.Empty++
	}
	if r.Cached {
		t.counts.Cached++
	}
	t.counts.Usage.Prompt += r.Usage.Prompt
	t.counts.Usage.Completion += r.Usage.Completion
	t.counts.Usage.Shared += r.Usage.Shared
	t.counts.CostUSD += r.CostUSD
	t.counts.Seconds += r.Seconds

	place := r.Index*t.repeats + r.Repeat
	for i, j := range t.judges {
		for _, s := range r.Scores {
			if s.Metric == t.names[i] && s.Profile == j.Profile {
				v := verdict{place: int32(place), value: float64(s.Value), failed: s.Failed, dropped: s.Dropped, skip: t.reason(s.Skipped)}
				if j.Reduce.Kind == "majority" {
					text, _ := j.text(r.Response)
					v.text = maphash.String(t.seed, text)
				}
				t.verdicts[i] = append(t.verdicts[i], v)
				if len(s.Parts) > 0 {
					if t.parts[i] == nil {
						t.parts[i] = map[int32]map[string]float64{}
					}
					t.parts[i][int32(place)] = s.Parts
				}
				if s.Warning != "" {
					t.warn(i, s.Warning)
				}
				if r.ExtractError != "" && j.Pipeline == "" {
					t.warn(i, "extraction ran out of time")
				}
				break
			}
		}
	}
	if r.Cluster != "" {
		t.addCluster(r.Index, r.Cluster)
	}
	if r.Repeat == 0 {
		t.addTarget(r.Index, r.Targets)
	}
}

// A Warning is what a metric found wrong with rows, and with how many samples.
type Warning struct {
	Text    string `json:"text"`
	Samples int    `json:"samples"`
}

// maxWarnings bounds the different warnings of one judge.
const maxWarnings = 20

func (t *Tally) warn(judge int, text string) {
	at := slices.IndexFunc(t.warnings[judge], func(w Warning) bool { return w.Text == text })
	switch {
	case at >= 0:
		t.warnings[judge][at].Samples++
	case len(t.warnings[judge]) < maxWarnings:
		t.warnings[judge] = append(t.warnings[judge], Warning{text, 1})
	}
}

// notJudged counts a judge's skipped verdicts by their reason.
func (t *Tally) notJudged(judge int) (out []Warning) {
	counts := map[int16]int{}
	for _, v := range t.verdicts[judge] {
		if v.skip > 0 {
			counts[v.skip]++
		}
	}
	for skip, n := range counts {
		out = append(out, Warning{"not judged: " + t.skips[skip-1], n})
	}
	sortWarnings(out)
	return out[:min(len(out), maxWarnings)]
}

// sortWarnings puts the most frequent first.
func sortWarnings(all []Warning) {
	slices.SortFunc(all, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), cmp.Compare(a.Text, b.Text))
	})
}

// maxSkips bounds the different reasons that are kept; what comes after them
// takes the last one's place.
const maxSkips = 1000

// reason numbers the texts of skipped items, which are few.
func (t *Tally) reason(text string) int16 {
	if text == "" {
		return 0
	}
	i := slices.Index(t.skips, text)
	if i < 0 {
		if len(t.skips) < maxSkips {
			t.skips = append(t.skips, text)
		}
		i = len(t.skips) - 1
	}
	return int16(i) + 1
}

// addTarget keeps every stride-th row, so that what is kept does not depend on
// the order in which answers came.
func (t *Tally) addTarget(index int, answers []string) {
	if index%t.stride != 0 {
		return
	}
	t.targets = append(t.targets, Target{index, answers})
	for len(t.targets) > maxTargets {
		t.stride *= 2
		kept := t.targets[:0]
		for _, x := range t.targets {
			if x.Index%t.stride == 0 {
				kept = append(kept, x)
			}
		}
		t.targets = kept
	}
}

// Scores gives one judge's verdicts in sample order, without the places that
// have none.
func (t *Tally) Scores(judge int) []core.Score { return t.scores(judge, nil) }

// scores is Scores into buf, where it is large enough.
func (t *Tally) scores(judge int, buf []core.Score) []core.Score {
	slices.SortStableFunc(t.verdicts[judge], func(a, b verdict) int { return cmp.Compare(a.place, b.place) })
	out := buf[:0]
	if cap(out) < len(t.verdicts[judge]) {
		out = make([]core.Score, 0, len(t.verdicts[judge]))
	}
	out = out[:len(t.verdicts[judge])]
	for i, v := range t.verdicts[judge] {
		out[i] = t.score(judge, v)
	}
	return out
}

// score is what a metric's Aggregate gets of a verdict.
func (t *Tally) score(judge int, v verdict) core.Score {
	s := core.Score{Value: v.value, Failed: v.failed, Dropped: v.dropped, Parts: t.parts[judge][v.place]}
	if v.skip > 0 {
		s.Skipped = t.skips[v.skip-1]
	}
	return s
}

// Counts gives the flags so far.
func (t *Tally) Counts() Counts { return t.counts }

// A BaselineFunc gives the score of the best constant answer, or ok false
// where a constant answer means nothing.
type BaselineFunc func(metric core.Metric, task *core.Task, targets [][]string) (score float64, answer string, ok bool)

// Summary is a task's line in the table, and in scores.json.
type Summary struct {
	Task, Model, Category string
	Results               []Result
	Counts                Counts
	// Unfinished says that the run ended before all samples were asked.
	Unfinished bool
	Total      int
}

// Result is one metric in one profile.
type Result struct {
	Metric    core.MetricInfo
	Profile   core.Profile
	Aggregate core.Aggregate
	// Baseline is the best constant answer's score where HasBaseline.
	Baseline       float64
	BaselineAnswer string
	HasBaseline    bool
	// Warnings, the most frequent first.
	Warnings []Warning
}

// Sum gives the summary.
func (t *Tally) Sum(baseline BaselineFunc) Summary {
	s := Summary{Task: t.task.Name, Model: t.model, Category: t.task.Category, Counts: t.counts}
	slices.SortFunc(t.targets, func(a, b Target) int { return cmp.Compare(a.Index, b.Index) })
	targets := make([][]string, len(t.targets))
	for i, x := range t.targets {
		targets[i] = x.Answers
	}
	var buf []core.Score
	for i, j := range t.judges {
		r := Result{Metric: j.info(), Profile: j.Profile, Aggregate: t.aggregate(i, &buf), Warnings: slices.Clone(t.warnings[i])}
		if r.Aggregate.Skip == "" {
			r.Warnings = append(r.Warnings, t.notJudged(i)...)
		}
		sortWarnings(r.Warnings)
		if baseline != nil && len(targets) > 0 {
			r.Baseline, r.BaselineAnswer, r.HasBaseline = baseline(j.Metric, t.task, targets)
		}
		s.Results = append(s.Results, r)
	}
	return s
}
