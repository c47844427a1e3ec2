package arch_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// common are the keys that every config.json of these tests has.
const common = `"hidden_size":48,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"intermediate_size":64,"vocab_size":101,"max_position_embeddings":256`

func parse(t *testing.T, keys string) *arch.Config {
	t.Helper()
	c, err := arch.ParseHF([]byte(`{` + common + `,` + keys + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Keys that a family's class passes over change nothing here either. Each of
// these was held against the logits of transformers 5.24.
func TestKeysWithoutEffect(t *testing.T) {
	for _, family := range []string{"llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3"} {
		c := parse(t, `"model_type":"`+family+`","partial_rotary_factor":0.5`)
		for _, r := range c.Ropes {
			if len(r.Freqs) != 8 {
				t.Errorf("%s with partial_rotary_factor: %d pairs of a head of 16 are rotated, want 8", family, len(r.Freqs))
			}
		}
	}
	if c := parse(t, `"model_type":"phi3","partial_rotary_factor":0.5`); len(c.Ropes[0].Freqs) != 4 {
		t.Errorf("phi3 with partial_rotary_factor: %d pairs, want 4", len(c.Ropes[0].Freqs))
	}
	types := `"sliding_window":5,"layer_types":["sliding_attention","full_attention","sliding_attention"]`
	for family, want := range map[string][]int{"phi3": {5, 5, 5}, "llama": {0, 0, 0}, "mistral": {5, 0, 5}} {
		if c := parse(t, `"model_type":"`+family+`",`+types); !slices.Equal(c.Windows, want) {
			t.Errorf("%s with layer_types: windows %v, want %v", family, c.Windows, want)
		}
	}
	if c := parse(t, `"model_type":"gemma3_text","attn_logit_softcapping":3`); c.AttentionCap != 0 {
		t.Errorf("gemma3 with attn_logit_softcapping: the scores are bounded by %g", c.AttentionCap)
	}
	if c := parse(t, `"model_type":"gemma","hidden_activation":"silu"`); c.Act != "gelu_pytorch_tanh" {
		t.Errorf("gemma with hidden_activation: %s", c.Act)
	}
	if c := parse(t, `"model_type":"gemma3_text","_sliding_window_pattern":2,"sliding_window":5`); !slices.Equal(c.Windows, []int{5, 5, 5}) {
		t.Errorf("gemma3 with _sliding_window_pattern: windows %v", c.Windows)
	}
}

// Both places of the rotary positions, and which one counts.
func TestRopePlaces(t *testing.T) {
	second := func(c *arch.Config) float64 { return float64(c.Ropes[0].Freqs[1]) }
	root := func(theta float64) float64 { return math.Pow(theta, -1.0/8) }
	for keys, want := range map[string]float64{
		`"rope_parameters":{"rope_type":"linear","factor":4,"rope_theta":300},"rope_scaling":{}`:                                                         root(300) / 4,
		`"rope_parameters":{"rope_type":"default","rope_theta":300},"rope_scaling":null`:                                                                 root(300),
		`"rope_parameters":{"rope_type":"default","rope_theta":300},"rope_theta":40`:                                                                     root(300),
		`"rope_parameters":{"rope_type":"default","rope_theta":300},"rope_scaling":{"type":"linear","factor":2},"rope_theta":40`:                         root(40) / 2,
		`"rope_parameters":{"rope_type":"default","rope_theta":300},"rope_scaling":{"type":"linear","factor":2,"rope_theta":50}`:                         root(50) / 2,
		`"rope_scaling":{"type":"dynamic","factor":8},"rope_theta":40`:                                                                                   root(40),
		`"rope_parameters":{"rope_type":"default"},"rope_scaling":{"rope_type":"linear","type":"dynamic","factor":2}`:                                    root(1e4) / 2,
		`"rope_scaling":{"rope_type":"longrope","short_factor":[1,2,1,1,1,1,1,1],"long_factor":[1,9,1,1,1,1,1,1],"original_max_position_embeddings":32}`: root(1e4) / 2,
	} {
		if got := second(parse(t, `"model_type":"llama",`+keys)); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("%s: the second frequency is %g, want %g", keys, got, want)
		}
	}
	// Phi-3's first names of LongRoPE, in both places.
	for _, kind := range []string{"su", "yarn", "longrope"} {
		for _, key := range []string{"rope_scaling", "rope_parameters"} {
			c := parse(t, `"model_type":"phi3","original_max_position_embeddings":16,"`+key+`":{"rope_type":"`+kind+`","factor":4,"short_factor":[1,2,1,1,1,1,1,1],"long_factor":[1,9,1,1,1,1,1,1]}`)
			if got := second(c); math.Abs(got/root(1e4)*2-1) > 1e-6 || c.Ropes[0].Long == nil || c.Ropes[0].Switch != 16 {
				t.Errorf("%s of %s: the second frequency is %g", kind, key, got)
			}
		}
	}
}

// Dynamic scaling is none within the model's context, and is refused beyond it.
func TestDynamicWithinContext(t *testing.T) {
	shape := fixture.Tiny
	dir := shape.WriteHF(t, 1, format.F32)
	config := shape.Config()
	config["rope_scaling"] = map[string]any{"type": "dynamic", "factor": 4}
	fixture.WriteConfig(t, dir, config)
	m, err := arch.Load(ref.New(), dir, shape.Context)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := arch.Load(ref.New(), dir, shape.Context+1); err == nil || !strings.Contains(err.Error(), "dynamic rope scaling") {
		t.Errorf("a longer context: %v", err)
	}
}

// A sequence is long for all layers of Gemma 3 or for none.
func TestLongRopeOfOneKind(t *testing.T) {
	long := `{"rope_type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[3,3,3,3,3,3,3,3],"original_max_position_embeddings":16}`
	for _, keys := range []string{
		`"rope_parameters":{"full_attention":` + long + `,"sliding_attention":{"rope_theta":50}}`,
		`"rope_parameters":{"sliding_attention":` + long + `,"full_attention":{"rope_theta":50}}`,
	} {
		c := parse(t, `"model_type":"gemma3_text",`+keys)
		for i, r := range c.Ropes {
			if len(r.Long) != 8 || r.Switch != 16 {
				t.Errorf("%s: table %d has %d frequencies for sequences of more than %d tokens, want 8 and 16", keys, i, len(r.Long), r.Switch)
			}
		}
	}
}

// What no implementation reads in one way is refused, never guessed.
func TestConfigRefusals(t *testing.T) {
	long := func(first string) string {
		return `{"rope_type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[3,3,3,3,3,3,3,3],"original_max_position_embeddings":` + first + `}`
	}
	for keys, want := range map[string]string{
		`"model_type":"llama","partial_rotary_factor":0.5,"rope_scaling":{"type":"linear","factor":2}`:                              "llama models rotate whole heads",
		`"model_type":"llama","rope_parameters":{"rope_theta":300},"rope_scaling":{"type":"linear","factor":2}`:                     "rope_theta 300",
		`"model_type":"llama","rope_scaling":{"type":"dynamic","alpha":1000}`:                                                       "factor is missing",
		`"model_type":"llama","rope_scaling":{"type":"ntk","factor":2}`:                                                             `"ntk"`,
		`"model_type":"phi3","rope_scaling":{"type":"linear","factor":2}`:                                                           "those of phi3 are: default, longrope",
		`"model_type":"gemma2","sliding_window":null`:                                                                               "sliding_window is null",
		`"model_type":"gemma3_text","sliding_window":null`:                                                                          "sliding_window is null",
		`"model_type":"qwen2","layer_types":["full_attention","sliding_attention","full_attention"],"sliding_window":5`:             "layer 1",
		`"model_type":"mistral","layer_types":["full_attention","sliding_attention","full_attention"],"sliding_window":null`:        "gives no window",
		`"model_type":"gemma3_text","rope_parameters":{"rope_type":"linear","factor":8}`:                                            "neither full_attention nor sliding_attention",
		`"model_type":"qwen3","rope_parameters":{"full_attention":{"rope_theta":30},"sliding_attention":{"rope_theta":50}}`:         "qwen3 models have one for all",
		`"model_type":"gemma3_text","rope_parameters":{"full_attention":` + long("16") + `,"sliding_attention":` + long("32") + `}`: "16 for one kind of layer and 32 for the other",
	} {
		_, err := arch.ParseHF([]byte(`{` + common + `,` + keys + `}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", keys, err, want)
		}
	}
}

// A file with a head of its own is believed over tie_word_embeddings; a copy of
// the embedding is no head of its own.
func TestHeadBesideTie(t *testing.T) {
	shape := fixture.Tiny
	dev := ref.New()
	logits := func(change func(head []byte)) ([]float32, bool) {
		dir := shape.WriteHF(t, 1, format.F32)
		if change != nil {
			addHead(t, dir, change)
		}
		m := load(t, dev, dir)
		return flat(forward(t, dev, m, someIDs[:5], 8)), m.Config.Tied
	}
	base, _ := logits(nil)
	same, tied := logits(func([]byte) {})
	if !tied || !slices.Equal(base, same) {
		t.Errorf("a copy of the embedding as head: tied is %v", tied)
	}
	// Row 7 of the head is row 8 of the embedding, so its logit is that of token 8.
	width := shape.Hidden * 4
	other, tied := logits(func(head []byte) { copy(head[7*width:8*width], head[8*width:9*width]) })
	if tied {
		t.Error("another head: still tied")
	}
	// The head of a language model within one that sees pictures lies elsewhere.
	dir := shape.WriteHF(t, 1, format.F32)
	addHead(t, dir, func(head []byte) { copy(head[7*width:8*width], head[8*width:9*width]) })
	inner := rename(t, dir, func(name string) string { return "language_model." + name })
	if m := load(t, dev, inner); m.Config.Tied || !slices.Equal(flat(forward(t, dev, m, someIDs[:5], 8)), other) {
		t.Error("a head within another model is not read")
	}
	for row := range len(base) / shape.Vocab {
		want := slices.Clone(base[row*shape.Vocab : (row+1)*shape.Vocab])
		want[7] = want[8]
		if !slices.Equal(other[row*shape.Vocab:(row+1)*shape.Vocab], want) {
			t.Errorf("row %d: logits are not those of the file's own head", row)
		}
	}
}

// rename writes a model with other names of its tensors into another folder.
func rename(t *testing.T, dir string, name func(string) string) string {
	t.Helper()
	out := t.TempDir()
	f, err := weights.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []weights.Tensor
	for _, old := range f.Names() {
		x, err := f.Tensor(old)
		if err != nil {
			t.Fatal(err)
		}
		x.Name = name(old)
		all = append(all, x)
	}
	if err := weights.WriteSafetensors(filepath.Join(out, "model.safetensors"), all, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "config.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	return out
}

// addHead writes lm_head.weight into a model, a changed copy of its embedding.
func addHead(t *testing.T, dir string, change func([]byte)) {
	t.Helper()
	path := filepath.Join(dir, "model.safetensors")
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
		all = append(all, x)
		if name == "model.embed_tokens.weight" {
			x.Name, x.Data = "lm_head.weight", slices.Clone(x.Data)
			change(x.Data)
			all = append(all, x)
		}
	}
	f.Close()
	if err := weights.WriteSafetensors(path, all, nil); err != nil {
		t.Fatal(err)
	}
}

// The token that fills up: the file's, none where it is null, else the class's.
func TestPad(t *testing.T) {
	for keys, want := range map[string]int32{
		`"model_type":"llama"`: -1, `"model_type":"llama","pad_token_id":7`: 7, `"model_type":"gemma"`: 0, `"model_type":"gemma2"`: 0,
		`"model_type":"gemma3_text"`: 0, `"model_type":"gemma","pad_token_id":null`: -1, `"model_type":"phi3"`: 32000, `"model_type":"qwen2"`: -1,
	} {
		if c := parse(t, keys); c.Pad != want {
			t.Errorf("%s: %d, want %d", keys, c.Pad, want)
		}
	}
}
