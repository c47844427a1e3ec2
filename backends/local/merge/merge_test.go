package merge

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

const config = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"hidden_act": "silu", "tie_word_embeddings": false}`

var shapes = map[string][]int{
	"model.embed_tokens.weight": {40, 64}, "lm_head.weight": {40, 64}, "model.norm.weight": {64},
	"model.layers.0.input_layernorm.weight": {64}, "model.layers.0.post_attention_layernorm.weight": {64},
	"model.layers.0.self_attn.q_proj.weight": {64, 64}, "model.layers.0.self_attn.k_proj.weight": {32, 64},
	"model.layers.0.self_attn.v_proj.weight": {32, 64}, "model.layers.0.self_attn.o_proj.weight": {64, 64},
	"model.layers.0.mlp.gate_proj.weight": {96, 64}, "model.layers.0.mlp.up_proj.weight": {96, 64}, "model.layers.0.mlp.down_proj.weight": {64, 96},
}

const target = "model.layers.0.self_attn.v_proj"

// fixture writes a base in two files and an adapter of one module.
func fixture(t *testing.T, dora bool) (base, adapter string) {
	t.Helper()
	dir := t.TempDir()
	base, adapter = filepath.Join(dir, "base"), filepath.Join(dir, "adapter")
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(name string, shape ...int) weights.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(rng.NormFloat64())
		}
		return weights.Float32s(name, values, shape...)
	}
	files, index := map[string][]weights.Tensor{}, `{"metadata":{"total_size":1},"weight_map":{`
	for name, shape := range shapes {
		file := "model-00001-of-00002.safetensors"
		if strings.Contains(name, "layers") {
			file = "model-00002-of-00002.safetensors"
		}
		files[file] = append(files[file], random(name, shape...))
		index += `"` + name + `":"` + file + `",`
	}
	if err := os.MkdirAll(base, 0o777); err != nil {
		t.Fatal(err)
	}
	for file, tensors := range files {
		if err := weights.WriteSafetensors(filepath.Join(base, file), tensors, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"config.json": config, "model.safetensors.index.json": strings.TrimSuffix(index, ",") + "}}", "tokenizer_config.json": "{}", "pytorch_model.bin": "old"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tensors := []weights.Tensor{random("base_model.model."+target+".lora_A.weight", 4, 64), random("base_model.model."+target+".lora_B.weight", 32, 4)}
	if dora {
		tensors = append(tensors, random("base_model.model."+target+".lora_magnitude_vector", 32))
	}
	text, err := lora.Settings{Base: "base", Rank: 4, Alpha: 6, Targets: []string{"v_proj"}, DoRA: dora}.JSON()
	if err == nil {
		err = lora.Write(adapter, text, tensors)
	}
	if err != nil {
		t.Fatal(err)
	}
	return base, adapter
}

func read(t *testing.T, dir, name string) []float32 {
	t.Helper()
	f, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values, _, err := quant.Values(f, name)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// The merged weight is the definition's, in float64, and every other tensor
// and file is the base's.
func TestWrite(t *testing.T) {
	for _, dora := range []bool{false, true} {
		base, adapter := fixture(t, dora)
		out := filepath.Join(t.TempDir(), "out")
		r, err := Write(base, adapter, out, Stored)
		if err != nil {
			t.Fatal(err)
		}
		if r.Files != 2 || r.Tensors != len(shapes) || r.Merged != 1 {
			t.Errorf("%+v", r)
		}
		w, a, b := read(t, base, target+".weight"), read(t, adapter, "base_model.model."+target+".lora_A.weight"), read(t, adapter, "base_model.model."+target+".lora_B.weight")
		got := read(t, out, target+".weight")
		for n := range 32 {
			row, norm := make([]float64, 64), 0.0
			for k := range row {
				row[k] = float64(w[n*64+k])
				for r := range 4 {
					row[k] += 1.5 * float64(b[n*4+r]) * float64(a[r*64+k])
				}
				norm += row[k] * row[k]
			}
			for k := range row {
				if dora {
					row[k] *= float64(read(t, adapter, "base_model.model."+target+".lora_magnitude_vector")[n]) / math.Sqrt(norm)
				}
				if d := math.Abs(float64(got[n*64+k]) - row[k]); d > 1e-5 {
					t.Fatalf("dora %v: [%d %d] is %g, want %g", dora, n, k, got[n*64+k], row[k])
				}
			}
		}
		for name := range shapes {
			if name == target+".weight" {
				continue
			}
			x, y := read(t, base, name), read(t, out, name)
			for i := range x {
				if x[i] != y[i] {
					t.Fatalf("%s changed", name)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(out, "pytorch_model.bin")); err == nil {
			t.Error("the base's other weights are copied")
		}
		if text, err := os.ReadFile(filepath.Join(out, "tokenizer_config.json")); err != nil || string(text) != "{}" {
			t.Error("the tokenizer is not copied", err)
		}
		if _, err := Write(base, adapter, out, Stored); err == nil {
			t.Error("written over")
		}
	}
}

// Onto dequant, linear weights are NF4's values, and the adapter is added to
// those; embeddings, norms and the head are the base's.
func TestWriteDequant(t *testing.T) {
	base, adapter := fixture(t, false)
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Write(base, adapter, out, Dequant); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, shape := range shapes {
		if name == target+".weight" {
			continue
		}
		x, _ := f.Tensor(name)
		want, err := x.Floats()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "_proj") {
			w, err := quant.NF4.Apply(kernels.Weight{Name: name, Type: x.Type, N: shape[0], K: shape[1], Data: x.Data}, format.BF16)
			if err != nil {
				t.Fatal(err)
			}
			w.Decode(want, 0)
		}
		got := read(t, out, name)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: value %d is %g, want %g", name, i, got[i], want[i])
			}
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	base, adapter := fixture(t, false)
	if err := os.WriteFile(filepath.Join(base, "config.json"), []byte(strings.Replace(config, `"num_key_value_heads": 2`, `"num_key_value_heads": 4`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Write(base, adapter, out, Stored); err == nil || !strings.Contains(err.Error(), "v_proj") {
		t.Error(err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the folder is made all the same")
	}
}

// The exported tensors give the adapter's product again: of v as it is, of q
// with its rows in pairs (row 2i of a head is its row i, 2i+1 its row i + half).
func TestGGUF(t *testing.T) {
	base, adapter := fixture(t, false)
	path := filepath.Join(t.TempDir(), "adapter.gguf")
	for _, module := range []string{"self_attn.v_proj", "self_attn.q_proj"} {
		n := 32
		if module == "self_attn.q_proj" {
			n = 64
			rng := rand.New(rand.NewPCG(5, 6))
			a, b := make([]float32, 4*64), make([]float32, 64*4)
			for i := range a {
				a[i], b[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
			}
			text, err := lora.Settings{Base: "base", Rank: 4, Alpha: 6, Targets: []string{"q_proj"}, RSLoRA: true}.JSON()
			if err == nil {
				err = lora.Write(adapter, text, []weights.Tensor{weights.Float32s("base_model.model.model.layers.0."+module+".lora_A.weight", a, 4, 64),
					weights.Float32s("base_model.model.model.layers.0."+module+".lora_B.weight", b, 64, 4)})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := GGUF(base, adapter, path); err != nil {
			t.Fatal(err)
		}
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		name := map[string]string{"self_attn.v_proj": "blk.0.attn_v.weight", "self_attn.q_proj": "blk.0.attn_q.weight"}[module]
		a, b := read(t, path, name+".lora_a"), read(t, path, name+".lora_b")
		wantA, wantB := read(t, adapter, "base_model.model.model.layers.0."+module+".lora_A.weight"), read(t, adapter, "base_model.model.model.layers.0."+module+".lora_B.weight")
		alpha, _ := f.Meta().Float("adapter.lora.alpha")
		scale := 6.0 / 4
		if n == 64 {
			scale = 6.0 / 2 // rsLoRA: alpha / sqrt(rank)
		}
		if kind, _ := f.Meta().String("general.type"); kind != "adapter" || math.Abs(alpha/4-scale) > 1e-6 {
			t.Errorf("%s: alpha %g", module, alpha)
		}
		for row := range n {
			from := row
			if n == 64 { // heads of 16
				from = row/16*16 + row%2*8 + row%16/2
			}
			for r := range 4 {
				if b[row*4+r] != wantB[from*4+r] {
					t.Fatalf("%s: row %d is not row %d", module, row, from)
				}
			}
		}
		for i := range a {
			if a[i] != wantA[i] {
				t.Fatalf("%s: A differs", module)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	base, adapter = fixture(t, true)
	if err := GGUF(base, adapter, path); err == nil {
		t.Error("DoRA is exported without its magnitudes")
	}
}

// Of the same base as a GGUF file the export is the same, byte for byte.
func TestGGUFOfGGUF(t *testing.T) {
	dir := t.TempDir()
	gguf, folder, adapter := filepath.Join(dir, "demo.gguf"), filepath.Join(dir, "hf"), filepath.Join(dir, "adapter")
	config := `{"model_type":"llama","hidden_size":256,"intermediate_size":512,"num_hidden_layers":6,"num_attention_heads":4,"num_key_value_heads":2,
		"vocab_size":2048,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true,"hidden_act":"silu"}`
	if err := errors.Join(os.WriteFile(gguf, demo.GGUF, 0o600), os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "config.json"), []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var tensors []weights.Tensor
	for name, shape := range map[string][2]int{"q_proj.lora_A": {2, 256}, "q_proj.lora_B": {256, 2}, "k_proj.lora_A": {2, 256}, "k_proj.lora_B": {128, 2}} {
		values := make([]float32, shape[0]*shape[1])
		for i := range values {
			values[i] = float32(rng.NormFloat64())
		}
		tensors = append(tensors, weights.Float32s("base_model.model.model.layers.3.self_attn."+name+".weight", values, shape[0], shape[1]))
	}
	text, err := lora.Settings{Base: "demo", Rank: 2, Alpha: 2, Targets: []string{"model.layers.3.self_attn.q_proj", "model.layers.3.self_attn.k_proj"}}.JSON()
	if err == nil {
		err = lora.Write(adapter, text, tensors)
	}
	if err != nil {
		t.Fatal(err)
	}
	var files [2][]byte
	for i, base := range []string{gguf, folder} {
		path := filepath.Join(dir, "out.gguf")
		if err := GGUF(base, adapter, path); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) || len(files[0]) < 2*2*(256+256+256+128)*2 {
		t.Errorf("%d bytes of a GGUF base, %d of a folder, or they differ", len(files[0]), len(files[1]))
	}
}
