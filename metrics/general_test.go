package metrics

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// testdata/general.jsonl holds random texts with what sacrebleu 2.6.0,
// torchmetrics 1.9.0 (SQuAD) and the exact_match of Hugging Face's evaluate give
// for them, and in its last line sacrebleu's scores of all of them together.
type generalRow struct {
	Prediction string
	References []string
	F1         float64
	Exact      struct {
		Params    map[string]any
		Reference string
		Value     float64
	}
	Corpus map[string]float64
	others map[string]float64
}

func generalRows(t *testing.T) (rows []generalRow, corpus map[string]float64) {
	b, err := os.ReadFile("testdata/general.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var row generalRow
		var all map[string]any
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &all); err != nil {
			t.Fatal(err)
		}
		if row.Corpus != nil {
			return rows, row.Corpus
		}
		row.others = map[string]float64{}
		for key, v := range all {
			if f, ok := v.(float64); ok {
				row.others[key] = f
			}
		}
		rows = append(rows, row)
	}
	t.Fatal("the last line holds no corpus")
	return nil, nil
}

func itemsOf(rows []generalRow) []core.Item {
	items := make([]core.Item, len(rows))
	for i, r := range rows {
		items[i] = core.Item{ID: "x", Raw: r.Prediction, Text: r.Prediction, Targets: r.References}
	}
	return items
}

func TestCorpusMetricsAgainstSacrebleu(t *testing.T) {
	rows, corpus := generalRows(t)
	for key, want := range corpus {
		spec := core.MetricSpec{Name: "chrf", Params: map[string]any{}}
		switch words := strings.Fields(key); {
		case words[0] == "bleu":
			spec = core.MetricSpec{Name: "bleu", Params: map[string]any{"tokenize": words[1], "smooth": words[2]}}
		case key == "chrf++":
			spec.Params = map[string]any{"word_order": 2, "lowercase": true}
		}
		m, err := New(spec, core.Strict)
		if err != nil {
			t.Fatal(err)
		}
		scores, err := m.Score(context.Background(), itemsOf(rows))
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range scores {
			if w := rows[i].others[key]; !(math.Abs(s.Value-w) <= 1e-9*max(1, w)) {
				t.Errorf("%s of %q, %q: %v, sacrebleu %v", key, rows[i].Prediction, rows[i].References, s.Value, w)
			}
		}
		a := m.Aggregate(scores)
		if !(math.Abs(a.Score-want) <= 1e-9*want) || a.N != len(rows) || !(a.Low95 < a.Score && a.Score < a.High95) || a.Method != "bootstrap" {
			t.Errorf("%s of all: %+v, sacrebleu %v", key, a, want)
		}
	}
}

func TestTokenF1AndExactMatch(t *testing.T) {
	rows, _ := generalRows(t)
	f1, err := New(core.MetricSpec{Name: "token_f1"}, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	scores, _ := f1.Score(context.Background(), itemsOf(rows))
	hits := 0.0
	for i, r := range rows {
		if math.Abs(scores[i].Value-r.F1) > 1e-12 {
			t.Errorf("F1 of %q, %q: %v, SQuAD %v", r.Prediction, r.References, scores[i].Value, r.F1)
		}
		r.Exact.Params["strip"] = false
		m, err := New(core.MetricSpec{Name: "exact_match", Params: r.Exact.Params}, core.Strict)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := m.Score(context.Background(), []core.Item{{Text: r.Prediction, Targets: []string{r.Exact.Reference}}})
		if s[0].Value != r.Exact.Value {
			t.Errorf("exact_match %v of %q, %q: %v, want %v", r.Exact.Params, r.Prediction, r.Exact.Reference, s[0].Value, r.Exact.Value)
		}
		hits += r.Exact.Value
	}
	if hits < 20 || hits > float64(len(rows))-20 {
		t.Errorf("the fixture hardly tests exact_match: %v of %d", hits, len(rows))
	}
	for _, bad := range []map[string]any{{"regexes_to_ignore": "x"}, {"regexes_to_ignore": []any{1}}, {"regexes_to_ignore": []any{"("}}, {"strip": 1}} {
		if _, err := New(core.MetricSpec{Name: "exact_match", Params: bad}, core.Strict); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
