package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// A run under the published evaluator's profile sends its prompts and settings,
// shows its score first and the strict one beside it, and is another run than
// the same command without the flag.
func TestBakeoffProfile(t *testing.T) {
	workIn(t)
	write(t, "long.jsonl", `{"q":"`+strings.Repeat("word ", 400)+`","a":"0"}`+"\n"+`{"q":"short","a":"0"}`+"\n")
	write(t, "long.yaml", "task: long\ndataset: long.jsonl\nprompt: |-\n  {q}\n  ### Label:\ntarget: a\nmetrics: [binary_accuracy_flex]\ngeneration: {max_tokens: 5}\n")
	args := []string{"long.yaml", "--backend", "echo", "--opt", "mode=constant:not sure", "--profile", "bakeoff"}
	wants(t, must(t, newEval(), args...), "1.000", "(strict 0.000)", "50 % prompts truncated", "profile bakeoff")
	folder, err := results.Open("runs", "latest")
	if err != nil {
		t.Fatal(err)
	}
	lengths := make([]int, 6)
	if err := folder.Stored(func(r *record.Record) bool {
		copy(lengths[3*r.Index:], []int{len(r.Prompt), r.PromptCut, r.Generation.MaxTokens})
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if want := []int{1500, 511, 256, len("short\n### Label:"), 0, 256}; !slices.Equal(lengths, want) {
		t.Errorf("prompts, cuts and tokens %v, want %v", lengths, want)
	}
	var scores results.Scores
	if err := json.Unmarshal([]byte(must(t, newRescore(), "latest", "--json")), &scores); err != nil {
		t.Fatal(err)
	}
	if scores.Profile != core.Bakeoff || scores.Tasks[0].Profile != core.Bakeoff || *scores.Tasks[0].Score != 1 || scores.Tasks[0].Truncated != 1 || *scores.Tasks[1].Score != 0 {
		t.Errorf("%+v", scores)
	}
	before := folder.Manifest.ConfigHash
	wants(t, must(t, newEval(), args[:len(args)-2]...), "0.000", "(bakeoff 1.000)")
	if folder, err = results.Open("runs", "latest"); err != nil || folder.Manifest.ConfigHash == before {
		t.Errorf("the two profiles have one configuration (%v)", err)
	}
	refuses(t, "unknown profile", newEval(), "long.yaml", "--backend", "echo", "--profile", "loose")
	refuses(t, "takes none", newEval(), "long.yaml", "--backend", "echo", "--profile", "bakeoff", "--fewshot", "2")
}

// A pattern that backtracks for ever fails its sample and says so; references
// without words that ROUGE counts are told beside the score.
func TestRunawayPatternAndWarning(t *testing.T) {
	workIn(t)
	write(t, "w.jsonl", `{"q":"1","a":"今天"}`+"\n"+`{"q":"2","a":"today"}`+"\n")
	write(t, "w.yaml", "task: w\ndataset: w.jsonl\nprompt: '{q}'\ntarget: a\nmetrics: [rouge]\n")
	wants(t, must(t, newEval(), "w.yaml", "--backend", "echo", "--opt", "mode=constant:today"), "50 % references hold no word that ROUGE counts")
	write(t, "run.yaml", "task: run\ndataset: w.jsonl\nprompt: '{q}'\ntarget: a\nextract:\n  - regex: '(a+)+$'\nmetrics: [accuracy]\n")
	wants(t, must(t, newEval(), "run.yaml", "--backend", "echo", "--opt", "mode=constant:"+strings.Repeat("a", 40)+"!"), "100 % no answer found")
	folder, err := results.Open("runs", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Stored(func(r *record.Record) bool {
		if !r.ExtractFailed || !strings.Contains(r.ExtractError, "time limit") {
			t.Errorf("extraction %v %q", r.ExtractFailed, r.ExtractError)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
}
