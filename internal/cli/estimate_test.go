package cli

import (
	"math"
	"testing"

	"github.com/evalrun/evalrun/backends/openai"
	"github.com/evalrun/evalrun/core"
)

// The LoRA Land report (section 3.6): all 15,878 rows of WikiSQL's test split,
// about 805 tokens in and 16 out each, cost about 400 dollars with GPT-4.
func TestEstimateOfTheReport(t *testing.T) {
	got := Estimate(15878, 805, 16, openai.Prices("gpt-4-0613"))
	if math.Abs(got-400) > 2 {
		t.Errorf("$%.2f, the report says about $400", got)
	}
	if want := 15878 * (805*30 + 16*60) / 1e6; math.Abs(got-want) > 1e-9 {
		t.Errorf("$%v, want $%v", got, want)
	}
}

func TestCountRequest(t *testing.T) {
	for _, c := range []struct {
		r    core.Request
		want int
	}{
		{core.Request{Prompt: "hello world"}, 2},
		{core.Request{Messages: []core.Message{{Role: "user", Content: "hello world"}}}, 3 + 4 + 2},
		{core.Request{Messages: []core.Message{{Content: "hello"}, {Content: "world"}}}, 3 + 4 + 1 + 4 + 1},
		{core.Request{Kind: core.ScoreText, Prompt: "hello world", Continuations: []string{" yes", " no"}}, 2*2 + 1 + 1},
	} {
		if got := countRequest(c.r); got != c.want {
			t.Errorf("%+v: %d tokens, want %d", c.r, got, c.want)
		}
	}
}

func TestPricesFor(t *testing.T) {
	none := math.NaN()
	for _, c := range []struct {
		model   string
		in, out float64
		want    core.Prices
		form    core.Form
		bad     bool
	}{
		{"", none, none, core.Prices{}, core.FormCompletion, false},
		{"gpt-4-0613", none, none, core.Prices{Known: true, Input: 30, Output: 60}, core.FormChat, false},
		{"gpt-3.5-turbo-instruct", none, none, core.Prices{Known: true, Input: 1.5, Output: 2}, core.FormCompletion, false},
		{"mine", 0, 0, core.Prices{Known: true}, core.FormChat, false},
		{"gpt-4", 1, 2, core.Prices{Known: true, Input: 1, Output: 2}, core.FormChat, false},
		{"mine", none, none, core.Prices{}, "", true},
		{"", 3, none, core.Prices{}, "", true},
		{"", 3, -1, core.Prices{}, "", true},
		{"", none, -1, core.Prices{}, "", true},
	} {
		p, err := pricesFor(c.model, c.in, c.out)
		if (err != nil) != c.bad {
			t.Errorf("%s %v %v: %v", c.model, c.in, c.out, err)
		}
		if err == nil && (p.Prices != c.want || p.info.Forms[0] != c.form) {
			t.Errorf("%s %v %v: %+v", c.model, c.in, c.out, p)
		}
	}
}
