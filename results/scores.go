package results

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/results/reference"
)

// Scores is scores.json, and what --json prints: the table of a run.
type Scores struct {
	Run           string `json:"run"`
	Demonstration bool   `json:"demonstration,omitempty"`
	// Tasks holds a line a task, model, metric and profile; of one metric the
	// run's own profile comes first.
	Tasks []Score `json:"tasks"`
	// Profile is the run's own: what was sent, and which scores are its numbers;
	// empty means strict.
	Profile core.Profile `json:"profile,omitempty"`
	// Seconds and CostUSD are of the whole run.
	Seconds float64 `json:"seconds"`
	CostUSD float64 `json:"cost_usd"`
	// MinScore is what the run asks of every task's first metric (--min-score); 0
	// is nothing. Each line that it is asked of has it.
	MinScore float64 `json:"-"`
	// Outcome is finished, interrupted, budget, gave_up or failed.
	Outcome string `json:"outcome"`
}

// Own is the profile whose scores are the run's numbers.
func (s *Scores) Own() core.Profile {
	if s.Profile == "" {
		return core.Strict
	}
	return s.Profile
}

// Models lists the columns of the table in order of appearance.
func (s *Scores) Models() []string {
	var out []string
	for _, l := range s.Tasks {
		if !slices.Contains(out, l.Model) {
			out = append(out, l.Model)
		}
	}
	return out
}

// Rows gathers the lines of each task and metric, over models and profiles, in
// order of appearance.
func (s *Scores) Rows() [][]Score {
	type key struct{ task, metric string }
	index := map[key]int{}
	var out [][]Score
	for _, l := range s.Tasks {
		k := key{l.Task, l.Metric}
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], l)
	}
	return out
}

// Score is one task under one model, metric and profile.
type Score struct {
	Task     string       `json:"task"`
	Category string       `json:"category,omitempty"`
	Model    string       `json:"model"`
	Metric   string       `json:"metric"`
	Profile  core.Profile `json:"profile"`
	// Score is absent where there is none: Skipped says why.
	Score    *record.Float  `json:"score"`
	Interval []record.Float `json:"interval,omitempty"`
	Method   string         `json:"interval_method,omitempty"`
	// StdErr is the standard error of the mean, s/√n, where the score is one.
	StdErr   *record.Float `json:"stderr,omitempty"`
	Baseline *record.Float `json:"baseline"`
	Constant string        `json:"baseline_answer,omitempty"`
	N        int           `json:"n"`
	// Answers came back; a reduce makes one item of several. Read it by Answered:
	// earlier versions did not write it.
	Answers int    `json:"answers"`
	Skipped string `json:"skipped,omitempty"`
	Better  string `json:"better"` // higher or lower

	APIErrors        int `json:"api_errors"`
	ExtractionFailed int `json:"extraction_failed"`
	Truncated        int `json:"truncated"`
	Cut              int `json:"cut"`
	// Settled answers ended early, because nothing could change any more what
	// is read from them; they might have gone on for TokensSaved tokens.
	Settled          int     `json:"settled,omitempty"`
	TokensSaved      int     `json:"tokens_saved_at_most,omitempty"`
	Empty            int     `json:"empty"`
	Withheld         int     `json:"withheld"` // by the service's filter, in part or whole
	Dropped          int     `json:"dropped,omitempty"`
	NonFinite        int     `json:"non_finite,omitempty"`
	NotJudged        int     `json:"not_judged,omitempty"` // items that the metric skipped; Warnings say why
	Cached           int     `json:"cached"`
	PromptTokens     int     `json:"prompt_tokens"`
	CompletionTokens int     `json:"completion_tokens"`
	CostUSD          float64 `json:"cost_usd"`
	Seconds          float64 `json:"seconds"`
	Unfinished       bool    `json:"unfinished,omitempty"`
	// Warnings of the metric about rows, with the number of samples.
	Warnings []run.Warning `json:"warnings,omitempty"`
	// Notes of the metric that belong beside the number, such as what held in
	// the programs that it ran.
	Notes []string `json:"notes,omitempty"`

	Published *Published `json:"published,omitempty"`
	// Threshold is the task's, and MinScore the run's own, which goes before it;
	// both are of the first metric in the run's own profile.
	Threshold *float64 `json:"threshold,omitempty"`
	MinScore  *float64 `json:"min_score,omitempty"`
}

// Items is how many verdicts there are, good for the score or not: one an answer,
// or one a row where a reduce makes it of the row's answers.
func (l *Score) Items() int { return l.N + l.Dropped + l.NonFinite + l.NotJudged }

// Answered is how many answers came back, of which counts and tokens are.
func (l *Score) Answered() int {
	if l.Answers > 0 {
		return l.Answers
	}
	return l.Items()
}

// Gate is what the score must reach and what asks for it: "--min-score",
// "threshold", or nothing. Missed says that there is a score and that it does not.
func (l *Score) Gate() (least float64, name string, missed bool) {
	switch {
	case l.MinScore != nil:
		least, name = *l.MinScore, "--min-score"
	case l.Threshold != nil:
		least, name = *l.Threshold, "threshold"
	default:
		return 0, "", false
	}
	if l.Score == nil {
		return least, name, false
	}
	if l.Better == "lower" {
		return least, name, float64(*l.Score) > least
	}
	return least, name, float64(*l.Score) < least
}

// Published are the report's figures for the task. They are other people's
// measurements: OtherPrompt says that ours used another prompt.
type Published struct {
	Metric        string  `json:"metric"`
	GPT4          float64 `json:"gpt_4"`
	BestBase      float64 `json:"best_base"`
	BestFinetuned float64 `json:"best_finetuned"`
	OtherPrompt   bool    `json:"other_prompt"`
}

// PublishedFor gives the report's figures for a task, nil where it names none
// and where the metric measures something else than the report's.
func PublishedFor(p core.Paper, metric core.MetricInfo) *Published {
	if p.Task == "" {
		return nil
	}
	t, ok := reference.Lookup(p.Task)
	if !ok || !comparable(t.Metric, metric) {
		return nil
	}
	base, _ := t.BestBase()
	tuned, _ := t.BestFinetuned()
	return &Published{Metric: t.Metric, GPT4: t.Base[reference.GPT4], BestBase: base, BestFinetuned: tuned, OtherPrompt: p.Prompt != "published"}
}

// comparable tells whether a metric of ours measures what the report's word for
// a metric means: a share of right answers, the mean of ROUGE as its function
// has it, 1 − MAE/5, or pass@1.
func comparable(word string, ours core.MetricInfo) bool {
	switch word {
	case "accuracy":
		// The published function for dbpedia is a ROUGE under that word.
		return ours.Name == "dbpedia" || ours.Binary && ours.HigherIsBetter && ours.Name != "humaneval"
	case "mae":
		return ours.Name == "stsb"
	}
	return ours.Name == word
}

// interval bounds a score at 95 %, clipped to what the metric can give; nil
// where there is none.
func interval(a core.Aggregate, m core.MetricInfo) []record.Float {
	low, high := max(a.Low95, m.Low), min(a.High95, m.High)
	if math.IsNaN(low) || math.IsNaN(high) || low > high {
		return nil
	}
	return []record.Float{record.Float(low), record.Float(high)}
}

// Add appends the lines of one task's summary.
func (s *Scores) Add(sum run.Summary, task *core.Task) {
	for i, r := range sum.Results {
		a := r.Aggregate
		line := Score{
			Task: sum.Task, Category: sum.Category, Model: sum.Model, Metric: r.Metric.Name, Profile: r.Profile, N: a.N,
			Skipped: a.Skip, Better: "higher", Method: a.Method,
			Answers: sum.Counts.Answered, APIErrors: sum.Counts.APIErrors, ExtractionFailed: a.Failed, Truncated: sum.Counts.Truncated, Cut: sum.Counts.Cut,
			Settled: sum.Counts.Settled, TokensSaved: sum.Counts.Saved,
			Empty: sum.Counts.Empty, Withheld: sum.Counts.Withheld, Dropped: a.Dropped, NonFinite: a.NonFinite, Cached: sum.Counts.Cached,
			PromptTokens: sum.Counts.Usage.Prompt, CompletionTokens: sum.Counts.Usage.Completion,
			CostUSD: sum.Counts.CostUSD, Seconds: sum.Counts.Seconds, Unfinished: sum.Unfinished,
			Published: PublishedFor(task.Paper, r.Metric), Warnings: r.Warnings, Notes: r.Metric.Notes,
		}
		if !r.Metric.HigherIsBetter {
			line.Better = "lower"
		}
		if a.N > 0 && a.Skip == "" {
			v := record.Float(a.Score)
			line.Score, line.NotJudged = &v, a.Skipped
			line.Interval = interval(a, r.Metric)
			if !math.IsNaN(a.StdErr) {
				e := record.Float(a.StdErr)
				line.StdErr = &e
			}
		}
		if sum.Counts.Answered == 0 && sum.Counts.APIErrors > 0 {
			line.Skipped = "no request was answered"
		}
		if r.HasBaseline {
			b := record.Float(r.Baseline)
			line.Baseline, line.Constant = &b, r.BaselineAnswer
		}
		if i == 0 {
			line.Threshold = task.Threshold
			if least := s.MinScore; least != 0 {
				line.MinScore = &least
			}
		}
		s.Tasks = append(s.Tasks, line)
	}
	s.CostUSD += sum.Counts.CostUSD
}

// SaveScores writes scores.json.
func (f *Folder) SaveScores(s Scores) error {
	return writeJSON(filepath.Join(f.Path, ScoresFile), s)
}

// Scores reads scores.json; the error is fs.ErrNotExist while the run has not
// ended.
func (f *Folder) Scores() (Scores, error) {
	var s Scores
	b, err := os.ReadFile(filepath.Join(f.Path, ScoresFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, &core.UserError{Where: filepath.Join(f.Path, ScoresFile), Message: "the scores are damaged", Err: err, Hint: "evalrun rescore makes them again from the samples"}
	}
	return s, nil
}
