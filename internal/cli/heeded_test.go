//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A flag that no model heeds is refused, and one that only the second heeds is
// given to it.
func TestFlagsThatNobodyHeeds(t *testing.T) {
	const url = "http://127.0.0.1:1/v1"
	for _, tt := range []struct {
		f    evalFlags
		want string
	}{
		{evalFlags{backend: "local", baseURL: url}, "--base-url " + url + ": no model here is asked of a service: the backend is local"},
		{evalFlags{backend: "echo", baseURL: url, against: []string{"local:x"}}, "no model here is asked"},
		{evalFlags{backend: "local", baseURL: url, against: []string{"openai:m"}}, ""},
		{evalFlags{backend: "openai", baseURL: url}, ""},
		{evalFlags{backend: "mine", baseURL: url, device: "cpu"}, ""},
		{evalFlags{backend: "openai", device: "cpu"}, "--device cpu: no model here computes on this machine: the backend is openai"},
		{evalFlags{backend: "echo", device: "cpu", against: []string{"local:x"}}, ""},
	} {
		models, err := tt.f.mainModels()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range tt.f.against {
			m, err := tt.f.againstSpec(a, []string{"local", "openai", "echo", "replay", "mine"})
			if err != nil {
				t.Fatal(err)
			}
			if m.Backend == "openai" && m.Config.BaseURL != url {
				t.Errorf("%s asks %q", a, m.Config.BaseURL)
			}
			models = append(models, m)
		}
		err = tt.f.heeded(models...)
		if got := ""; tt.want != "" && err != nil {
			got = err.Error()
			if !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		} else if tt.want != "" || err != nil {
			t.Errorf("%+v: %v, want %q", tt.f, err, tt.want)
		}
	}
}

// A source without rows is told as that, and not as what filter and limit took.
func TestSourceWithoutRows(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty.jsonl": "", "header.csv": "text,label\n", "full.jsonl": `{"text":"a","label":"1"}` + "\n",
		"t.yaml": "task: t\ndataset: empty.jsonl\nprompt: '{text}'\ntarget: label\nmetrics: [accuracy]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for set, want := range map[string]string{
		"dataset=empty.jsonl": "empty.jsonl holds no row",
		"dataset=header.csv":  "header.csv holds no row",
		"dataset={source: full.jsonl, filter: 'label == \"2\"'}": "no row is left: full.jsonl with this filter and limit gives none",
	} {
		if got := evalrun(t, dir, "validate", "t.yaml", "--set", set); got.code != ExitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit code %d\n%s%s", set, got.code, got.stdout, got.stderr)
		}
	}
}

// Help about a verb that is not there is an error; lists of runs count in numbers.
func TestHelpAndLists(t *testing.T) {
	dir := t.TempDir()
	if got := evalrun(t, dir, "help", "nosuch"); got.code != ExitUsage || !strings.Contains(got.stderr, "help nosuch: there is no such verb") {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if got := evalrun(t, dir, "help", "adapter", "info"); got.code != ExitOK || !strings.Contains(got.stdout, "evalrun adapter info DIR") {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	got := evalrun(t, dir, "glue_sst2", "--backend", "echo", "--data", "embedded", "--limit", "2", "--quiet", "--out", "elsewhere", "--min-score", "0.99")
	if got.code != ExitThreshold || !strings.Contains(got.stderr, "evalrun view latest --out elsewhere --wrong --task glue_sst2") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	if got := evalrun(t, dir, "ls", "runs", "--json", "--out", "elsewhere"); !strings.Contains(got.stdout, `"tasks":1`) {
		t.Errorf("%s%s", got.stdout, got.stderr)
	}
}

// Instructions that the machine lacks are told of the variable that names them.
func TestUnknownPath(t *testing.T) {
	cmd := evalrunCommand(t, t.TempDir(), "glue_sst2", "--limit", "1", "--quiet")
	cmd.Env = append(cmd.Environ(), "EVALRUN_CPU=foo")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != ExitUsage || !strings.Contains(string(out), `EVALRUN_CPU: starting the device: "foo": this machine cannot compute so`) {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// Shells complete tasks after eval, and the words that a flag takes.
func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"glue_ss"}, "glue_sst2\n"},
		{[]string{"eval", "glue_ss"}, "glue_sst2\n"},
		{[]string{"--backend", ""}, "echo\nlocal\nopenai\nreplay\n"},
		{[]string{"eval", "--profile", ""}, "strict\nbakeoff\n"},
		{[]string{"train", "--preset", ""}, "paper\nmodern\n"},
		{[]string{"report", "--format", ""}, "md\nhtml\ncsv\njunit\njson\n"},
	} {
		if got := evalrun(t, t.TempDir(), append([]string{"__complete"}, tt.args...)...).stdout; !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}
