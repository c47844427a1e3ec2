package metrics

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

// Answers that no model should give, and some do.
func hostileAnswers(size int) map[string]string {
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	var numbers strings.Builder
	for i := range 10_000 {
		numbers.WriteString(strconv.Itoa(i*i) + ", ")
	}
	return map[string]string{
		"much of words": repeat("the answer is "), "much of one word": repeat("a"), "much of NUL": repeat("\x00"),
		"much of digits": repeat("7"), "much of points": repeat("."), "much of dollars": repeat("$1,000 "), "much of hashes": repeat("#### 1\n"),
		"much of blanks": repeat(" "), "much of line ends": repeat("\n"), "much of another script": repeat("今天"), "much of bad UTF-8": repeat("\xff"),
		"10,000 numbers": numbers.String(), "lone surrogates": strings.Repeat("\xed\xa0\x80 yes ", 1000), "a NUL inside": "ye\x00s 1\x00",
		"deep JSON": `{"label":` + strings.Repeat("[", 1<<16), "deep objects": strings.Repeat(`{"a":`, 1<<15), "a huge integer": strings.Repeat("9", 1<<18),
		"a huge exponent": "1e999999999", "signs": strings.Repeat("-", 1<<16), "nothing": "", "all of Latin-1": func() string {
			var b strings.Builder
			for r := range rune(256) {
				b.WriteRune(r)
			}
			return b.String()
		}(),
	}
}

// Every metric judges every hostile answer, in both profiles, in bounded time,
// and gives a number, or says that it gives none.
func TestHostileAnswers(t *testing.T) {
	small := hostileAnswers(64 << 10)
	huge := map[string]string{"10 MB of prices": strings.Repeat("$1,000 ", 10<<20/7)}
	target := map[string]string{"drop": "{'spans': array(['3'], dtype=object)}", "label_and_explanation": `{"label": 1, "explanation": "a b"}`}
	for _, factory := range Builtin() {
		if factory.Name == "humaneval" || strings.HasPrefix(factory.Name, "rouge") && factory.Name > "rouge2" && factory.Name < "rougeL" {
			continue // humaneval has tests of its own, rouge3 … rouge9 are rouge2
		}
		for _, profile := range []core.Profile{core.Strict, core.Bakeoff} {
			params := map[string]map[string]any{"judge": {"prompt": "{answer} or {target}?", "scale": []any{1, 5}}}
			m, err := factory.New(params[factory.Name], profile)
			if err != nil {
				t.Fatal(err)
			}
			answers := small
			if slices.Contains([]string{"mmlu_accuracy", "gsm8k_regex", "stsb", "rouge", "bleu", "chrf"}, factory.Name) && !testing.Short() {
				answers = maps.Clone(small)
				maps.Copy(answers, huge)
			}
			for name, answer := range answers {
				want := target[factory.Name]
				if want == "" {
					want = "1"
				}
				item := core.Item{ID: name, Raw: answer, Text: answer, Targets: []string{want}, Task: &core.Task{Labels: []string{"1", "0"}}, Scores: []core.Likelihood{{LogProb: -1}, {LogProb: math.NaN()}}}
				began := time.Now()
				scores, err := m.Score(context.Background(), []core.Item{item})
				if err != nil || len(scores) != 1 {
					t.Fatalf("%s, %s, %s: %v", factory.Name, profile, name, err)
				}
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("%s, %s, %s: %v", factory.Name, profile, name, took)
				}
				if a := m.Aggregate(scores); a.N+a.Dropped+a.Skipped+a.NonFinite != 1 || a.N == 1 && (math.IsNaN(a.Score) || math.IsInf(a.Score, 0)) {
					t.Errorf("%s, %s, %s: %+v of %+v", factory.Name, profile, name, a, scores[0].Value)
				}
			}
		}
	}
}
