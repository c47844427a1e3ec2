package metrics

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func judge(t *testing.T, name string, profile core.Profile, it core.Item) core.Score {
	t.Helper()
	m, err := New(core.MetricSpec{Name: name}, profile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Score(context.Background(), []core.Item{it})
	if err != nil {
		t.Fatal(err)
	}
	return s[0]
}

// Both profiles on the same answers: where they differ is the point.
func TestProfiles(t *testing.T) {
	const fails = -1 // strict: nothing found, 0 and flagged
	for _, c := range []struct {
		metric, answer, target string
		strict, bakeoff        float64
	}{
		{"binary_accuracy_flex", "yes", "1", 1, 1},
		{"binary_accuracy_flex", "Answer: no (100% sure)", "0", 1, 0}, // a 1 anywhere means true there
		{"binary_accuracy_flex", "not sure", "0", fails, 1},           // "no" in "not"
		{"binary_accuracy_flex", "I know it is true", "yes", 1, 0},    // "no" in "know"
		{"binary_accuracy_flex", "Yes, 0", "1", 1, 0},
		{"binary_accuracy_flex", "Positive.", "1", 1, 1},
		{"binary_accuracy_flex", "1.0", "1", 1, 1},
		{"binary_accuracy_flex", "10", "1", fails, 1},
		{"binary_accuracy_flex", "maybe", "1", fails, 0},
		{"binary_accuracy_flex", "", "1", fails, 0},
		{"accuracy", " yes", "yes", 1, 0},
		{"accuracy", "Yes.", "yes", 1, 1},
		{"accuracy", "yes, surely", "yes", 0, 0},
		{"mnli_accuracy", " 2", "2", 1, 1},
		{"mnli_accuracy", "2 or 1", "1", 0, 1},
		{"mnli_accuracy", "Label 10", "1", fails, 1},
		{"mnli_accuracy", "2,1", "2", 1, 1},
		{"mnli_accuracy", "Label: 1.", "1", 1, 1},
		{"mnli_accuracy", "-1", "1", fails, 1},
		{"mnli_accuracy", "label-1", "1", 1, 1},
		{"mnli_accuracy", "0.5", "0", fails, 1},
		{"mrpc_accuracy", "1 2", "2", 0, 1},
		{"hellaswag_accuracy", "ending 3", "3", 1, 1},
		{"mmlu_accuracy", "The answer is 2.", "2", 1, 1},
		{"mmlu_accuracy", "The answer is two", "2", fails, 0},
		{"arc_accuracy", "(b)", "B", 1, 0},
		{"arc_accuracy", "It is a plant: C", "C", 1, 0},
		{"arc_accuracy", "3", "3", 1, 1},
		{"covid_accuracy", "extremely  positive!", "Extremely Positive", 1, 0},
		{"covid_accuracy", "Extremely Positive", "Positive", 0, 0},
		{"winogrande_accuracy", "Option 2", "2", 1, 0},
		{"customer_support_accuracy", "replace\ncard", "replace card", 1, 0},
		{"customer_support_accuracy", "The task is: replace card!", "replace card", 1, 1},
		{"customer_support_accuracy", "card", "replace card", fails, 0},
		{"dbpedia", "It is an office holder", "OfficeHolder", 1, 0},
		{"dbpedia", "educational institution.", "EducationalInstitution", 1, 0},
		{"dbpedia", "Companys", "Company", fails, 0},
		{"dbpedia", "0", "Company", fails, 1},
		{"stsb", "4.2 out of 5", "4.2", 1, 1},
		{"stsb", "score 7", "2", fails, 0},
		{"stsb", "7", "2", fails, 0},
		{"stsb", "3", "1", 0.6, 0.6},
		{"stsb", "-3, no: 4", "4", 1, math.NaN()},
		{"gsm8k_regex", "costs $18.00.", "#### 18", 1, 1},
		{"gsm8k_regex", "#### 18\n\nQuestion: 5 apples", "#### 18", 1, 0},
		{"gsm8k_regex", "= $1,000", "#### 1,000", 1, 1},
		{"gsm8k_regex", "-$5", "#### -5", 1, 0},
		{"gsm8k_regex", "answer is 5 ...", "#### 5", 1, 0},
		{"gsm8k_regex", "no idea", "#### 5", fails, 0},
		{"rouge", "the cat", "the cat", 1, 1},
		{"rouge", "İstanbul", "i stanbul", 1, 1},
		{"rouge", "!!!", "x", fails, 0},
		{"rouge1", "b a", "a b", 1, 1},
		{"rouge2", "b a", "a b", 0, 0},
		{"rougeLsum", "c d\na b", "a b\nc d", 1, 1},
		{"rougeL", "c d\na b", "a b\nc d", 0.5, 0.5},
		{"exact_match", " a\n", "a", 1, 0},
	} {
		it := core.Item{ID: "0", Raw: c.answer, Text: c.answer, Targets: []string{c.target}}
		s := judge(t, c.metric, core.Strict, it)
		want, failed := c.strict, c.strict == fails
		if failed {
			want = 0
		}
		if math.Abs(s.Value-want) > 1e-9 || s.Failed != failed || failed && s.Note == "" {
			t.Errorf("strict %s(%q, %q): %+v, want %v, failed %v", c.metric, c.answer, c.target, s, want, failed)
		}
		b := judge(t, c.metric, core.Bakeoff, it)
		if math.IsNaN(c.bakeoff) {
			continue
		}
		if math.Abs(b.Value-c.bakeoff) > 1e-6 || b.Failed || b.Dropped {
			t.Errorf("bakeoff %s(%q, %q): %+v, want %v", c.metric, c.answer, c.target, b, c.bakeoff)
		}
	}
}

func TestTaskLabelsDecide(t *testing.T) {
	task := &core.Task{Labels: []string{"spam", "no spam", "7"}}
	for answer, want := range map[string]string{
		"This is no spam.": "no spam", "Spam": "spam", "nospam": "", "7.0": "7", "17": "", "spam7": "", "no\tspam": "no spam",
		"1,007": "", "7,": "7", "(7)": "7", "7%": "7", "1.7": "", ".7": "", "v1.7.2": "", "7th": "",
	} {
		s := judge(t, "accuracy", core.Strict, core.Item{Task: task, Raw: answer, Text: answer, Targets: []string{"no spam"}})
		if s.Extracted != want || s.Failed != (want == "") || s.Value == 1 != (want == "no spam") {
			t.Errorf("%q: %+v, want %q", answer, s, want)
		}
	}
}

func TestExtractionAndRaw(t *testing.T) {
	it := core.Item{Raw: "I say 1", Text: "0", Targets: []string{"1"}}
	if s := judge(t, "binary_accuracy_flex", core.Strict, it); s.Value != 0 {
		t.Errorf("strict took the raw answer: %+v", s)
	}
	if s := judge(t, "binary_accuracy_flex", core.Bakeoff, it); s.Value != 1 {
		t.Errorf("bakeoff took the extraction: %+v", s)
	}
	it.ExtractFailed = true
	if s := judge(t, "rouge", core.Strict, it); !s.Failed || s.Value != 0 || s.Note == "" {
		t.Errorf("a failed extraction: %+v", s)
	}
}

func TestPublishedExceptionDrops(t *testing.T) {
	s := judge(t, "stsb", core.Bakeoff, core.Item{Raw: "1,000No", Text: "1,000No", Targets: []string{"2"}})
	if !s.Dropped || s.Note != "the published function stops with ValueError" {
		t.Errorf("%+v", s)
	}
	if s := judge(t, "stsb", core.Bakeoff, core.Item{Raw: "-inf", Targets: []string{"2"}}); !math.IsInf(s.Value, -1) {
		t.Errorf("%+v", s)
	}
}

func TestNewErrors(t *testing.T) {
	for _, c := range []struct {
		spec    core.MetricSpec
		profile core.Profile
	}{
		{core.MetricSpec{Name: "acuracy"}, core.Strict},
		{core.MetricSpec{Name: "accuracy"}, "lenient"},
		{core.MetricSpec{Name: "rouge", Params: map[string]any{"varient": "google"}}, core.Strict},
		{core.MetricSpec{Name: "rouge", Params: map[string]any{"variant": "bing"}}, core.Strict},
		{core.MetricSpec{Name: "exact_match", Params: map[string]any{"ignore_case": "yes"}}, core.Strict},
		{core.MetricSpec{Name: "humaneval", Params: map[string]any{"timeout": -1}}, core.Strict},
	} {
		if m, err := New(c.spec, c.profile); err == nil {
			t.Errorf("%+v %s gave %+v", c.spec, c.profile, m.Info())
		}
	}
}

// Ties go to the first choice; lengths are those of the choice alone, in
// characters or bytes.
func TestChoices(t *testing.T) {
	it := core.Item{Task: &core.Task{}, Targets: []string{"ébbb"}, Choices: []string{"ab", "ébbb"}, Gold: []int{1},
		Scores: []core.Likelihood{{LogProb: -2}, {LogProb: -4}}, Judged: []core.Response{{Scores: []core.Likelihood{{LogProb: -1}, {LogProb: -4}}}}}
	for name, want := range map[string]core.Score{
		"acc":             {Value: 0, Extracted: "ab"},
		"acc_norm":        {Value: 0, Extracted: "ab"},   // -1 each
		"acc_bytes":       {Value: 1, Extracted: "ébbb"}, // -1 against -0.8
		"acc_mutual_info": {Value: 1, Extracted: "ébbb"}, // -1 against 0
		"greedy_match":    {Value: 0},
	} {
		if s := judge(t, name, core.Strict, it); s.Value != want.Value || s.Extracted != want.Extracted {
			t.Errorf("%s: %+v, want %+v", name, s, want)
		}
	}
	p := 1 / (1 + math.Exp(-2)) // of the first choice
	if s := judge(t, "brier_score", core.Strict, it); math.Abs(s.Value-2*p*p) > 1e-12 {
		t.Errorf("brier_score: %+v, want %v", s, 2*p*p)
	}
	it.Gold = []int{-1}
	if s := judge(t, "acc", core.Strict, it); s.Value != 0 || s.Warning == "" {
		t.Errorf("a target that is no choice: %+v", s)
	}
	it.Judged = nil
	if s := judge(t, "acc_mutual_info", core.Strict, it); len(s.Requests) != 1 || s.Requests[0].Prompt != "" || s.Requests[0].Continuations[1] != " ébbb" {
		t.Errorf("acc_mutual_info asks %+v", s.Requests)
	}
	it.Scores = nil
	if s := judge(t, "acc", core.Strict, it); s.Skipped == "" {
		t.Errorf("without log-likelihoods: %+v", s)
	}
}

// What a judge says is read on its scale; what is not on it is no verdict.
func TestJudgeVerdicts(t *testing.T) {
	for _, c := range []struct {
		scale   any
		pattern string
		said    string
		value   float64
		ok      bool
	}{
		{[]any{1, 5}, "", "Out of 5, I say 4.", 0.75, true},
		{[]any{1, 5}, "", "7", 0, false},
		{[]any{1, 5}, "", "well", 0, false},
		{[]any{1, 5}, `Rating: (\d)`, "Rating: 2 of 5", 0.25, true},
		{[]any{0, 1}, `Rating: (\d)`, "1", 0, false},
		{map[string]any{"correct": 1, "incorrect": 0}, "", "This is INCORRECT.", 0, true},
		{map[string]any{"good": 2, "fair": 1, "bad": 0}, "", "fair, not good", 0.5, true},
		{map[string]any{"good": 1, "bad": 0}, "", "goodness", 0, false},
	} {
		params := map[string]any{"prompt": "{answer}", "scale": c.scale}
		if c.pattern != "" {
			params["pattern"] = c.pattern
		}
		m, err := New(core.MetricSpec{Name: "judge", Params: params}, core.Strict)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Score(t.Context(), []core.Item{{ID: "0", Text: "x", Judged: []core.Response{{Text: c.said}}}})
		if err != nil || s[0].Value != c.value || (s[0].Skipped == "") != c.ok {
			t.Errorf("%v, %q: %+v %v, want %v", c.scale, c.said, s, err, c.value)
		}
	}
	for _, bad := range []map[string]any{{}, {"prompt": "{answer}"}, {"prompt": "{input}", "scale": []any{1, 5}}, {"prompt": "{answer}", "scale": []any{5, 1}}} {
		if _, err := New(core.MetricSpec{Name: "judge", Params: bad}, core.Strict); err == nil {
			t.Errorf("%v got through", bad)
		}
	}
}

func TestBaseline(t *testing.T) {
	labels := map[string][]string{"acc": {"a", "b"}}
	column := func(targets ...string) (all [][]string) {
		for _, s := range targets {
			all = append(all, []string{s})
		}
		return all
	}
	for _, c := range []struct {
		metric  string
		profile core.Profile
		targets [][]string
		score   float64
		answer  string
		ok      bool
	}{
		{"binary_accuracy_flex", core.Strict, column("1", "0", "1", "1"), 0.75, "1", true},
		{"mnli_accuracy", core.Strict, column("2", "1", "2", "0"), 0.5, "2", true},
		{"stsb", core.Strict, column("0", "1", "5"), 1 - (1.0+0+4)/15, "1", true},
		{"rouge", core.Strict, column("a b", "a c", "a b c"), (0.8 + 0.8 + 1) / 3, "a b c", true},
		{"gsm8k_regex", core.Strict, column("x #### 3", "y #### 4", "z #### 3"), 2.0 / 3, "x #### 3", true},
		{"humaneval", core.Strict, column("return 1"), 0, "", true},
		{"acc", core.Strict, column("a", "b", "b"), 2.0 / 3, "b", true},
		{"accuracy", core.Strict, nil, 0, "", false},
		{"dbpedia", core.Bakeoff, column("Company", "Film", "Film"), 2.0 / 3, "Film", true},
	} {
		m, err := New(core.MetricSpec{Name: c.metric}, c.profile)
		if err != nil {
			t.Fatal(err)
		}
		score, answer, ok := Baseline(m, &core.Task{Labels: labels[c.metric]}, c.targets)
		if math.Abs(score-c.score) > 1e-6 || answer != c.answer || ok != c.ok {
			t.Errorf("%s: %v %q %v, want %v %q %v", c.metric, score, answer, ok, c.score, c.answer, c.ok)
		}
	}
}

func TestBaselineTriesEnough(t *testing.T) {
	var targets [][]string
	for i := range 900 {
		targets = append(targets, []string{fmt.Sprintf("row %d", i), fmt.Sprintf("other %d", i)})
	}
	targets[450] = []string{"row other"}
	m, _ := New(core.MetricSpec{Name: "rouge"}, core.Strict)
	first, answer, ok := Baseline(m, nil, targets)
	again, answer2, _ := Baseline(m, nil, targets)
	if !ok || first != again || answer != answer2 || first < 0.4 {
		t.Errorf("%v %q, then %v %q", first, answer, again, answer2)
	}
}

// 1,000 rows of fifty words; a run pays this once for each task.
func BenchmarkBaseline(b *testing.B) {
	var targets [][]string
	for i := range 1000 {
		s := ""
		for w := range 50 {
			s += fmt.Sprintf("w%d ", (i*31+w*w*7)%97)
		}
		targets = append(targets, []string{s + fmt.Sprint(i)})
	}
	m, err := New(core.MetricSpec{Name: "rouge"}, core.Strict)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		Baseline(m, nil, targets)
	}
}

func FuzzStrict(f *testing.F) {
	for _, s := range []string{"1", "yes, 0", "-1.5", "1,234.5.6", "#### $-3", "Extremely  Positive", "İ\xff", "{\"label\": NaN, \"explanation\": \"\"}"} {
		f.Add(s, "1")
	}
	var all []core.Metric
	for _, factory := range Builtin() {
		for _, p := range []core.Profile{core.Strict, core.Bakeoff} {
			if factory.Name == "humaneval" || factory.Name == "judge" {
				continue
			}
			m, err := factory.New(nil, p)
			if err != nil {
				f.Fatal(err)
			}
			all = append(all, m)
		}
	}
	f.Fuzz(func(t *testing.T, answer, target string) {
		for _, m := range all {
			info := m.Info()
			s, err := m.Score(context.Background(), []core.Item{{Raw: answer, Text: answer, Targets: []string{target}, Task: &core.Task{}}})
			if err != nil {
				t.Fatal(err)
			}
			if v := s[0].Value; v < info.Low || v > info.High || info.Profile == core.Strict && math.IsNaN(v) {
				t.Fatalf("%s %s: %q against %q gives %v", info.Name, info.Profile, answer, target, v)
			}
		}
	})
}
