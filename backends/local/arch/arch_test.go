package arch_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// devices are those that a model is run on, one at a time.
func devices(t *testing.T, f func(t *testing.T, dev kernels.Device)) {
	t.Run("ref", func(t *testing.T) { f(t, ref.New()) })
	for _, p := range cpu.Paths() {
		t.Run(p, func(t *testing.T) {
			d, err := cpu.New(cpu.Options{Threads: 2, Path: p})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			f(t, d)
		})
	}
}

func load(t *testing.T, dev kernels.Device, path string) *arch.Model {
	t.Helper()
	m, err := arch.Load(dev, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// forward runs ids from position 0, in pieces of the sizes given (the last one
// repeated), and returns the logits of every position.
func forward(t *testing.T, dev kernels.Device, m *arch.Model, ids []int32, pieces ...int) [][]float32 {
	t.Helper()
	return adapted(t, dev, m, nil, ids, pieces...)
}

// adapted is forward with an adapter.
func adapted(t *testing.T, dev kernels.Device, m *arch.Model, a *nn.Adapter, ids []int32, pieces ...int) [][]float32 {
	t.Helper()
	w, err := m.NewWorkspace(dev, len(ids), 8)
	if err != nil {
		t.Fatal(err)
	}
	pages := (len(ids) + kernels.PageTokens - 1) / kernels.PageTokens
	caches, err := m.NewCaches(dev, pages)
	if err != nil {
		t.Fatal(err)
	}
	var table []int32
	for i := range pages {
		table = append(table, int32(pages-1-i))
	}
	var out [][]float32
	for at := 0; at < len(ids); {
		n := min(pieces[0], len(ids)-at)
		if len(pieces) > 1 {
			pieces = pieces[1:]
		}
		b := &nn.Batch{IDs: ids[at : at+n], Spans: []kernels.Span{{N: n, Pos: at, Pages: table}}}
		for i := range n {
			b.Pos, b.Want = append(b.Pos, int32(at+i)), append(b.Want, int32(i))
		}
		if a != nil {
			b.Uses = []nn.Use{{Row: 0, N: n, Adapter: a}}
		}
		state := m.Forward(dev, w, b, caches)
		for i := 0; i < n; i += 8 {
			k := min(8, n-i)
			rows := make([]float32, k*m.Vocab)
			m.Logits(dev, w, state, i, k, rows)
			for r := range k {
				out = append(out, rows[r*m.Vocab:(r+1)*m.Vocab])
			}
		}
		at += n
	}
	return out
}

func furthest(got [][]float32, want []float32) float64 {
	var worst float64
	for t, row := range got {
		for v, x := range row {
			d := math.Abs(float64(x) - float64(want[t*len(row)+v]))
			if !(d <= worst) {
				worst = d
			}
		}
	}
	return worst
}

type expected struct {
	Prompts [][]int32
	Greedy  []struct {
		IDs      []int32   `json:"ids"`
		Logprobs []float64 `json:"logprobs"`
	}
	Positions struct{ Others [][]int }
}

func readExpected(t *testing.T, dir string) (e expected, f *weights.File) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if f, err = weights.Open(filepath.Join(dir, "expected.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return e, f
}

func reference(t *testing.T, f *weights.File, name string) []float32 {
	t.Helper()
	x, err := f.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := x.Floats()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// goldenFamilies are the folders of golden models.
var goldenFamilies = []string{"llama", "llama-gqa3", "mistral", "phi", "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "phi3"}

// The logits are those of transformers, within float32 rounding.
func TestGolden(t *testing.T) {
	for _, family := range goldenFamilies {
		dir := filepath.Join(shared.Path(t, "golden", "models"), family)
		want, tensors := readExpected(t, dir)
		devices(t, func(t *testing.T, dev kernels.Device) {
			m := load(t, dev, dir)
			for i, ids := range want.Prompts {
				got := forward(t, dev, m, ids, 3, 17, 64)
				if d := furthest(got, reference(t, tensors, fmt.Sprintf("logits/base/%d", i))); !(d <= 1e-4) {
					t.Errorf("%s, prompt %d: logits differ by %g", family, i, d)
				} else {
					t.Logf("%s, prompt %d: largest difference %.2g", family, i, d)
				}
				for step, id := range want.Greedy[i].IDs {
					last := got[len(got)-1]
					best := 0
					for v, x := range last {
						if x > last[best] {
							best = v
						}
					}
					if int32(best) != id {
						t.Fatalf("%s, prompt %d: greedy token %d is %d, want %d", family, i, step, best, id)
					}
					ids = append(ids[:len(ids):len(ids)], id)
					got = forward(t, dev, m, ids, 64)
				}
			}
		})
	}
}

// The other forms of the same models: keys of transformers 4, shards, bf16.
func TestGoldenForms(t *testing.T) {
	root := shared.Path(t, "golden", "models")
	forms := map[string]string{"llama/sharded": "base", "llama/bf16": "bf16"}
	for _, family := range goldenFamilies {
		forms[family+"/v4"] = "base"
	}
	dev := ref.New()
	for form, kind := range forms {
		t.Run(form, func(t *testing.T) {
			dir, part := filepath.Split(form)
			dir = filepath.Join(root, dir)
			want, tensors := readExpected(t, dir)
			m := load(t, dev, variant(t, dir, part))
			for i, ids := range want.Prompts {
				got := forward(t, dev, m, ids, 64)
				if kind == "bf16" {
					var some [][]float32
					for _, p := range want.Positions.Others[i] {
						some = append(some, got[p])
					}
					got = some
				}
				if d := furthest(got, reference(t, tensors, fmt.Sprintf("logits/%s/%d", kind, i))); !(d <= 1e-4) {
					t.Errorf("prompt %d: logits differ by %g", i, d)
				}
			}
		})
	}
}

// variant gives a folder with another form of the model in dir.
func variant(t *testing.T, dir, form string) string {
	t.Helper()
	path, config, files := t.TempDir(), "config.json", dir
	if form == "v4" {
		config = "config.v4.json"
	} else {
		files = filepath.Join(dir, form)
	}
	entries, err := os.ReadDir(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), "safetensors") && e.Name() != "expected.safetensors" {
			if err := os.Symlink(filepath.Join(files, e.Name()), filepath.Join(path, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "config.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

var someIDs = []int32{1, 7, 200, 33, 33, 90, 2, 5, 262, 0, 17, 64, 128, 250, 3, 3, 3, 99, 98, 97, 1, 40, 41, 42, 43, 150, 151, 152, 77, 78, 79, 80, 81, 82, 83, 9, 8}

func flat(rows [][]float32) (all []float32) {
	for _, r := range rows {
		all = append(all, r...)
	}
	return all
}

// The same model from safetensors and from GGUF, in whatever type, on every
// device, in one piece and in many.
func TestDevicesAgree(t *testing.T) {
	shape := fixture.Tiny
	base := shape.WriteHF(t, 1, format.F32)
	want := flat(forward(t, ref.New(), load(t, ref.New(), base), someIDs, 64))
	for name, c := range map[string]struct {
		path      string
		tolerance float64
	}{
		"safetensors F32":  {base, 5e-5},
		"GGUF F32":         {shape.WriteGGUF(t, 1, format.F32, format.F32), 5e-5},
		"safetensors F16":  {shape.WriteHF(t, 1, format.F16), 0.2},
		"safetensors BF16": {shape.WriteHF(t, 1, format.BF16), 2},
		"GGUF F16":         {shape.WriteGGUF(t, 1, format.F16, format.F16), 0.2},
	} {
		devices(t, func(t *testing.T, dev kernels.Device) {
			m := load(t, dev, c.path)
			whole := forward(t, dev, m, someIDs, 64)
			if d := furthest(whole, want); !(d <= c.tolerance) {
				t.Errorf("%s: logits differ by %g", name, d)
			}
			for i, row := range forward(t, dev, m, someIDs, 5, 1, 20, 1) {
				for v, x := range row {
					if math.Float32bits(x) != math.Float32bits(whole[i][v]) {
						t.Fatalf("%s: position %d in pieces has other bits", name, i)
					}
				}
			}
		})
	}
	quantised := fixture.Shape{Hidden: 64, Layers: 2, Heads: 4, KVHeads: 2, MLP: 96, Vocab: 263, Context: 128}
	for _, typ := range []format.Type{format.Q8_0, format.Q4_0} {
		// A quantised file is the model of its decoded values.
		decoded := quantised.WriteGGUF(t, 1, typ, format.F32)
		want := flat(forward(t, ref.New(), load(t, ref.New(), decoded), someIDs, 64))
		path := quantised.WriteGGUF(t, 1, typ, typ)
		devices(t, func(t *testing.T, dev kernels.Device) {
			if d := furthest(forward(t, dev, load(t, dev, path), someIDs, 9), want); !(d <= 5e-5) {
				t.Errorf("%v: logits differ by %g", typ, d)
			}
		})
	}
}

// What cannot be loaded is refused with a sentence that says what and where.
func TestRefusals(t *testing.T) {
	shape := fixture.Tiny
	dir := shape.WriteHF(t, 1, format.F32)
	for _, c := range []struct {
		name   string
		change map[string]any
		want   []string
	}{
		{"family", map[string]any{"model_type": "mamba"}, []string{"mamba", "supported are: llama, mistral, phi, gemma"}},
		{"no family", map[string]any{"model_type": nil, "architectures": []string{"MambaForCausalLM"}}, []string{"MambaForCausalLM", "supported are"}},
		{"missing key", map[string]any{"hidden_size": nil}, []string{"config.json", `"hidden_size" is missing`}},
		{"type", map[string]any{"hidden_size": "wide"}, []string{"config.json", "hidden_size"}},
		{"negative", map[string]any{"num_hidden_layers": -3}, []string{"num_hidden_layers is -3"}},
		{"no heads", map[string]any{"num_attention_heads": 0}, []string{"num_attention_heads is 0"}},
		{"ragged heads", map[string]any{"num_key_value_heads": 3}, []string{"5 attention heads", "3 key-value heads"}},
		{"activation", map[string]any{"hidden_act": "relu2"}, []string{`hidden_act "relu2"`, "silu"}},
		{"bias", map[string]any{"attention_bias": true}, []string{"self_attn.q_proj.bias", "no such tensor", "[40]"}},
		{"rope", map[string]any{"rope_scaling": map[string]any{"rope_type": "ntk", "factor": 2}}, []string{`"ntk"`, "llama3"}},
		{"rope factor", map[string]any{"rope_scaling": map[string]any{"type": "linear"}}, []string{"factor is missing"}},
		{"theta", map[string]any{"rope_theta": -1}, []string{"rope_theta is -1"}},
		{"quantised", map[string]any{"quantization_config": map[string]any{"quant_method": "gptq"}}, []string{"quantization_config", "gptq"}},
		{"layer types", map[string]any{"model_type": "qwen2", "use_sliding_window": true, "layer_types": []string{"full_attention"}}, []string{"layer_types lists 1 layers"}},
		{"layer type", map[string]any{"model_type": "qwen2", "layer_types": []string{"full_attention", "mamba"}}, []string{"layer 1", `"mamba"`}},
		{"window", map[string]any{"model_type": "mistral", "sliding_window": 0}, []string{"sliding_window is 0"}},
		{"odd rotary part", map[string]any{"model_type": "phi3", "partial_rotary_factor": 0.4}, []string{"3 values of a head of 8"}},
		{"longrope", map[string]any{"rope_scaling": map[string]any{"type": "longrope", "short_factor": []float64{1}}}, []string{"short_factor has 1 values, want 4"}},
		{"both directions", map[string]any{"model_type": "gemma", "use_bidirectional_attention": true}, []string{"use_bidirectional_attention"}},
		{"shape", map[string]any{"intermediate_size": 73}, []string{"model.layers.0.mlp.gate_proj.weight", "[72 40]", "[73 40]"}},
		{"missing tensor", map[string]any{"num_hidden_layers": 3}, []string{"model.layers.2.", "no such tensor"}},
		{"untied", map[string]any{"tie_word_embeddings": false}, []string{"lm_head.weight", "no such tensor"}},
		{"huge", map[string]any{"vocab_size": int64(1) << 40}, []string{"vocab_size"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := shape.Config()
			maps.Copy(config, c.change)
			maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
			fixture.WriteConfig(t, dir, config)
			_, err := arch.Load(ref.New(), dir, 0)
			if err == nil {
				t.Fatal("loaded")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

// A weight that is no number is named, with its place.
func TestNotFinite(t *testing.T) {
	dir := fixture.Tiny.WriteHF(t, 1, format.BF16)
	path := filepath.Join(dir, "model.safetensors")
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"model.layers.1.mlp.up_proj.weight":     "value [2, 3] is not a finite number",
		"model.layers.0.input_layernorm.weight": "value 83 is",
		"model.embed_tokens.weight":             "value [2, 3] is not a finite number",
	} {
		var all []weights.Tensor
		for _, n := range f.Names() {
			x, err := f.Tensor(n)
			if err != nil {
				t.Fatal(err)
			}
			x.Data = append([]byte(nil), x.Data...)
			if n == name {
				at := 2*40 + 3
				if len(x.Shape) == 1 {
					at, want = 7, strings.Replace(want, "83", "7", 1)
				}
				copy(x.Data[2*at:], []byte{0xc0, 0x7f})
			}
			all = append(all, x)
		}
		bad := filepath.Join(t.TempDir(), "model.safetensors")
		if err := weights.WriteSafetensors(bad, all, nil); err != nil {
			t.Fatal(err)
		}
		fixture.WriteConfig(t, filepath.Dir(bad), fixture.Tiny.Config())
		_, err := arch.Load(ref.New(), bad, 0)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzParseHF(f *testing.F) {
	text, err := json.Marshal(fixture.Tiny.Config())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, more := range []string{`"model_type":"gemma3_text","rope_parameters":{"full_attention":{"rope_type":"linear","factor":8},"sliding_attention":{"rope_theta":100}},"layer_types":["sliding_attention"]`,
		`"model_type":"phi3","rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[2]}`, `"model_type":"phi","partial_rotary_factor":0.5`,
		`"model_type":"gemma2","sliding_window":null,"attn_logit_softcapping":null`, `"model_type":"qwen2","use_sliding_window":true,"max_window_layers":0,"rope_scaling":{"rope_type":"yarn","factor":4}`} {
		f.Add([]byte(`{` + more + `,"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,"head_dim":2,"intermediate_size":3,"vocab_size":5}`))
	}
	f.Add([]byte(`{"model_type":"llama","eos_token_id":[1,2],"rope_parameters":{"rope_type":"llama3","factor":8}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := arch.ParseHF(text)
		if err == nil && (len(c.Ropes) == 0 || len(c.Windows) != c.Layers || len(c.RopeOf) != c.Layers || c.Heads%c.KVHeads != 0) {
			t.Fatalf("accepted %+v", c)
		}
	})
}

// Whatever is broken in a file, loading ends in an error or in a model that
// computes.
func FuzzLoadGGUF(f *testing.F) {
	small := fixture.Shape{Hidden: 4, Layers: 1, Heads: 2, KVHeads: 1, MLP: 4, Vocab: 5, Context: 8, Tied: true}
	good, err := os.ReadFile(small.WriteGGUF(f, 1, format.F32, format.F32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	path := filepath.Join(f.TempDir(), "model.gguf")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := arch.Load(ref.New(), path, 8)
		if err != nil {
			return
		}
		defer m.Close()
		if m.Config.PageBytes() < 1<<20 && m.Vocab < 1<<16 {
			forward(t, ref.New(), m, []int32{0, int32(m.Vocab - 1)}, 2)
		}
	})
}
