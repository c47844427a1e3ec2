package cli

import (
	"testing"

	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/decide"
	"github.com/evalrun/evalrun/results/report"
)

// Which model is weighed against which.
func TestDecideRoles(t *testing.T) {
	base, tuned, better := report.Column{Label: "base", Mean: 0.3}, report.Column{Label: "base+a", Tuned: true, Base: "base", Mean: 0.7}, report.Column{Label: "base+b", Tuned: true, Base: "base", Mean: 0.8}
	gpt4, api, plain := report.Column{Label: "openai:gpt-4", Rival: true}, report.Column{Label: "openai:other"}, report.Column{Label: "local:merged"}
	for name, c := range map[string]struct {
		columns         []report.Column
		finetuned, flag string
		tuned, api      string // api "" is the published GPT-4
		fails           bool
	}{
		"adapter and GPT-4":                {columns: []report.Column{gpt4, base, tuned}, tuned: "base+a", api: "openai:gpt-4"},
		"the better adapter":               {columns: []report.Column{tuned, better, gpt4}, tuned: "base+b", api: "openai:gpt-4"},
		"its base is no API":               {columns: []report.Column{base, tuned}, tuned: "base+a"},
		"another model is":                 {columns: []report.Column{base, tuned, api}, tuned: "base+a", api: "openai:other"},
		"two plain models, the first":      {columns: []report.Column{plain, api}, tuned: "local:merged", api: "openai:other"},
		"a plain one and GPT-4":            {columns: []report.Column{gpt4, plain}, tuned: "local:merged", api: "openai:gpt-4"},
		"one alone":                        {columns: []report.Column{plain}, tuned: "local:merged"},
		"named":                            {columns: []report.Column{base, tuned, better, gpt4, api}, finetuned: "base+a", flag: "openai:other", tuned: "base+a", api: "openai:other"},
		"GPT-4 alone is nothing to tune":   {columns: []report.Column{gpt4}, fails: true},
		"a name that is not there":         {columns: []report.Column{base, tuned}, flag: "nobody", fails: true},
		"one model in both roles":          {columns: []report.Column{base, tuned}, finetuned: "base+a", flag: "base+a", fails: true},
		"three plain ones and no GPT-4":    {columns: []report.Column{plain, api, base}, tuned: "local:merged"},
		"the API named, the tuned one not": {columns: []report.Column{api, plain}, flag: "openai:other", tuned: "local:merged", api: "openai:other"},
	} {
		f := &decideFlags{finetuned: c.finetuned, api: c.flag}
		got, against, err := f.roles(c.columns)
		if c.fails {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		label := ""
		if against != nil {
			label = against.Label
		}
		if err != nil || got.Label != c.tuned || label != c.api {
			t.Errorf("%s: %v, %s against %q", name, err, got.Label, label)
		}
	}
}

// A call is an answer, also where a row has several and one verdict.
func TestMeasuredTokensAreOfAnswers(t *testing.T) {
	a := decide.Default()
	takeMeasured(a, &report.Column{Lines: []results.Score{{Task: "a", N: 10, Answers: 50, PromptTokens: 5000, CompletionTokens: 500}}}, nil)
	if in, out := a.Get("traffic.input_tokens").Likely, a.Get("traffic.output_tokens").Likely; in != 100 || out != 10 {
		t.Errorf("%v and %v tokens a call", in, out)
	}
}
