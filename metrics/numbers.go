package metrics

import (
	"math"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// stsbFactory makes 1 − |answer − target|/5. Strict takes the first number from
// 0 to 5 of the answer and clips the result to [0, 1].
func stsbFactory() Factory {
	return Factory{Name: "stsb", Summary: "1 − |answer − target| / 5", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := core.MetricInfo{Name: "stsb", Profile: profile, Low: 0, High: 1, HigherIsBetter: true}
		if profile == core.Bakeoff {
			info.Low = math.Inf(-1)
			return publishedMetric(info, pyStsb), nil
		}
		return &itemMetric{info, func(it *core.Item) core.Score {
			if it.ExtractFailed {
				return failed(extractionFailed)
			}
			for _, f := range numbers(it.Text) {
				if f >= 0 && f <= 5 {
					s := core.Score{Extracted: text.FormatFloat(f)}
					for _, t := range it.Targets {
						if want, ok := text.ParseFloat(t); ok {
							s.Value = max(s.Value, min(1, 1-math.Abs(f-want)/5))
						}
					}
					return s
				}
			}
			return failed("no number from 0 to 5 in the answer")
		}}, nil
	}}
}

// gsm8kFactory compares the final number. Strict takes the number behind the
// first "####", or without one the last number of the answer.
func gsm8kFactory() Factory {
	return Factory{Name: "gsm8k_regex", Summary: "the final number is right", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := core.MetricInfo{Name: "gsm8k_regex", Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true}
		if profile == core.Bakeoff {
			return publishedMetric(info, pyGsm8k), nil
		}
		return &itemMetric{info, func(it *core.Item) core.Score {
			if it.ExtractFailed {
				return failed(extractionFailed)
			}
			answer, ok := finalNumber(it.Text)
			if !ok {
				return failed("no number in the answer")
			}
			s := core.Score{Extracted: text.FormatFloat(answer)}
			for _, t := range it.Targets {
				if want, ok := finalNumber(t); ok && want == answer {
					s.Value = 1
				}
			}
			return s
		}}, nil
	}}
}

func finalNumber(s string) (float64, bool) {
	// A dollar sign may stand before a number, and its minus before the sign.
	s = strings.ReplaceAll(s, "-$", "$-")
	if _, after, ok := strings.Cut(s, "####"); ok {
		if all := numbers(text.FirstLine(text.LStrip(after))); len(all) > 0 {
			return all[0], true
		}
	}
	all := numbers(s)
	if len(all) == 0 {
		return 0, false
	}
	return all[len(all)-1], true
}
