//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/format"
)

// demoAdapter writes a random adapter that fits the demonstration model.
func demoAdapter(t *testing.T, dir string, seed uint64, strength float64) {
	t.Helper()
	path, err := demo.File()
	if err != nil {
		t.Fatal(err)
	}
	base, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []weights.Tensor
	for layer := 0; base.Has(fmt.Sprintf("blk.%d.attn_q.weight", layer)); layer++ {
		q, err := base.Tensor(fmt.Sprintf("blk.%d.attn_q.weight", layer))
		if err != nil {
			t.Fatal(err)
		}
		for half, shape := range map[string][]int{"A": {4, q.Shape[1]}, "B": {q.Shape[0], 4}} {
			values := make([]float32, shape[0]*shape[1])
			for i := range values {
				values[i] = float32(rng.NormFloat64() * strength)
			}
			x := weights.Tensor{Name: fmt.Sprintf("base_model.model.model.layers.%d.self_attn.q_proj.lora_%s.weight", layer, half),
				Type: format.F32, Stored: "F32", Shape: shape, Data: make([]byte, 4*len(values))}
			format.F32.Encode(x.Data, values)
			out = append(out, x)
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := weights.WriteSafetensors(filepath.Join(dir, "adapter_model.safetensors"), out, nil); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": []string{"q_proj"}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "adapter_config.json"), text, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Adapters are columns beside their base, by --adapter and by --against; each
// answers for itself, and one that does not fit is refused before anything.
func TestAdaptersAsColumns(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(os.TempDir(), "evalrun-test-cache")
	t.Setenv("EVALRUN_CACHE", cache)
	path, err := demo.File()
	if err != nil {
		t.Fatal(err)
	}
	demoAdapter(t, filepath.Join(dir, "one"), 1, 1)
	demoAdapter(t, filepath.Join(dir, "two"), 2, 0)
	got := evalrun(t, dir, "glue_sst2", "--backend", "local", "--model", path, "--data", "embedded", "--limit", "12", "--json", "--quiet",
		"--adapter", "one=first", "--adapter", "two", "--against", "local:"+path, "--against", "local:"+path+"+one")
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s", got.code, got.stderr)
	}
	answers := map[string]string{} // a model's, in the order of the samples
	for _, run := range runsIn(t, dir) {
		text, err := os.ReadFile(filepath.Join(run.Path, "samples.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		slices.Sort(lines)
		for _, line := range lines {
			var r struct{ Model, Sample, Response string }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			answers[r.Model] += r.Sample + "=" + r.Response + "\n"
		}
	}
	find := func(end string) string {
		for model, text := range answers {
			if strings.HasSuffix(model, end) {
				return text
			}
		}
		t.Fatalf("no column %s of %v", end, answers)
		return ""
	}
	base, first, none, again := find(filepath.Base(path)), find("+first"), find("+two"), find("+one")
	if first == base {
		t.Error("the adapter changes no answer")
	}
	if none != base {
		t.Error("an adapter of zeros changes answers")
	}
	if again != first {
		t.Error("the same adapter by --against answers otherwise")
	}
}

// What lies where an adapter would be exported to stays, unless --force is given.
func TestExportWritesOverNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("EVALRUN_CACHE", filepath.Join(os.TempDir(), "evalrun-test-cache"))
	demoAdapter(t, filepath.Join(dir, "one"), 1, 1)
	file := filepath.Join(dir, "one.gguf")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	export := func(args ...string) ended {
		return evalrun(t, dir, append([]string{"adapter", "export", "--adapter", "one", "--gguf"}, args...)...)
	}
	got := export("one.gguf")
	if b, err := os.ReadFile(file); got.code != 1 || !strings.Contains(got.stderr, "--gguf one.gguf: is there already") || !strings.Contains(got.stderr, "--force") || err != nil || string(b) != "mine" {
		t.Errorf("exit code %d, the file holds %q, %v\n%s", got.code, b, err, got.stderr)
	}
	if got := export("one", "--force"); got.code != 1 || !strings.Contains(got.stderr, "is a folder") {
		t.Errorf("a folder: exit code %d\n%s", got.code, got.stderr)
	}
	if got := export("one.gguf", "--force"); got.code != 0 {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "GGUF") {
		t.Errorf("forced: %v", err)
	}
}

// An adapter for another model is refused in a sentence.
func TestAdapterOfAnotherModel(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("EVALRUN_CACHE", filepath.Join(os.TempDir(), "evalrun-test-cache"))
	demoAdapter(t, filepath.Join(dir, "one"), 1, 1)
	text, err := os.ReadFile(filepath.Join(dir, "one", "adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"r":4`, `"r":8`, 1)
	if err := os.WriteFile(filepath.Join(dir, "one", "adapter_config.json"), []byte(changed), 0o666); err != nil {
		t.Fatal(err)
	}
	got := evalrun(t, dir, "glue_sst2", "--data", "embedded", "--limit", "2", "--adapter", "one")
	if got.code != 1 || !strings.Contains(got.stderr, "rank 4, and adapter_config.json says 8") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}
