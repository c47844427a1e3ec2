// Package decide weighs a fine-tuned model against an API: what each costs at a
// given traffic, from how many calls a day fine-tuning pays, at what quality,
// and how sure all of it is.
//
// Every number that is not measured is an assumption: it stands in one list
// ([Assumptions]), has a range, is printed with where it came from, and can be
// set. Ranges are carried through by drawing: each draw takes every assumption
// from its range and gives one set of costs; what is printed are medians and
// 90 % ranges over the draws, and shares of draws as probabilities.
package decide

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// A Range is what a number may be: at least, most likely, at most. A number that
// is known has three equal ones.
type Range struct {
	Low, Likely, High float64
}

// Known is the range of a number without doubt.
func Known(v float64) Range { return Range{v, v, v} }

// Certain tells whether there is no doubt.
func (r Range) Certain() bool { return r.Low == r.High }

// draw takes a value from the triangular distribution over the range.
func (r Range) draw(rng *rand.Rand) float64 {
	u, width := rng.Float64(), r.High-r.Low
	if width <= 0 {
		return r.Likely
	}
	if cut := (r.Likely - r.Low) / width; u < cut {
		return r.Low + math.Sqrt(u*width*(r.Likely-r.Low))
	}
	return r.High - math.Sqrt((1-u)*width*(r.High-r.Likely))
}

// String writes a range as --set reads it.
func (r Range) String() string {
	if r.Certain() {
		return short(r.Likely)
	}
	return short(r.Low) + "," + short(r.Likely) + "," + short(r.High)
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// An Assumption is one number that the decision rests on.
type Assumption struct {
	Key   string
	Value Range
	Unit  string
	// Why says where the default comes from.
	Why string
	// From says where the value comes from: default, a file, --set, or a run.
	From string

	most float64 // 0 is no bound
}

// fromDefault marks values that nobody set.
const fromDefault = "default"

// Assumptions are all of them, in the order in which they are printed.
type Assumptions []Assumption

// Default gives the assumptions as they are before anything is known of the
// case. Prices are list prices of 2024, the year of the LoRA Land report;
// throughput is that of its tables.
func Default() Assumptions {
	a := Assumptions{
		{Key: "traffic.calls_per_day", Value: Known(1000), Unit: "calls", Why: "a guess: set yours"},
		{Key: "traffic.input_tokens", Value: Known(265), Unit: "tokens a call", Why: "mean of the 30 to 500 of the report's serving benchmark"},
		{Key: "traffic.output_tokens", Value: Known(60), Unit: "tokens a call", Why: "mean of the 1 to 120 of the report's serving benchmark"},
		{Key: "traffic.horizon_days", Value: Range{180, 365, 730}, Unit: "days", Why: "how long the model is used before it has to be made again"},
		{Key: "traffic.peak_factor", Value: Range{2, 4, 8}, Unit: "times the mean", Why: "calls come by day; GPUs are bought for the peak"},

		{Key: "api.usd_per_million_input", Value: Known(30), Unit: "USD", Why: "GPT-4 (gpt-4-0613), list price"},
		{Key: "api.usd_per_million_output", Value: Known(60), Unit: "USD", Why: "GPT-4 (gpt-4-0613), list price"},
		{Key: "api.price_change", Value: Range{0.5, 0.8, 1}, Unit: "times the price", Why: "mean over the horizon; prices of APIs have fallen"},

		{Key: "training.gpu_hours", Value: Range{4, 8, 24}, Unit: "hours a run", Why: "40,000 examples, LoRA on 7B, one A10G"},
		{Key: "training.usd_per_gpu_hour", Value: Range{0.6, 1, 1.5}, Unit: "USD", Why: "A10G with 24 GB"},
		{Key: "training.runs", Value: Range{1, 3, 10}, Unit: "runs", Why: "until one is kept"},
		{Key: "training.labels", Value: Known(0), Unit: "rows", Why: "rows still to be labelled; set yours"},
		{Key: "training.usd_per_label", Value: Range{0.05, 0.2, 1}, Unit: "USD", Why: "a minute of a labeller, or a call of a large model"},
		{Key: "training.work_hours", Value: Range{8, 24, 80}, Unit: "hours", Why: "data, runs, review, going live"},
		{Key: "training.usd_per_work_hour", Value: Range{50, 90, 150}, Unit: "USD", Why: "an engineer, overheads included"},

		{Key: "serving.usd_per_gpu_hour", Value: Range{1, 2, 4}, Unit: "USD", Why: "A100 with 80 GB, on demand"},
		{Key: "serving.share", Value: Known(1), Unit: "of a GPU", Why: "least that is paid for; 0.04 where 25 adapters share one", most: 1},
		{Key: "serving.output_tokens_per_second", Value: Range{500, 900, 1000}, Unit: "tokens a GPU", Why: "tables 8 and 9 at 50 users, 7B"},
		{Key: "serving.input_tokens_per_second", Value: Range{5000, 10000, 20000}, Unit: "tokens a GPU", Why: "prefill is compute-bound; measure with evalrun bench"},
		{Key: "serving.work_hours_per_month", Value: Range{1, 4, 16}, Unit: "hours", Why: "keeping it up"},

		{Key: "quality.usd_per_error", Value: Known(0), Unit: "USD", Why: "what a lost point of score costs on a call; 0 leaves quality out of the costs"},
		{Key: "quality.acceptable_loss", Value: Known(0.01), Unit: "of the score", Why: "a model worse by less is as good for you", most: 1},
	}
	for i := range a {
		a[i].From = fromDefault
	}
	return a
}

// Get gives a value; a key that is not there is a defect.
func (a Assumptions) Get(key string) Range {
	for _, x := range a {
		if x.Key == key {
			return x.Value
		}
	}
	panic("BUG: no assumption " + key)
}

// Keys lists the names.
func (a Assumptions) Keys() []string {
	var out []string
	for _, x := range a {
		out = append(out, x.Key)
	}
	return out
}

// Set changes a value and notes where it came from. The error of an unknown key
// names the nearest.
func (a Assumptions) Set(key string, v Range, from string) error {
	for i := range a {
		if a[i].Key != key {
			continue
		}
		if !(v.Low >= 0 && v.Low <= v.Likely && v.Likely <= v.High) || math.IsInf(v.High, 0) {
			return &core.UserError{Message: fmt.Sprintf("%s cannot be %s", key, v), Hint: "a number from 0 up, or three in order: low, likely, high"}
		}
		if a[i].most > 0 && v.High > a[i].most {
			return &core.UserError{Message: fmt.Sprintf("%s cannot be above %g", key, a[i].most), Hint: a[i].Why}
		}
		if needsMore[key] && v.Low <= 0 {
			return &core.UserError{Message: fmt.Sprintf("%s has to be above 0", key), Hint: a[i].Why}
		}
		a[i].Value, a[i].From = v, from
		return nil
	}
	hint := "evalrun new decide writes all of them with what they mean"
	if near := nearest.Word(key, a.Keys()); near != "" {
		hint = "did you mean " + near + "?"
	} else {
		name := key[strings.LastIndexByte(key, '.')+1:]
		for _, k := range a.Keys() { // the right name in the wrong section, or in none
			if strings.HasSuffix(k, "."+name) {
				hint = "did you mean " + k + "?"
			}
		}
	}
	return &core.UserError{Message: fmt.Sprintf("no assumption %q", key), Hint: hint}
}

// needsMore are divided by.
var needsMore = map[string]bool{"traffic.horizon_days": true, "serving.output_tokens_per_second": true, "serving.input_tokens_per_second": true, "traffic.peak_factor": true}

// SetText reads key=value, the value a number or low,likely,high.
func (a Assumptions) SetText(pair string) error {
	key, text, ok := strings.Cut(pair, "=")
	where := "--set " + pair
	if !ok {
		return &core.UserError{Where: where, Message: "not of the form key=value", Hint: "for example --set traffic.calls_per_day=5000, or three numbers: =1000,5000,20000"}
	}
	v, err := ParseRange(strings.Split(strings.Trim(text, "[] "), ","))
	if err == nil {
		err = a.Set(strings.TrimSpace(key), v, "--set")
	}
	return at(where, err)
}

// at puts a place before an error that has none.
func at(where string, err error) error {
	if u, ok := err.(*core.UserError); ok && u.Where == "" {
		u.Where = where
	}
	return err
}

// ParseRange reads one number, or low, likely and high.
func ParseRange(words []string) (Range, error) {
	var v []float64
	for _, w := range words {
		x, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(w), "_", ""), 64)
		if err != nil || math.IsNaN(x) {
			return Range{}, &core.UserError{Message: fmt.Sprintf("%q is no number", strings.TrimSpace(w)), Hint: "a number, or three: low, likely, high"}
		}
		v = append(v, x)
	}
	switch len(v) {
	case 1:
		return Known(v[0]), nil
	case 3:
		return Range{v[0], v[1], v[2]}, nil
	}
	return Range{}, &core.UserError{Message: fmt.Sprintf("%d numbers", len(v)), Hint: "give one number, or three: low, likely, high"}
}

// Read takes over a file of assumptions; what it does not name keeps its value.
// Errors name line and column.
func (a Assumptions) Read(path string, b []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return &core.UserError{Where: path, Message: "not YAML", Err: err, Hint: "evalrun new decide writes a file to start from"}
	}
	if len(doc.Content) == 0 {
		return nil
	}
	place := func(n *yaml.Node) string { return fmt.Sprintf("%s:%d:%d", path, n.Line, n.Column) }
	set := func(full string, key, value *yaml.Node) error {
		var words []string
		switch value.Kind {
		case yaml.ScalarNode:
			words = strings.Split(value.Value, ",")
		case yaml.SequenceNode:
			for _, n := range value.Content {
				words = append(words, n.Value)
			}
		}
		v, err := ParseRange(words)
		if err != nil {
			if !slices.Contains(a.Keys(), full) {
				err = a.Set(full, Known(1), path) // the key is what is wrong
			}
			return at(place(value), err)
		}
		return at(place(key), a.Set(full, v, path))
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return &core.UserError{Where: place(root), Message: "not a list of sections", Hint: "evalrun new decide writes a file to start from"}
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, section := root.Content[i], root.Content[i+1]
		if section.Kind != yaml.MappingNode {
			if section.Tag == "!!null" && !strings.Contains(name.Value, ".") {
				continue // a section whose every line is commented out
			}
			if err := set(name.Value, name, section); err != nil {
				return err
			}
			continue
		}
		for k := 0; k+1 < len(section.Content); k += 2 {
			if err := set(name.Value+"."+section.Content[k].Value, section.Content[k], section.Content[k+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// YAML is a commented file of the assumptions, ready to be changed.
func (a Assumptions) YAML() []byte {
	var b strings.Builder
	b.WriteString("# What evalrun decide assumes. Change what you know better; evalrun decide --assume FILE\n" +
		"# reads it. A value is a number, or a range as [low, likely, high].\n")
	section := ""
	for _, x := range a {
		s, key, _ := strings.Cut(x.Key, ".")
		if s != section {
			fmt.Fprintf(&b, "\n%s:\n", s)
			section = s
		}
		value := x.Value.String()
		if !x.Value.Certain() {
			value = "[" + strings.ReplaceAll(value, ",", ", ") + "]"
		}
		fmt.Fprintf(&b, "  # %s: %s\n  %s: %s\n", x.Unit, x.Why, key, value)
	}
	return []byte(b.String())
}

// unknownTask names the nearest task of the report.
func unknownTask(task string, names []string) error {
	hint := "evalrun ls tasks lists the 31 tasks of the LoRA Land report"
	if near := nearest.Word(task, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &core.UserError{Where: "--task " + task, Message: "the LoRA Land report has no such task", Hint: hint}
}
