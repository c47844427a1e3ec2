package metrics

import (
	"errors"
	"fmt"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// noWords is the warning on a reference that cannot score.
const noWords = "references hold no word that ROUGE counts (a-z, 0-9); tokenizer: unicode counts all scripts"

// rougeFactory makes one of the ROUGE F-measures: rouge1 … rouge9, rougeL (also
// called rouge) and rougeLsum. Parameters: variant is the Python package whose
// result is meant; accumulate says how several references count (best for this
// key, or the mean, avg); tokenizer unicode counts the words of all scripts,
// which no package does.
func rougeFactory(name, summary string) Factory {
	return Factory{Name: name, Summary: summary, Params: []string{"variant", "accumulate", "tokenizer"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			variants := []string{string(text.Torchmetrics), string(text.Google), string(text.GoogleStem)}
			if name == "rougeLsum" {
				if spec.Params["variant"] == variants[0] {
					return nil, errors.New("rougeLsum of torchmetrics needs the sentences that NLTK's punkt cuts, and a task has none; variant: google cuts at line ends")
				}
				variants = variants[1:]
			}
			variant, err := choiceParam(spec.Params, "variant", variants...)
			if err != nil {
				return nil, err
			}
			accumulate, err := choiceParam(spec.Params, "accumulate", "best", "avg")
			if err != nil {
				return nil, err
			}
			tokenizer, err := choiceParam(spec.Params, "tokenizer", "ascii", "unicode")
			if err != nil {
				return nil, err
			}
			info := core.MetricInfo{Name: name, Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
			if variant != string(text.Torchmetrics) {
				info.Notes = append(info.Notes, "ROUGE as "+variant+" computes it")
			}
			if tokenizer == "unicode" {
				info.Notes = append(info.Notes, "ROUGE over the words of all scripts, as no other package counts them")
			}
			r := &text.Rouge{Variant: text.Variant(variant), Unicode: tokenizer == "unicode"}
			score := rougeScorer(r, name)
			m := itemMetric{info, func(it *core.Item) core.Score {
				answer := it.Text
				if profile == core.Bakeoff {
					answer = it.Raw
				} else if it.ExtractFailed {
					return failed(extractionFailed)
				}
				results := make([]text.PRF, len(it.Targets))
				for i, t := range it.Targets {
					results[i] = score(answer, t)
				}
				result := text.Best(results)
				if accumulate == "avg" {
					result = text.Mean(results)
				}
				if profile == core.Bakeoff && variant == string(text.Torchmetrics) {
					result.F = float64(float32(result.F))
				}
				return rougeScore(r, it, answer, result, profile)
			}}
			if profile == core.Bakeoff {
				return &rawMetric{m}, nil
			}
			return &m, nil
		}}
}

// rougeScorer is the function that a name stands for.
func rougeScorer(r *text.Rouge, name string) func(prediction, reference string) text.PRF {
	switch name {
	case "rougeLsum":
		return func(p, t string) text.PRF { return r.Lsum(text.Lines(p), text.Lines(t)) }
	case "rouge", "rougeL":
		return r.L
	}
	n := int(name[len(name)-1] - '0')
	return func(p, t string) text.PRF { return r.N(n, p, t) }
}

// rougeScore writes a ROUGE result down, with a warning about what cannot score.
func rougeScore(r *text.Rouge, it *core.Item, answer string, result text.PRF, profile core.Profile) core.Score {
	s := core.Score{Value: result.F, Extracted: answer,
		Parts: map[string]float64{"precision": result.Precision, "recall": result.Recall, "fmeasure": result.F}}
	if profile == core.Strict && !r.Has(answer) {
		s.Failed, s.Note = true, "the answer has no word that ROUGE counts"
	}
	for _, t := range it.Targets {
		if !r.Has(t) {
			s.Warning = noWords
			if r.Unicode {
				s.Warning = "references hold no word"
			}
		}
	}
	return s
}

// dropFactory makes ROUGE over spelled-out integers.
func dropFactory() Factory {
	return Factory{Name: "drop", Summary: "ROUGE-L F-measure with integers spelled out", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := core.MetricInfo{Name: "drop", Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
		if profile == core.Bakeoff {
			return publishedMetric(info, pyDrop), nil
		}
		spelled := func(s string) string {
			if n, ok := text.ParseInt(s); ok {
				if words, ok := text.NumberWords(n); ok {
					return words
				}
			}
			return s
		}
		var r text.Rouge
		return &itemMetric{info, func(it *core.Item) core.Score {
			if it.ExtractFailed {
				return failed(extractionFailed)
			}
			targets := make([]string, len(it.Targets))
			for i, t := range it.Targets {
				targets[i] = spelled(t)
			}
			return rougeScore(&r, it, it.Text, r.BestL(spelled(it.Text), targets), profile)
		}}, nil
	}}
}

// labelAndExplanationFactory makes the metric of data sets whose answers are a
// JSON object of a label and an explanation.
func labelAndExplanationFactory() Factory {
	return Factory{Name: "label_and_explanation", Summary: "ROUGE-L of the explanation where the label is right, else 0",
		make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
			info := core.MetricInfo{Name: "label_and_explanation", Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
			if profile == core.Bakeoff {
				return publishedMetric(info, pyLabelAndExplanation), nil
			}
			return &itemMetric{info, func(it *core.Item) core.Score {
				if it.ExtractFailed {
					return failed(extractionFailed)
				}
				if _, explanation, ok := labelled(it.Text); !ok {
					return failed("the answer is no JSON object of a label and an explanation")
				} else if _, isText := explanation.(string); !isText {
					return failed(fmt.Sprintf("the explanation is no text but %s", text.Repr(explanation)))
				}
				s := core.Score{Extracted: it.Text}
				for _, t := range it.Targets {
					if v := pyLabelAndExplanation(it.Text, t); v.raised == "" {
						s.Value = max(s.Value, v.value)
					}
				}
				return s
			}}, nil
		}}
}
