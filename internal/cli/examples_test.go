package cli

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/results"
)

// unrunnable are the examples that need what a test machine lacks, each with
// the reason.
var unrunnable = map[string]string{
	"evalrun bench runner --requests 100000":     "takes half a minute",
	"evalrun bench runner":                       "takes long on a busy machine",
	"evalrun doctor":                             "measures for seconds",
	"evalrun bench kernels":                      "measures for seconds",
	"evalrun bench kernels --device cpu":         "measures for seconds",
	"evalrun bench kernels --device cuda --json": "needs a GPU",
}

// needsMore are parts of examples that cannot be run anywhere.
var needsMore = map[string]string{
	"git clone":           "needs a network",
	"import ludwig":       "needs a configuration of another program",
	"import lora-bakeoff": "needs the published folder of another study",
	"debug quantize":      "needs a model",
	"debug dequantize":    "needs a model",
	"adapter info DIR":    "needs an adapter",
	"adapter diff A B":    "needs adapters",
	"--model DIR":         "needs a model",
	"--model base.gguf":   "needs a model and llama.cpp",
	"debug examples":      "needs an adapter that was trained here",
	"--model MODEL":       "needs a model",
	"debug optim":         "needs a file of gradients",
}

// TestExamples runs what every command's help offers to paste, each in a folder
// of its own that holds one run.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("runs some forty commands")
	}
	ready := t.TempDir()
	if out := evalrunIn(t, ready, "evalrun glue_sst2 boolq --backend echo --data embedded --against echo --quiet"); out != "" {
		t.Fatal(out)
	}
	var examples []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		own := 0
		for _, line := range strings.Split(c.Example, "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				own++
				if !slices.Contains(examples, line) {
					examples = append(examples, line)
				}
			}
		}
		if own < 2 && !c.Hidden && c.Name() != "help" && c.Name() != "completion" && !window(c) && (c.Parent() == nil || c.Parent().Name() != "completion") {
			t.Errorf("%s --help has %d examples, want two", c.CommandPath(), own)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for _, e := range examples {
		if unrunnable[e] != "" {
			continue
		}
		skip := false
		for part := range needsMore {
			skip = skip || strings.Contains(e, part)
		}
		if skip {
			continue
		}
		t.Run(e, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "runs"), os.DirFS(filepath.Join(ready, "runs"))); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(e, "resume") {
				folder, err := results.Open(filepath.Join(dir, "runs"), "latest")
				if err != nil {
					t.Fatal(err)
				}
				folder.Manifest.Finished = nil
				if err := folder.SaveManifest(); err != nil {
					t.Fatal(err)
				}
			}
			if out := evalrunIn(t, dir, e); out != "" {
				t.Error(out)
			}
		})
	}
}

var evalrunWord = regexp.MustCompile(`\bevalrun\b`)

// evalrunIn runs a line as a shell does and gives what went wrong.
func evalrunIn(t *testing.T, dir, line string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(bin, "evalrun")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	if !evalrunWord.MatchString(line) {
		return "the example does not run evalrun: " + line
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "EVALRUN_TEST_MAIN=1", "EVALRUN_CACHE="+filepath.Join(dir, "cache"),
		"HF_HUB_OFFLINE=1", "HF_HOME="+filepath.Join(dir, "hf"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return err.Error() + "\n" + out.String()
	}
	return ""
}

// Rows that are packed, or in files that a pattern names, are the same rows.
func TestPackedRows(t *testing.T) {
	dir := t.TempDir()
	rows := []string{`{"a":"France","b":"Paris"}`, `{"a":"Italy","b":"Rome"}`, `{"a":"Peru","b":"Lima"}`}
	pack := func(name string, rows ...string) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(strings.Join(rows, "\n") + "\n")); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), b.String())
	}
	pack("all.jsonl.gz", rows...)
	pack("part-1.jsonl.gz", rows[:2]...)
	pack("part-2.jsonl.gz", rows[2:]...)
	for _, source := range []string{"all.jsonl.gz", "part-*.jsonl.gz"} {
		write(t, filepath.Join(dir, "t.yaml"), "task: t\ndataset: '"+source+"'\nprompt: 'The capital of {a} is'\ntarget: b\nmetrics: [exact_match]\n")
		if out := evalrunIn(t, dir, "evalrun t.yaml --backend echo --opt mode=constant:Rome --json --min-score 0.3 | grep '\"n\":3'"); out != "" {
			t.Errorf("%s: %s", source, out)
		}
	}
	pack("broken.jsonl.gz", rows...)
	b, err := os.ReadFile(filepath.Join(dir, "broken.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "broken.jsonl.gz"), string(b[:len(b)/2]))
	write(t, filepath.Join(dir, "t.yaml"), "task: t\ndataset: broken.jsonl.gz\nprompt: '{a}'\ntarget: b\nmetrics: [exact_match]\n")
	if out := evalrunIn(t, dir, "evalrun t.yaml --backend echo"); !strings.Contains(out, "broken.jsonl.gz") {
		t.Errorf("a cut file: %s", out)
	}
}

// window tells whether a command is one of evalrun debug, which docs/debug.md
// describes.
func window(c *cobra.Command) bool {
	for ; c != nil; c = c.Parent() {
		if c.Name() == "debug" {
			return true
		}
	}
	return false
}
