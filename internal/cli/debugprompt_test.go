package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebugPrompt: the window renders the row that eval would, and with a
// tokenizer shows its ids and what the context drops.
func TestDebugPrompt(t *testing.T) {
	dir := t.TempDir()
	var vocab []string
	for c := ' '; c <= '~'; c++ {
		b, err := json.Marshal(string(c))
		if err != nil {
			t.Fatal(err)
		}
		vocab = append(vocab, fmt.Sprintf("%s:%d", b, len(vocab)))
	}
	vocab = append(vocab, `"\n":95`)
	text := `{"model":{"type":"BPE","vocab":{` + strings.Join(vocab, ",") + `},"merges":[]},"decoder":{"type":"Fuse"}}`
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("{{ messages[0].content | length }}|{{ messages | length }}"), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func(args ...string) shownPrompt {
		t.Helper()
		end := evalrun(t, t.TempDir(), append([]string{"debug", "prompt", "glue_sst2", "--row", "2"}, args...)...)
		var p shownPrompt
		if err := json.Unmarshal([]byte(end.stdout), &p); err != nil {
			t.Fatalf("%v: %s", err, end.stderr)
		}
		return p
	}
	plain := show()
	if !strings.Contains(plain.Prompt, "### Review:") || plain.Row != "2" || len(plain.Targets) != 1 || plain.IDs != nil {
		t.Errorf("%+v", plain)
	}
	ids := show("--model", dir)
	if ids.Text != plain.Prompt || len(ids.IDs) != len(plain.Prompt) || ids.IDs[0] != int32(plain.Prompt[0]-' ') || ids.Truncated != 0 {
		t.Errorf("%+v", ids)
	}
	cut := show("--model", dir, "--opt", "context=60")
	if cut.Truncated == 0 || len(cut.IDs)+cut.Truncated != len(plain.Prompt) || cut.Context != 60 {
		t.Errorf("%+v", cut)
	}
	chat := show("--model", dir, "--opt", "form=chat")
	if len(chat.Messages) != 1 || !strings.HasSuffix(chat.Text, "|1") {
		t.Errorf("%+v", chat)
	}
	for _, bad := range [][]string{{"--row", "100000"}, {"--row", "-1"}, {"--model", t.TempDir()}, {"--opt", "form=verse", "--model", dir}} {
		end := evalrun(t, t.TempDir(), append([]string{"debug", "prompt", "glue_sst2"}, bad...)...)
		if end.code != 1 || end.stdout != "" || !strings.Contains(end.stderr, bad[0]) {
			t.Errorf("%v: code %d, %q, %q", bad, end.code, end.stdout, end.stderr)
		}
	}
}
