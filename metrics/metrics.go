// Package metrics judges answers: the functions that the LoRA Land report
// scored with, and a few general ones. docs/metrics.md defines each of them.
//
// Every metric knows two profiles. [core.Bakeoff] repeats the published
// evaluator, quirks included, on the raw answer; where that program would have
// stopped with an exception the item is dropped, with a note. [core.Strict]
// follows the report's text on the extracted answer: the first match of a whole
// word of the vocabulary counts, numbers are clipped to the range, and an answer
// in which nothing is found scores the lowest value and is flagged as failed.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/metrics/humaneval"
)

// A Factory makes one metric of the list.
type Factory struct {
	// Name is what task files say.
	Name string
	// Summary is one line for `evalrun ls metrics`.
	Summary string
	// Params names the parameters that a task file may give.
	Params []string

	make func(spec core.MetricSpec, profile core.Profile) (core.Metric, error)
}

// New makes the metric for one profile.
func (f Factory) New(params map[string]any, profile core.Profile) (core.Metric, error) {
	if profile != core.Strict && profile != core.Bakeoff {
		return nil, fmt.Errorf("metric %s: unknown profile %q (known: %s, %s)", f.Name, profile, core.Strict, core.Bakeoff)
	}
	for name := range params {
		if !slices.Contains(f.Params, name) {
			known := "it has none"
			if len(f.Params) > 0 {
				known = "known: " + strings.Join(f.Params, ", ")
			}
			return nil, fmt.Errorf("metric %s: unknown parameter %q (%s)", f.Name, name, known)
		}
	}
	m, err := f.make(core.MetricSpec{Name: f.Name, Params: params}, profile)
	if err != nil {
		return nil, fmt.Errorf("metric %s: %w", f.Name, err)
	}
	return m, nil
}

// Builtin lists the metrics that evalrun brings, in the order of the
// documentation.
func Builtin() []Factory {
	list := []Factory{
		labelFactory("accuracy", "the label equals the target", nil, pyAccuracy),
		labelFactory("binary_accuracy_flex", "yes/no, true/false, 1/0 and positive/negative are one vocabulary", binaryVocabulary, pyBinaryAccuracyFlex),
		labelFactory("mnli_accuracy", "0, 1 or 2", digitVocabulary("0", "1", "2"), pyMnliAccuracy),
		labelFactory("mrpc_accuracy", "0 or 1", digitVocabulary("0", "1"), pyMrpcAccuracy),
		labelFactory("hellaswag_accuracy", "0, 1, 2 or 3", digitVocabulary("0", "1", "2", "3"), pyHellaswagAccuracy),
		labelFactory("mmlu_accuracy", "1, 2, 3 or 4", digitVocabulary("1", "2", "3", "4"), pyMmluAccuracy),
		labelFactory("arc_accuracy", "the mark of a choice: A to E or 1 to 5", letterVocabulary, pyUnpublished),
		labelFactory("covid_accuracy", "one of five sentiments", covidVocabulary, pyUnpublished),
		labelFactory("winogrande_accuracy", "1 or 2", digitVocabulary("1", "2"), pyUnpublished),
		labelFactory("customer_support_accuracy", "the purpose of a call", supportVocabulary, pyCustomerSupportAccuracy),
		labelFactory("dbpedia", "one of 14 classes", dbpediaVocabulary, pyDbpedia),
		stsbFactory(),
		gsm8kFactory(),
		rougeFactory("rouge", "ROUGE-L F-measure"),
		rougeFactory("rougeL", "ROUGE-L F-measure"),
		rougeFactory("rougeLsum", "ROUGE-L F-measure line by line"),
		dropFactory(),
		labelAndExplanationFactory(),
		exactMatchFactory(),
		tokenF1Factory(),
		bleuFactory(),
		chrfFactory(),
		humanevalFactory(),
		judgeFactory(),
	}
	list = append(list, likelihoodMetrics()...)
	for n := 1; n <= 9; n++ {
		name := fmt.Sprintf("rouge%d", n)
		list = append(list, rougeFactory(name, fmt.Sprintf("ROUGE-%d F-measure", n)))
	}
	return list
}

// Names lists the names of Builtin.
func Names() []string {
	var names []string
	for _, f := range Builtin() {
		names = append(names, f.Name)
	}
	return names
}

// ErrUnknown is wrapped by New for a name that Builtin does not have.
var ErrUnknown = errors.New("unknown metric")

// New makes a metric by the name that a task file gives.
func New(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	for _, f := range Builtin() {
		if f.Name == spec.Name {
			return f.New(spec.Params, profile)
		}
	}
	return nil, fmt.Errorf("%w %q (known: %s)", ErrUnknown, spec.Name, strings.Join(Names(), ", "))
}

// itemMetric judges items one by one with a function, which gets no item
// without a target.
type itemMetric struct {
	info  core.MetricInfo
	score func(*core.Item) core.Score
}

// rawMetric is one that looks at the whole answer, whatever is extracted.
type rawMetric struct{ itemMetric }

// Info describes the metric.
func (m *rawMetric) Info() core.MetricInfo { return m.info }

// Info describes the metric.
func (m *itemMetric) Info() core.MetricInfo {
	i := m.info
	i.ReadsText = true
	return i
}

// Score judges each item; an error comes only from the context.
func (m *itemMetric) Score(ctx context.Context, items []core.Item) ([]core.Score, error) {
	scores := make([]core.Score, len(items))
	for i := range items {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("score item %s: %w", items[i].ID, err)
		}
		if len(items[i].Targets) == 0 {
			scores[i].Skipped = "the row has no target"
			continue
		}
		scores[i] = m.score(&items[i])
	}
	return scores, nil
}

// Aggregate is the mean with its interval; see Mean.
func (m *itemMetric) Aggregate(scores []core.Score) core.Aggregate { return Mean(m.info, scores) }

// Mean is how every metric here combines scores: the mean of the items that
// were judged, not dropped, and have a finite value. The interval at 95 % is
// Wilson's for a binary metric and the mean's Student interval, clipped to the
// metric's range, for any other. Without such items Score is NaN and Skip says
// why.
func Mean(info core.MetricInfo, scores []core.Score) core.Aggregate {
	a, judged := core.Judged(scores)
	if a.N == 0 {
		return a
	}
	values := make([]float64, 0, a.N)
	wins := 0
	for _, i := range judged {
		values = append(values, scores[i].Value)
		if scores[i].Value == info.High {
			wins++
		}
	}
	a.Score, a.StdErr = stats.MeanStderr(values)
	var interval stats.Interval
	if info.Binary {
		interval, a.Method = stats.Wilson(wins, a.N, 0.95), "wilson"
		if info.Low != 0 || info.High != 1 {
			width := info.High - info.Low
			interval.Low, interval.High = info.Low+width*interval.Low, info.Low+width*interval.High
		}
	} else {
		interval, a.Method = stats.MeanInterval(values, info.Low, info.High, 0.95), "student-t"
	}
	a.Low95, a.High95 = interval.Low, interval.High
	return a
}

// failed is the verdict of the strict profile on an answer in which nothing
// was found.
func failed(note string) core.Score { return core.Score{Failed: true, Note: note} }

// publishedMetric makes the bakeoff profile of a function of the published
// evaluator.
func publishedMetric(info core.MetricInfo, f pyFunction) core.Metric {
	info.Profile = core.Bakeoff
	return &rawMetric{itemMetric{info, func(it *core.Item) core.Score {
		v := f(it.Raw, it.Targets[0])
		if v.raised != "" {
			return core.Score{Dropped: true, Note: "the published function stops with " + v.raised, Extracted: it.Raw}
		}
		return core.Score{Value: v.value, Extracted: it.Raw}
	}}}
}

func humanevalFactory() Factory {
	return Factory{
		Name: "humaneval", Summary: "pass@1: the completed program passes its tests in an isolated Python process",
		Params: humaneval.Params(),
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			return humaneval.New(spec.Params, profile)
		},
	}
}
