package debug

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
)

// ask runs a window on one line.
func ask(t *testing.T, window func() *cobra.Command, line string, args ...string) (map[string]any, error) {
	t.Helper()
	cmd := window()
	var out strings.Builder
	cmd.SetIn(strings.NewReader(line))
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		return nil, err
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%s: %v", out.String(), err)
	}
	return got, nil
}

func TestScoreWindow(t *testing.T) {
	for _, c := range []struct {
		args string // blanks between
		line string
		key  string
		want any
	}{
		{"--metric rougeL", `{"prediction":"a b c","reference":"a c d"}`, "precision", 2.0 / 3},
		{"--metric rouge2 --variant google", `{"prediction":"a b c","references":["x","a b"]}`, "score", 2.0 / 3},
		{"--metric rouge1 --param accumulate=avg", `{"prediction":"a","references":["x","a"]}`, "score", 0.5},
		{"--metric rouge1 --variant google-stem", `{"prediction":"running","reference":"runs"}`, "score", 1.0},
		{"--metric rougeL", `{"prediction":"今天","reference":"今天"}`, "warning", nil},
		{"--metric rougeL --param tokenizer=unicode", `{"prediction":"今天很好","reference":"今天好"}`, "recall", 1.0},
		{"--metric rougeLsum --variant torchmetrics", `{"prediction":"a. b","reference":"b. a"}`, "error", nil},
		{"--metric rougeLsum --variant torchmetrics", `{"prediction":"a. b","reference":"b. a","sentences":{"prediction":["a.","b"],"reference":["b.","a"]}}`, "score", 1.0},
		{"--metric rougeLsum", `{"prediction":"a\nb","reference":"b\na"}`, "score", 1.0},
		{"--metric stsb --profile bakeoff", `{"prediction":"100","reference":"2"}`, "score", -18.6},
		{"--metric stsb", `{"prediction":"100","reference":"2"}`, "failed", true},
		{"--metric get_stsb", `{"args":["nan",2.0]}`, "score", "NaN"},
		{"--metric get_accuracy", `{"prediction":"1","reference":1.0}`, "score", 1.0},
		{"--metric get_accuracy", `{"prediction":"1.0","reference":1}`, "score", 0.0},
		{"--metric get_first_number", `{"args":["2019 was"]}`, "score", "201"},
		{"--metric get_bool_value_from_text", `{"prediction":true}`, "score", true},
		{"--metric get_rouge", `{"args":[null,"x"]}`, "error", "AttributeError"},
		{"--metric accuracy --labels yes,no", `{"prediction":"It is no.","reference":"no"}`, "score", 1.0},
		{"--metric exact_match --param ignore_case=true", `{"prediction":"A ","reference":"a"}`, "score", 1.0},
	} {
		got, err := ask(t, newScore, c.line, strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s %s: %v", c.args, c.line, err)
			continue
		}
		f, isNumber := got[c.key].(float64)
		w, wantsNumber := c.want.(float64)
		switch {
		case c.want == nil && got[c.key] != nil:
		case wantsNumber && isNumber && math.Abs(f-w) < 1e-12:
		case !wantsNumber && c.want != nil && got[c.key] == c.want:
		default:
			t.Errorf("%s %s: %v, want %s %v", c.args, c.line, got, c.key, c.want)
		}
	}
	for _, args := range []string{"", "--metric rogue", "--metric get_accuracy --profile strict", "--metric rougeL --variant perl", "--metric rouge --profile loose", "--metric rougeL --param x"} {
		var user *core.UserError
		if _, err := ask(t, newScore, "{}", strings.Fields(args)...); !errors.As(err, &user) || user.Hint == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestExtractWindow(t *testing.T) {
	got, err := ask(t, newExtract, `{"text":"😀 a1 b2"}`, "--pattern", `([a-z])(\d)|(x)`, "--select", "-1")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(got); string(b) != `{"groups":["b2","b","2",null],"match":"b2","span":[5,7],"spans":[[5,7],[5,6],[6,7],[-1,-1]]}` {
		t.Errorf("%s", b)
	}
	// encoding/json cannot say what a lone surrogate is, so the line is looked at.
	cmd, out := newExtract(), new(strings.Builder)
	cmd.SetIn(strings.NewReader(`{"text":"\ud83d\ude00\ud800<\n\udfffx"}`))
	cmd.SetOut(out)
	cmd.SetArgs([]string{"--pattern", `(.)<\s.`})
	if err := cmd.Execute(); err != nil || out.String() != `{"match":"\ud800<\n\udfff","groups":["\ud800<\n\udfff","\ud800"],"span":[1,5],"spans":[[1,5],[1,2]]}`+"\n" {
		t.Errorf("%s %v", out, err)
	}
	if got, err := ask(t, newExtract, `{"text":"x"}`, "--pattern", `\d`); err != nil || got != nil {
		t.Errorf("%v %v", got, err)
	}
	if got, err := ask(t, newExtract, `{"text":"`+strings.Repeat("a", 40)+`!"}`, "--pattern", `(a+)+$`, "--limit", "50ms"); err != nil || got["error"] == nil {
		t.Errorf("%v %v", got, err)
	}
	for _, args := range [][]string{{}, {"--pattern", `(?<n>a)`}, {"--pattern", "a", "--flags", "q"}} {
		var user *core.UserError
		if _, err := ask(t, newExtract, `{"text":"x"}`, args...); !errors.As(err, &user) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
