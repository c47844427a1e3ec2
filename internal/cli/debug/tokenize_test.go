package debug

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// window runs a window on lines.
func window(cmd *cobra.Command, lines string, args ...string) (string, error) {
	var out strings.Builder
	cmd.SetIn(strings.NewReader(lines))
	cmd.SetOut(&out)
	cmd.SetErr(&strings.Builder{})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return strings.TrimSpace(out.String()), err
}

// Ids of tiktoken 0.14 for cl100k_base; the small tokenizer is ours.
func TestTokenizeWindows(t *testing.T) {
	dir := t.TempDir()
	small := `{"added_tokens":[{"id":0,"content":"<s>","special":true},{"id":1,"content":"</s>","special":true}],
		"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
		"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{"<s>":0,"</s>":1,"a":2,"b":3,"ab":4,"<":5,"s":6,">":7},"merges":["a b"]}}`
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cmd        func() *cobra.Command
		args, line string
		want       string
	}{
		{newTokenize, "cl100k_base", `{"text":"Hello world"}`, `{"ids":[9906,1917]}`},
		{newTokenize, "cl100k_base", `{"text":"<|endoftext|>"}`, `{"ids":[100257]}`},
		{newTokenize, "cl100k_base --literal", `{"text":"<|endoftext|>"}`, `{"ids":[27,91,8862,728,428,91,29]}`},
		{newTokenize, "cl100k_base", `{"text":""}`, `{"ids":[]}`},
		{newDetokenize, "cl100k_base", `{"ids":[9906,100257,1917]}`, `{"text":"Hello world"}`},
		{newDetokenize, "cl100k_base --keep-special", `{"ids":[9906,100257,1917]}`, `{"text":"Hello<|endoftext|> world"}`},
		{newTokenize, dir, `{"text":"aab<s>"}`, `{"ids":[0,2,4,0]}`},
		{newTokenize, dir + " --no-special", `{"text":"aab<s>"}`, `{"ids":[2,4,0]}`},
		{newTokenize, dir + "/tokenizer.json --no-special --literal", `{"text":"b<s>"}`, `{"ids":[3,5,6,7]}`},
		{newDetokenize, dir, `{"ids":[0,4,2,1]}`, `{"text":"aba"}`},
		{newDetokenize, dir + " --keep-special", `{"ids":[0,4,2,1]}`, `{"text":"<s>aba</s>"}`},
	} {
		got, err := window(c.cmd(), c.line, append([]string{"--model"}, strings.Fields(c.args)...)...)
		if err != nil || got != c.want {
			t.Errorf("%s %s: got %s, %v, want %s", c.args, c.line, got, err, c.want)
		}
	}
	for _, c := range []struct{ line, model, want string }{
		{`{"tex":""}`, "cl100k_base", "standard input:1"},
		{`{"text":5}`, "cl100k_base", "standard input:1"},
		{`{"text":""}`, filepath.Join(dir, "none"), "--model"},
		{`{"text":""}`, t.TempDir(), "no tokenizer"},
		{`{"text":""}`, "", "--model"},
	} {
		if out, err := window(newTokenize(), c.line, "--model", c.model); err == nil || out != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: %q, %v, want %q", c.line, c.model, out, err, c.want)
		}
	}
}

// An id without a token is told with the ids that there are: a text without it
// would be another one.
func TestDetokenizeOfNoToken(t *testing.T) {
	dir := t.TempDir()
	small := `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":3},"merges":["a b"]}}`
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ model, ids, want string }{
		{dir, "0,4", "standard input:1: id 4 is outside the vocabulary, whose ids are 0 to 3"},
		{dir, "-1", "id -1 is outside the vocabulary, whose ids are 0 to 3"},
		{dir, "0,2,1", "id 2 is free: no token of the vocabulary, whose ids are 0 to 3, has it"},
		{"cl100k_base", "100277", "id 100277 is outside cl100k_base, whose ids are 0 to 100276"},
		{"cl100k_base", "100256", "id 100256 is free"},
	} {
		if out, err := window(newDetokenize(), `{"ids":[`+c.ids+`]}`, "--model", c.model); err == nil || out != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v, want %q", c.ids, out, err, c.want)
		}
	}
}

func TestChatWindow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.jinja")
	template := "{{ bos_token }}{% for m in messages %}{{ m | tojson }}{% endfor %}{{ tools is defined }}{% if add_generation_prompt %}{{ raise_exception('no ' + eos_token) }}{% endif %}"
	if err := os.WriteFile(file, []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := `{"messages":[{"role":"user","content":"<é>","a":1.0}],"bos_token":"<s>","tools":null}
{"messages":[],"add_generation_prompt":true,"eos_token":"</s>"}`
	want := `{"text":"<s>{\"role\": \"user\", \"content\": \"<é>\", \"a\": 1.0}True"}
{"error":"no </s>","exception":"TemplateError","line":1}`
	if got, err := window(newChat(), lines, "--template", file); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	// A model's template is given none for tools, as transformers gives it.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("{{ tools is defined }} {{ documents is none }} {{ other is defined }}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := window(newChat(), `{"messages":[]}`, "--model", dir); err != nil || got != `{"text":"True True False"}` {
		t.Errorf("a model's template: %s, %v", got, err)
	}
	for _, line := range []string{`{}`, `{"messages":5}`, `[]`, `{"messages":[],"add_generation_prompt":"yes"}`} {
		if out, err := window(newChat(), line, "--template", file); err == nil || out != "" {
			t.Errorf("%s: %s", line, out)
		}
	}
	for _, args := range [][]string{{}, {"--template", "none.jinja"}, {"--model", t.TempDir()}, {"--template", file, "--model", "x"}} {
		if _, err := window(newChat(), "", args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
