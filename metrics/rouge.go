package metrics

import (
	"fmt"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// rougeFactory makes the ROUGE F-measures. Of several references the best
// counts. The parameter variant chooses the Python package whose result is
// meant.
func rougeFactory(name, summary string) Factory {
	return Factory{Name: name, Summary: summary, Params: []string{"variant"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			variant, err := choiceParam(spec.Params, "variant", string(text.Torchmetrics), string(text.Google), string(text.GoogleStem))
			if err != nil {
				return nil, err
			}
			n := map[string]int{"rouge1": 1, "rouge2": 2}[name]
			info := core.MetricInfo{Name: name, Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
			if variant != string(text.Torchmetrics) {
				info.Notes = append(info.Notes, "ROUGE as "+variant+" computes it")
			} else if name == "rougeLsum" {
				info.Notes = append(info.Notes, "texts are cut into sentences at line ends, as rouge_score does; torchmetrics cuts them with NLTK's punkt")
			}
			r := &text.Rouge{Variant: text.Variant(variant)}
			return &itemMetric{info, func(it *core.Item) core.Score {
				answer := it.Text
				if profile == core.Bakeoff {
					answer = it.Raw
				} else if it.ExtractFailed {
					return failed(extractionFailed)
				}
				var best text.PRF
				switch {
				case n > 0:
					best = r.BestN(n, answer, it.Targets)
				case name == "rougeLsum":
					lines := text.Lines(answer)
					for _, t := range it.Targets {
						if s := r.Lsum(lines, text.Lines(t)); s.F > best.F {
							best = s
						}
					}
				default:
					best = r.BestL(answer, it.Targets)
				}
				if profile == core.Bakeoff && variant == string(text.Torchmetrics) {
					best.F = float64(float32(best.F))
				}
				return rougeScore(it, answer, best, profile)
			}}, nil
		}}
}

// rougeScore writes a ROUGE result down, with notes on what cannot score.
func rougeScore(it *core.Item, answer string, best text.PRF, profile core.Profile) core.Score {
	s := core.Score{Value: best.F, Extracted: answer,
		Parts: map[string]float64{"precision": best.Precision, "recall": best.Recall, "fmeasure": best.F}}
	if profile == core.Strict && !text.HasTokens(answer) {
		s.Failed, s.Note = true, "the answer has no word that ROUGE counts"
	}
	for _, t := range it.Targets {
		if !text.HasTokens(t) {
			s.Note = "a reference has no word that ROUGE counts (it knows a-z and 0-9)"
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
			return rougeScore(it, it.Text, r.BestL(spelled(it.Text), targets), profile)
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
