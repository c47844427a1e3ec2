package local_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
)

// planOf gives the plan of a training on rows, one JSON object a line.
func planOf(t *testing.T, template, rows string) (*core.TrainPlan, error) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(data, []byte(rows), 0o644); err != nil {
		t.Fatal(err)
	}
	model := chatModel(t, template)
	if template == "" { // none
		if err := os.Remove(filepath.Join(model, "tokenizer_config.json")); err != nil {
			t.Fatal(err)
		}
	}
	b, err := local.New(core.Config{Model: model})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	job := core.Job{Data: data, Out: t.TempDir(), PlanOnly: true, Recipe: `{"preset": "modern", "targets": ["q_proj"], "quant": "none", "compute": "f32", "accumulate": 1, "steps": 1}`}
	for news, err := range b.(core.Trainer).Train(t.Context(), job) {
		if err != nil {
			return nil, err
		}
		if news.Kind == core.PlanNews {
			return news.Plan, nil
		}
	}
	t.Fatal("no plan")
	return nil, nil
}

const turnsTemplate = `{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}
{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}`

// The assistant's turns are learned with the mark of their end, nothing else
// is, and a turn may be left out.
func TestTrainingOnMessages(t *testing.T) {
	chat := func(first string) string {
		return `{"id":"a","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"` + first + `},{"role":"user","content":"so"},{"role":"assistant","content":"no"}]}`
	}
	for _, c := range []struct{ template, first, want string }{
		{turnsTemplate, "", `<1>[INST]~hi~[/INST][yo<2>]\n[INST]~so~[/INST][no<2>]`},
		{turnsTemplate, `,"train":false`, `<1>[INST]~hi~[/INST]yo<2>\n[INST]~so~[/INST][no<2>]`},
		// A template without marks: EOS ends what is learned.
		{`{% for m in messages %}{{ m.content }}{% if m.role == 'user' %}:{% endif %}{% endfor %}`, "", `<1>hi:[yo<2>]so:[no<2>]`},
	} {
		p, err := planOf(t, c.template, chat(c.first))
		if err != nil || len(p.Batch) != 1 {
			t.Fatalf("%v, %+v", err, p)
		}
		// The plan shows tokens as "x", learned ones as ["x"]; here runs of them.
		var got strings.Builder
		learned := false
		rest := strings.TrimPrefix(p.Batch[0], "a:")
		for rest != "" {
			rest = strings.TrimPrefix(rest, " ")
			now := strings.HasPrefix(rest, "[")
			rest = strings.TrimPrefix(rest, "[")
			end := 1 + strings.Index(rest[1:], `"`)
			piece := rest[1:end]
			rest = strings.TrimPrefix(rest[end+1:], "]")
			if now != learned {
				got.WriteString(map[bool]string{true: "[", false: "]"}[now])
				learned = now
			}
			got.WriteString(strings.ReplaceAll(piece, " ", "~"))
		}
		if learned {
			got.WriteByte(']')
		}
		if got.String() != c.want {
			t.Errorf("got  %s\nwant %s", got.String(), c.want)
		}
	}
}

// Chats that cannot be learned are left out by name; a model without a
// template, or a row of two kinds, stops.
func TestTrainingOnBadMessages(t *testing.T) {
	good := `{"id":"good","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]}` + "\n"
	p, err := planOf(t, turnsTemplate, good+`{"id":"b","messages":[{"role":"user","content":"hi"}]}`+"\n"+
		`{"id":"c","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":" "}]}`+"\n"+
		`{"id":"d","messages":[{"role":"system","content":"hi"},{"role":"assistant","content":"x"}]}`+"\n")
	if err != nil || p.Examples != 1 {
		t.Fatal(err, p)
	}
	for i, want := range []string{"b: no turn of the assistant", "c: turn 2, the assistant's, is empty", "d: the chat template refuses"} {
		if i >= len(p.Left) || !strings.Contains(p.Left[i], want) {
			t.Errorf("%q, want %q", p.Left, want)
		}
	}
	if _, err := planOf(t, turnsTemplate, `{"id":"x","prompt":"a","messages":[]}`); err == nil || !strings.Contains(err.Error(), "row x has messages and a prompt") {
		t.Error(err)
	}
	if _, err := planOf(t, "", good); err == nil || !strings.Contains(err.Error(), "row good has messages, and the model has no chat template") {
		t.Error(err)
	}
}

// A training reads a prompt as it is read when it is answered: names of special
// tokens in a row are text, a BOS at its very beginning stands once.
func TestTrainingReadsAsAnswering(t *testing.T) {
	prompts := []string{"plain", "a </s> b<|im_end|>", "<s>begun", "<s><s>twice", "</s>", "mid <s> dle\n"}
	var rows strings.Builder
	for i, p := range prompts {
		line, err := json.Marshal(map[string]string{"id": fmt.Sprint(i), "prompt": p, "completion": "x</s>y" + strings.Repeat("</s>", i%2)})
		if err != nil {
			t.Fatal(err)
		}
		rows.Write(append(line, '\n'))
	}
	model := chatModel(t, turnsTemplate)
	data := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(data, []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	preview, err := local.NewPreviewer(core.Config{Model: model})
	if err != nil {
		t.Fatal(err)
	}
	b, err := local.New(core.Config{Model: model})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	// As the plan shows tokens: special ones by number.
	shown := func(ids []int32, form string) string {
		var out strings.Builder
		for _, id := range ids {
			piece := fmt.Sprintf("<%d>", id)
			if c := ' ' + rune(id) - 3; c >= ' ' && c <= '~' {
				piece = string(c)
			} else if c == '~'+1 {
				piece = "\n"
			}
			fmt.Fprintf(&out, form, piece)
		}
		return out.String()
	}
	text := func(s string) (ids []int32) {
		for _, c := range s {
			ids = append(ids, 3+c-' ')
		}
		return ids
	}
	for preset, bos := range map[string][]int32{"paper": {1}, "modern": nil} {
		job := core.Job{Data: data, Out: t.TempDir(), PlanOnly: true, Recipe: `{"preset":"` + preset + `","targets":["q_proj"],"quant":"none","compute":"f32","accumulate":6,"steps":6,"prompt_tokens":400,"total_tokens":500}`}
		for news, err := range b.(core.Trainer).Train(t.Context(), job) {
			if err != nil {
				t.Fatal(err)
			}
			if news.Kind != core.PlanNews {
				continue
			}
			if len(news.Plan.Batch) != len(prompts) {
				t.Errorf("%s: %d rows", preset, len(news.Plan.Batch))
			}
			for i, p := range prompts {
				asked, err := preview.Preview(core.Request{Kind: core.Generate, Prompt: p, Generation: core.Generation{MaxTokens: 1}})
				if err != nil {
					t.Fatal(err)
				}
				target := append(append(slices.Clone(bos), text("x</s>y")...), 2)
				want := fmt.Sprint(i) + ":" + shown(asked.IDs, " %q") + shown(target, " [%q]")
				if !slices.Contains(news.Plan.Batch, want) {
					t.Errorf("%s, %q: want\n%s\namong\n%s", preset, p, want, strings.Join(news.Plan.Batch, "\n"))
				}
			}
		}
	}
}
