package merge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/weights"
)

const headTensor = head + ".weight"

// tied makes the fixture's base one whose head is its embedding: without a head in
// the files, or with a copy there.
func tied(t *testing.T, base string, copied bool) {
	t.Helper()
	text := strings.Replace(config, `"tie_word_embeddings": false`, `"tie_word_embeddings": true`, 1)
	if err := os.WriteFile(filepath.Join(base, "config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(base, "model-00001-of-00002.safetensors")
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []weights.Tensor
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		x.Data = slices.Clone(x.Data)
		if name == headTensor && !copied {
			continue
		}
		if name == headTensor {
			e, err := f.Tensor("model.embed_tokens.weight")
			if err != nil {
				t.Fatal(err)
			}
			x.Data = slices.Clone(e.Data)
		}
		all = append(all, x)
	}
	f.Close()
	if err := weights.WriteSafetensors(path, all, nil); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(base, "model.safetensors.index.json")
	list, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	if !copied {
		var x struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(list, &x); err != nil {
			t.Fatal(err)
		}
		delete(x.Map, headTensor)
		if list, err = json.Marshal(map[string]any{"weight_map": x.Map}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(index, list, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// An adapter that changes the embedding leaves the head as it was, and the other
// way round, as in PEFT: a tied base becomes one with two matrices.
func TestTied(t *testing.T) {
	ones := make([]float32, 40*64)
	for i := range ones {
		ones[i] = 1
	}
	for _, copied := range []bool{false, true} {
		for _, c := range []struct {
			name    string
			save    []string
			tensors []weights.Tensor
			embed   bool // is changed, the head is not
		}{
			{"embedding", []string{"embed_tokens"}, []weights.Tensor{weights.Float32s("base_model.model.model.embed_tokens.weight", ones, 40, 64)}, true},
			{"head", []string{"lm_head"}, []weights.Tensor{weights.Float32s("base_model.model.lm_head.weight", ones, 40, 64)}, false},
		} {
			base, adapter := fixture(t, false)
			tied(t, base, copied)
			addSaved(t, adapter, c.save, c.tensors)
			out := filepath.Join(t.TempDir(), "out")
			if _, err := Write(base, adapter, out, Stored); err != nil {
				t.Fatal(c.name, err)
			}
			old := read(t, base, "model.embed_tokens.weight")
			embed, output := ones, old
			if !c.embed {
				embed, output = old, ones
			}
			if !slices.Equal(read(t, out, "model.embed_tokens.weight"), embed) || !slices.Equal(read(t, out, headTensor), output) {
				t.Errorf("%s, copied %v: the two matrices are not those of the adapter and the base", c.name, copied)
			}
			merged, f, err := arch.Open(out)
			if err != nil {
				t.Fatal(c.name, err)
			}
			if merged.Tied {
				t.Errorf("%s: still tied", c.name)
			}
			f.Close()
			text, err := os.ReadFile(filepath.Join(out, "config.json"))
			if err != nil || !strings.Contains(string(text), `"tie_word_embeddings": false`) {
				t.Errorf("%s: config.json: %v %s", c.name, err, text)
			}
		}
	}
	// One that changes neither leaves them one.
	base, adapter := fixture(t, false)
	tied(t, base, false)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Write(base, adapter, out, Stored); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Has(headTensor) {
		t.Error("a head of its own, and nothing changed it")
	}
}

// addSaved writes whole modules into an adapter.
func addSaved(t *testing.T, dir string, save []string, tensors []weights.Tensor) {
	t.Helper()
	a, err := lora.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(a.Text, &c); err != nil {
		t.Fatal(err)
	}
	a.Close()
	c["modules_to_save"] = save
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{".lora_A.weight", ".lora_B.weight"} {
		name := "base_model.model." + target + end
		shape := []int{4, 64}
		if end == ".lora_B.weight" {
			shape = []int{32, 4}
		}
		tensors = append(tensors, weights.Float32s(name, read(t, dir, name), shape...))
	}
	if err := lora.Write(dir, text, tensors); err != nil {
		t.Fatal(err)
	}
}

// inside makes a base of another's tensors, as those of the language model within
// one that sees pictures.
func inside(t *testing.T, base string) string {
	t.Helper()
	inner := t.TempDir()
	f, err := weights.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []weights.Tensor
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		x.Name = "language_model." + name
		all = append(all, x)
	}
	if err := weights.WriteSafetensors(filepath.Join(inner, "model.safetensors"), all, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(base, "config.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(inner, "config.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return inner
}

// A language model within one that sees pictures keeps its tensors elsewhere, its
// head among them, also where it shares the embedding's before.
func TestInnerModel(t *testing.T) {
	base, adapter := fixture(t, false)
	want, got := filepath.Join(t.TempDir(), "want"), filepath.Join(t.TempDir(), "got")
	for _, m := range [][2]string{{base, want}, {inside(t, base), got}} {
		if _, err := Write(m[0], adapter, m[1], Stored); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(read(t, got, "language_model."+target+".weight"), read(t, want, target+".weight")) {
		t.Error("the merged weight is another")
	}
	ones := slices.Repeat([]float32{1}, 40*64)
	for _, copied := range []bool{false, true} {
		base, adapter := fixture(t, false)
		tied(t, base, copied)
		addSaved(t, adapter, []string{head}, []weights.Tensor{weights.Float32s("base_model.model.lm_head.weight", ones, 40, 64)})
		out := filepath.Join(t.TempDir(), "out")
		if _, err := Write(inside(t, base), adapter, out, Stored); err != nil {
			t.Fatal(err)
		}
		f, err := weights.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if f.Has(headTensor) || !slices.Equal(read(t, out, "language_model."+headTensor), ones) {
			t.Errorf("copied %v: the head is not the adapter's, or there are two", copied)
		}
		f.Close()
	}
}
