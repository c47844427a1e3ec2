package metrics_test

import (
	"io"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/metrics/metrictest"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

func answer(text string, targets ...string) core.Item {
	return core.Item{ID: "0", Raw: text, Text: text, Targets: targets, Task: &core.Task{Name: "test"}}
}

// examples gives a right and a wrong answer for each metric.
func examples(name string) metrictest.Options {
	pair := func(right, wrong core.Item) metrictest.Options { return metrictest.Options{Right: right, Wrong: wrong} }
	switch name {
	case "binary_accuracy_flex":
		return pair(answer("yes", "1"), answer("no", "1"))
	case "mnli_accuracy", "hellaswag_accuracy", "mmlu_accuracy", "mrpc_accuracy", "winogrande_accuracy":
		return pair(answer("1", "1"), answer("2", "1"))
	case "arc_accuracy":
		return pair(answer("B", "B"), answer("C", "B"))
	case "covid_accuracy":
		return pair(answer("Extremely Positive", "Extremely Positive"), answer("Positive", "Extremely Positive"))
	case "customer_support_accuracy":
		return pair(answer("pay bill", "pay bill"), answer("check balance", "pay bill"))
	case "dbpedia":
		return pair(answer("Company", "Company"), answer("Film", "Company"))
	case "stsb":
		return pair(answer("5", "5"), answer("0", "5"))
	case "gsm8k_regex":
		return pair(answer("so #### 18", "… #### 18"), answer("#### 19", "#### 18"))
	case "drop":
		return pair(answer("3", "{'spans': array(['3'], dtype=object)}"), answer("four", "{'spans': array(['3'], dtype=object)}"))
	case "label_and_explanation":
		return pair(answer(`{"label": 1, "explanation": "a b"}`, `{"label": 1, "explanation": "a b"}`),
			answer(`{"label": 2, "explanation": "a b"}`, `{"label": 1, "explanation": "a b"}`))
	case "chrf":
		return pair(answer("kitchen", "kitchen"), answer("a row", "kitchen"))
	case "bleu":
		return pair(answer("a b c d e", "a b c d e"), answer("v w x y z", "a b c d e"))
	case "rouge2", "rouge3", "rouge4", "rouge5", "rouge6", "rouge7", "rouge8", "rouge9":
		return pair(answer("a b c d e f g h i", "a b c d e f g h i"), answer("i h g f e d c b a", "a b c d e f g h i"))
	case "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "brier_score", "greedy_match":
		likely := func(raw string, a, b float64) core.Item {
			return core.Item{ID: "0", Raw: raw, Task: &core.Task{Name: "test"}, Targets: []string{"bb"}, Choices: []string{"a", "bb"}, Gold: []int{1},
				Scores: []core.Likelihood{{LogProb: a}, {LogProb: b, Greedy: b > a}}, Judged: []core.Response{{Scores: []core.Likelihood{{LogProb: -2}, {LogProb: -2}}}}}
		}
		return pair(likely("x", -2000, -1), likely("y", -1, -2000))
	case "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte":
		likely := func(raw string, l float64) core.Item {
			return core.Item{ID: "0", Raw: raw, Targets: []string{"two words"}, Choices: []string{"two words"}, Gold: []int{0}, Scores: []core.Likelihood{{LogProb: l}}}
		}
		return pair(likely("x", 0), likely("y", -5))
	case "judge":
		judged := func(said string) core.Item {
			it := answer("an answer "+said, "a target")
			it.Judged = []core.Response{{Text: said}}
			return it
		}
		return pair(judged("It is good. 5"), judged("1"))
	case "humaneval":
		program := func(body string) core.Item {
			it := answer(body, "")
			it.Fields = map[string]any{"prompt": "def one():\n", "entry_point": "one", "test": "def check(f):\n    assert f() == 1\n"}
			return it
		}
		o := pair(program("    return 1\n"), program("    return 2\n"))
		o.Slow = true
		return o
	}
	return pair(answer("kitchen", "kitchen"), answer("garden", "kitchen"))
}

// needed are the parameters without which a metric cannot be made.
var needed = map[string]map[string]any{"judge": {"prompt": "{answer} or {target}?", "scale": []any{1, 5}}}

func TestContract(t *testing.T) {
	for _, f := range metrics.Builtin() {
		for _, profile := range []core.Profile{core.Strict, core.Bakeoff} {
			if f.Name == "humaneval" && (testing.Short() || profile == core.Bakeoff) {
				continue // each suite starts many processes; its own package tests both profiles
			}
			t.Run(f.Name+" "+string(profile), func(t *testing.T) {
				o := examples(f.Name)
				if f.Name == "drop" && profile == core.Strict { // takes targets as they are
					o = metrictest.Options{Right: answer("3", "three"), Wrong: answer("four", "three")}
				}
				make := func(t *testing.T) core.Metric {
					m, err := f.New(needed[f.Name], profile)
					if err != nil {
						t.Fatal(err)
					}
					return m
				}
				if f.Name == "humaneval" { // starting one costs a second: the suite shares it
					shared := make(t)
					defer shared.(io.Closer).Close()
					make = func(*testing.T) core.Metric { return struct{ core.Metric }{shared} }
				}
				metrictest.Run(t, make, o)
				if f.Name == "rouge" || f.Name == "acc" || f.Name == "accuracy" {
					t.Run("wire", func(t *testing.T) {
						metrictest.Run(t, func(t *testing.T) core.Metric { return plugintest.LoopbackMetric(t, make(t)) }, o)
					})
				}
			})
		}
	}
}
