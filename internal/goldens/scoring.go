package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// checkRouge holds `debug score` to torchmetrics and rouge_score.
func checkRouge(e *env) error {
	type row struct {
		Kind         string                `json:"kind"`
		Prediction   string                `json:"prediction"`
		Reference    string                `json:"reference"`
		Sentences    json.RawMessage       `json:"sentences,omitempty"`
		Torchmetrics map[string][3]float64 `json:"torchmetrics"`
		Google       map[string][3]float64 `json:"google"`
		GoogleStem   map[string][3]float64 `json:"google_stem"`
	}
	rows, err := readLines[row](e.path("scoring/rouge.jsonl"))
	if err != nil {
		return err
	}
	for _, v := range []struct {
		name  string
		limit float64
		want  func(row) map[string][3]float64
	}{
		{"torchmetrics", 1e-6, func(r row) map[string][3]float64 { return r.Torchmetrics }},
		{"google", 1e-9, func(r row) map[string][3]float64 { return r.Google }},
		{"google-stem", 1e-9, func(r row) map[string][3]float64 { return r.GoogleStem }},
	} {
		for _, key := range []string{"rouge1", "rouge2", "rougeL", "rougeLsum"} {
			asked := slices.Clone(rows)
			if v.name != "torchmetrics" || key != "rougeLsum" {
				for i := range asked {
					asked[i].Sentences = nil // only torchmetrics' rougeLsum is of given sentences
				}
			}
			t := e.tally(v.name+" "+key, fmt.Sprintf("%g", v.limit))
			out, err := ask(e, asked, "score", "--metric", key, "--variant", v.name)
			if err != nil {
				return err
			}
			for i, line := range out {
				var got struct{ Score, Precision, Recall *float64 }
				if err := json.Unmarshal(line, &got); err != nil || got.Score == nil || got.Precision == nil || got.Recall == nil {
					t.row(false, "%s: %s", rows[i].Kind, line)
					continue
				}
				want := v.want(rows[i])[key]
				for k, x := range []float64{*got.Precision, *got.Recall, *got.Score} {
					t.near(want[k], x, v.limit, "%s [%d]", rows[i].Kind, k)
				}
			}
		}
	}
	return nil
}

// checkMetrics holds `debug score` to the functions of the report's program.
func checkMetrics(e *env) error {
	type row struct {
		Function  string          `json:"function"`
		Args      json.RawMessage `json:"args"`
		Value     any             `json:"value"`
		Type      string          `json:"type"`
		Exception string          `json:"exception"`
	}
	rows, err := readLines[row](e.path("scoring/metrics.jsonl"))
	if err != nil {
		return err
	}
	var names []string
	byName := map[string][]row{}
	for _, r := range rows {
		if byName[r.Function] == nil {
			names = append(names, r.Function)
		}
		byName[r.Function] = append(byName[r.Function], r)
	}
	for _, name := range names {
		t := e.tally(name, "equal; a float32 1e-6")
		out, err := ask(e, byName[name], "score", "--metric", name, "--profile", "bakeoff")
		if err != nil {
			return err
		}
		for i, r := range byName[name] {
			var got struct {
				Score any
				Error string
			}
			if err := json.Unmarshal(out[i], &got); err != nil {
				return err
			}
			x, xIs := number(got.Score)
			want, wantIs := number(r.Value)
			switch {
			case r.Exception != "" || got.Error != "":
				t.row(got.Error == r.Exception, "%s: got %s, want %s", r.Args, out[i], r.Exception)
			case r.Type == "str":
				t.row(got.Score == r.Value, "%s: got %s, want %v", r.Args, out[i], r.Value)
			case xIs && wantIs:
				limit := 0.0
				if r.Type == "Tensor" {
					limit = 1e-6
				}
				t.near(want, x, limit, "%s", r.Args)
			default:
				t.row(got.Score == r.Value, "%s: got %s, want %v", r.Args, out[i], r.Value)
			}
		}
	}
	return nil
}

// number reads what a line holds for a number.
func number(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case string:
		if x == "NaN" || x == "Infinity" || x == "-Infinity" {
			f, err := strconv.ParseFloat(x, 64)
			return f, err == nil
		}
	}
	return math.NaN(), false
}

// checkRegex holds `debug extract` to Python's re.
func checkRegex(e *env) error {
	type text struct {
		Text string `json:"text"`
	}
	type row struct {
		text
		Pattern      string `json:"pattern"`
		Flags        string `json:"flags"`
		Kind         string `json:"kind"`
		Error        string `json:"error"`
		Catastrophic bool   `json:"catastrophic"`
		Match        *struct {
			Groups []*string `json:"groups"`
			Spans  [][2]int  `json:"spans"`
		} `json:"match"`
		Finditer [][2]int `json:"finditer_spans"`
	}
	type answer struct {
		Match  string    `json:"match"`
		Groups []*string `json:"groups"`
		Span   [2]int    `json:"span"`
		Spans  [][2]int  `json:"spans"`
		Error  string    `json:"error"`
	}
	rows, err := readLines[row](e.path("scoring/regex.jsonl"))
	if err != nil {
		return err
	}
	refused, search := e.tally("what Python refuses", "refused"), e.tally("search: groups and spans", "equal")
	iter, last := e.tally("finditer spans", "equal"), e.tally("the last match", "equal")
	runaway := e.tally("catastrophic patterns", "end in time")
	for _, r := range rows {
		args := []string{"extract", "--pattern=" + r.Pattern, "--flags", r.Flags}
		if r.Error != "" {
			_, err := e.window(nil, args...)
			refused.row(err != nil, "%s", r.Pattern)
			continue
		}
		out, err := ask(e, []text{r.text}, args...)
		if err != nil {
			search.row(false, "%s: %v", r.Pattern, err)
			continue
		}
		var got *answer
		if err := json.Unmarshal(out[0], &got); err != nil {
			return err
		}
		if r.Catastrophic { // an engine that answers nevertheless is as good
			runaway.row(got == nil || got.Error != "" || len(got.Spans) > 0, "%s: %s", r.Pattern, out[0])
			continue
		}
		same := (got == nil) == (r.Match == nil)
		if same && got != nil {
			same = got.Error == "" && slices.Equal(got.Spans, r.Match.Spans) && slices.EqualFunc(got.Groups, r.Match.Groups, sameText) &&
				got.Match == *r.Match.Groups[0] && got.Span == r.Match.Spans[0]
		}
		search.row(same, "%s on %q: %s", r.Pattern, r.Text, out[0])
		var all []json.RawMessage
		if all, err = ask(e, []text{r.text}, append(args, "--all")...); err != nil {
			return err
		}
		var matches struct{ Matches []answer }
		if err := json.Unmarshal(all[0], &matches); err != nil {
			return err
		}
		spans := make([][2]int, len(matches.Matches))
		for i, m := range matches.Matches {
			spans[i] = m.Span
		}
		iter.row(slices.Equal(spans, r.Finditer), "%s on %q: %v", r.Pattern, r.Text, spans)
		if all, err = ask(e, []text{r.text}, append(args, "--select", "-1")...); err != nil {
			return err
		}
		got = nil
		if err := json.Unmarshal(all[0], &got); err != nil {
			return err
		}
		if n := len(r.Finditer); n > 0 {
			last.row(got != nil && got.Span == r.Finditer[n-1], "%s on %q: %s", r.Pattern, r.Text, all[0])
		} else {
			last.row(got == nil, "%s on %q: %s", r.Pattern, r.Text, all[0])
		}
	}
	return nil
}

func sameText(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
