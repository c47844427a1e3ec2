// Package record is the line format of a run's samples.jsonl: one finished
// sample a line, appended and never rewritten.
//
// The runner writes records, results reads them, and the replay backend
// answers from them; this package is the one place that knows the keys.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/evalrun/evalrun/core"
)

// Version is the format that this package writes. A reader refuses newer ones.
const Version = 1

// A Record is one sample's whole story in one run.
type Record struct {
	V      int    `json:"v"`
	Task   string `json:"task"`
	Model  string `json:"model"` // the label of the table's column
	Sample string `json:"sample"`
	Index  int    `json:"index"`
	Repeat int    `json:"repeat,omitempty"`
	// Cluster is equal for samples that depend on each other; empty is none.
	Cluster string `json:"cluster,omitempty"`

	Prompt        string          `json:"prompt,omitempty"`
	Messages      []core.Message  `json:"messages,omitempty"`
	Continuations []string        `json:"continuations,omitempty"`
	Generation    *Generation     `json:"generation,omitempty"`
	PromptCut     int             `json:"prompt_cut,omitempty"` // characters that the profile cut off its end
	Targets       []string        `json:"targets"`
	Gold          []int           `json:"gold,omitempty"`   // places of the targets among the choices
	Fields        json.RawMessage `json:"fields,omitempty"` // only the columns that a metric needs

	Response      string            `json:"response"`
	Finish        core.FinishReason `json:"finish,omitempty"`
	Likelihoods   []core.Likelihood `json:"likelihoods,omitempty"`
	Extracted     *string           `json:"extracted,omitempty"` // what the task's pipeline found, when it has one
	ExtractFailed bool              `json:"extract_failed,omitempty"`
	ExtractError  string            `json:"extract_error,omitempty"` // why, where it is more than nothing found: a pattern's time limit
	Scores        []Score           `json:"scores,omitempty"`

	Usage     core.Usage `json:"usage"`
	Truncated int        `json:"truncated,omitempty"`
	Seconds   float64    `json:"seconds"`
	CostUSD   float64    `json:"cost_usd,omitempty"`
	Cached    bool       `json:"cached,omitempty"`
	Attempts  int        `json:"attempts,omitempty"`
	Error     *Error     `json:"error,omitempty"` // an API error: the sample has no verdict
}

// Generation is what was asked of the sampler, as stored: the fields of
// core.Generation, in their order.
type Generation struct {
	MaxTokens         int      `json:"max_tokens"`
	Temperature       float64  `json:"temperature"`
	TopP              float64  `json:"top_p,omitempty"`
	TopK              int      `json:"top_k,omitempty"`
	MinP              float64  `json:"min_p,omitempty"`
	RepetitionPenalty float64  `json:"repetition_penalty,omitempty"`
	FrequencyPenalty  float64  `json:"frequency_penalty,omitempty"`
	PresencePenalty   float64  `json:"presence_penalty,omitempty"`
	Seed              uint64   `json:"seed,omitempty"`
	Stop              []string `json:"stop,omitempty"`
}

// Score is one metric's verdict in one profile.
type Score struct {
	Metric    string       `json:"metric"`
	Profile   core.Profile `json:"profile"`
	Value     Float        `json:"value"`
	Extracted string       `json:"extracted,omitempty"`
	Failed    bool         `json:"failed,omitempty"`
	Dropped   bool         `json:"dropped,omitempty"`
	Skipped   string       `json:"skipped,omitempty"`
	Warning   string       `json:"warning,omitempty"`
	Note      string       `json:"note,omitempty"`
	// Parts are those that the metric needs to sum the samples up.
	Parts map[string]float64 `json:"parts,omitempty"`
	// Vote is equal where a majority is sought and the judged texts are equal.
	Vote string `json:"vote,omitempty"`
}

// Error is a request's failure as stored.
type Error struct {
	Code    core.Code `json:"code"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
	Status  int       `json:"status,omitempty"`
}

// Key identifies a sample's place in a run: a later record of the same key
// replaces an earlier one.
type Key struct {
	Model, Task, Sample string
	Repeat              int
}

// Key of the record.
func (r *Record) Key() Key { return Key{r.Model, r.Task, r.Sample, r.Repeat} }

// Done tells whether the sample needs no further request: an API error is
// tried again when the run is resumed.
func (r *Record) Done() bool { return r.Error == nil }

// Float is a float64 whose JSON holds what numbers cannot: "NaN", "Infinity"
// and "-Infinity".
type Float float64

// MarshalJSON writes the shortest text that reads back equal.
func (f Float) MarshalJSON() ([]byte, error) {
	v := float64(f)
	switch {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads a number or one of the three words; null is neither.
func (f *Float) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"NaN"`:
		*f = Float(math.NaN())
	case `"Infinity"`:
		*f = Float(math.Inf(1))
	case `"-Infinity"`:
		*f = Float(math.Inf(-1))
	default:
		v, err := strconv.ParseFloat(string(b), 64)
		if err != nil {
			return fmt.Errorf("not a number: %.20s", b)
		}
		*f = Float(v)
	}
	return nil
}

// FromGeneration converts the request's settings to their stored form.
func FromGeneration(g core.Generation) *Generation {
	stored := Generation(g) // field by field the same, which the compiler sees to
	return &stored
}

// Core converts back to the request's settings.
func (g *Generation) Core() core.Generation {
	if g == nil {
		return core.Generation{}
	}
	return core.Generation(*g)
}

// FromScore is a verdict as stored, without what asked for judgements.
func FromScore(metric string, profile core.Profile, s core.Score) Score {
	return Score{Metric: metric, Profile: profile, Value: Float(s.Value), Extracted: s.Extracted, Failed: s.Failed, Dropped: s.Dropped,
		Skipped: s.Skipped, Warning: s.Warning, Note: s.Note, Parts: s.Parts}
}

// Core converts back to the verdict.
func (s *Score) Core() core.Score {
	return core.Score{Value: float64(s.Value), Extracted: s.Extracted, Failed: s.Failed, Dropped: s.Dropped,
		Skipped: s.Skipped, Warning: s.Warning, Note: s.Note, Parts: s.Parts}
}

// FieldMap decodes the kept columns; whole numbers stay int64.
func (r *Record) FieldMap() map[string]any {
	if len(r.Fields) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(r.Fields))
	dec.UseNumber()
	m := map[string]any{}
	if dec.Decode(&m) != nil {
		return nil
	}
	for k, v := range m {
		m[k] = plain(v)
	}
	return m
}

func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}
