package lora

import (
	"math"
	"testing"

	"github.com/evalrun/evalrun/backends/local/weights"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Which modules an adapter is for: PEFT's rules, on paths of a Llama.
func TestTarget(t *testing.T) {
	paths := []string{"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.11.mlp.up_proj", "lm_head"}
	for _, c := range []struct {
		config string
		want   [4]bool
	}{
		{`{"target_modules":["q_proj"]}`, [4]bool{true, true, false, false}},
		{`{"target_modules":["self_attn.q_proj","lm_head"]}`, [4]bool{true, true, false, true}},
		{`{"target_modules":["model.layers.1.self_attn.q_proj"]}`, [4]bool{false, true, false, false}},
		{`{"target_modules":["proj"]}`, [4]bool{}}, // a suffix begins behind a dot
		{`{"target_modules":"all-linear"}`, [4]bool{true, true, true, false}},
		{`{"target_modules":".*q_proj"}`, [4]bool{true, true, false, false}},
		{`{"target_modules":"q_proj"}`, [4]bool{}}, // an expression is of the whole path
		{`{"target_modules":"model\\.layers\\.1.*"}`, [4]bool{false, true, true, false}},
		{`{"target_modules":"(?P<part>model|lm).*","exclude_modules":["lm_head","up_proj"]}`, [4]bool{true, true, false, false}},
		{`{"target_modules":["q_proj","up_proj"],"layers_to_transform":[1,11]}`, [4]bool{false, true, true, false}},
		{`{"target_modules":["q_proj","up_proj"],"layers_to_transform":0,"layers_pattern":"layers"}`, [4]bool{true, false, false, false}},
		{`{"target_modules":["q_proj"],"layers_to_transform":0,"layers_pattern":["blocks"]}`, [4]bool{}},
		{`{"target_modules":["q_proj"],"layers_to_transform":null,"exclude_modules":null}`, [4]bool{true, true, false, false}},
		// A whole path stands for its module in whichever layer, "lm_head" too.
		{`{"target_modules":["up_proj","model.layers.1.self_attn.q_proj","lm_head"],"layers_to_transform":[0]}`, [4]bool{false, true, false, true}},
		// What is saved whole has no pair: a module, or all of those in one.
		{`{"target_modules":["q_proj","lm_head"],"modules_to_save":["lm_head","norm"]}`, [4]bool{true, true, false, false}},
		{`{"target_modules":"all-linear","modules_to_save":["layers.0.self_attn.q_proj","mlp"]}`, [4]bool{false, true, false, false}},
	} {
		config := parse(t, c.config)
		for i, p := range paths {
			got, err := config.target(p)
			if err != nil || got != c.want[i] {
				t.Errorf("%s on %s: %v, %v", c.config, p, got, err)
			}
		}
	}
}

// Ranks and scales of modules: the first pattern of the file that fits counts.
func TestScale(t *testing.T) {
	c := parse(t, `{"r":8,"lora_alpha":16,"rank_pattern":{"layers.0.self_attn.q_proj":2,"q_proj":4,"v_proj":3},"alpha_pattern":{".*v_proj":6}}`)
	for path, want := range map[string]struct {
		rank  int
		scale float64
	}{
		"model.layers.0.self_attn.q_proj": {2, 8}, "model.layers.1.self_attn.q_proj": {4, 4},
		"model.layers.1.self_attn.v_proj": {3, 2}, "model.layers.1.self_attn.o_proj": {8, 2},
	} {
		if r, s := c.rank(path), float64(c.scale(path)); r != want.rank || s != want.scale {
			t.Errorf("%s: rank %d, scale %g, want %v", path, r, s, want)
		}
	}
	c = parse(t, `{"r":8,"lora_alpha":8,"use_rslora":true}`)
	if s := float64(c.scale("x")); math.Abs(s-8/math.Sqrt(8)) > 1e-6 {
		t.Errorf("rsLoRA's scale is %g", s)
	}
	if c := parse(t, `{"r":null,"lora_alpha":null,"bias":null,"use_dora":null,"rank_pattern":null,"modules_to_save":null,"tomorrow":{"x":[1]}}`); c.Rank != 8 || c.Alpha != 8 || c.DoRA {
		t.Errorf("keys that are null: %+v", c)
	}
}

// Names of tensors, as the years have written them.
func TestSplit(t *testing.T) {
	for name, want := range map[string][2]string{
		"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":         {"model.layers.0.self_attn.q_proj", "lora_A.weight"},
		"base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight": {"model.layers.0.self_attn.q_proj", "lora_B.weight"},
		"base_model.model.x.lora_magnitude_vector":                               {"x", "lora_magnitude_vector"},
		"base_model.model.x.lora_magnitude_vector.default.weight":                {"x", "lora_magnitude_vector"},
		"base_model.model.lm_head.modules_to_save.default.weight":                {"lm_head", "weight"},
		"base_model.model.lm_head.modules_to_save.weight":                        {"lm_head", "weight"},
		"base_model.model.model.norm.weight":                                     {"model.norm", "weight"},
		"base_model.model.x.q_proj.base_layer.bias":                              {"x.q_proj", "bias"},
		"base_model.model.model.embed_tokens.lora_embedding_A":                   {"model.embed_tokens", "lora_embedding_A"},
		"weight": {"weight", ""},
	} {
		if path, what := split(name); path != want[0] || what != want[1] {
			t.Errorf("%s: %q, %q", name, path, what)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":8,"target_modules":["q_proj"],"rank_pattern":{"q":2},"alpha_pattern":{"(q|v)":1.5}}`))
	f.Add([]byte(`{"target_modules":"(?P<a>q).*\\.x","exclude_modules":"all-linear","layers_to_transform":[1],"layers_pattern":"h"}`))
	f.Add([]byte(`{"r":null,"init_lora_weights":"pissa_niter_4","modules_to_save":["lm_head"],"rank_pattern":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		for _, p := range []string{"model.layers.0.self_attn.q_proj", "lm_head", ""} {
			if r := c.rank(p); r < 1 || r > maxRank {
				t.Fatalf("rank %d", r)
			}
			c.target(p)
			c.scale(p)
		}
	})
}

// An adapter of a language model within one that sees pictures is called by the
// paths that it has there: those of expressions, patterns and whole names.
func TestTrainedPaths(t *testing.T) {
	modules := []Module{{}, {Path: "model.layers.0.self_attn.q_proj", N: 4, K: 3}, {Path: "model.layers.1.self_attn.q_proj", N: 4, K: 3}, {Path: "lm_head", N: 5, K: 3}}
	for root, config := range map[string]string{
		"model.language_model.": `{"r":2,"lora_alpha":2,"target_modules":".*language_model.*q_proj","rank_pattern":{"^model.language_model.layers.1.*":1},"alpha_pattern":{"language_model.layers.0.self_attn.q_proj":8}}`,
		"language_model.model.": `{"r":2,"lora_alpha":2,"target_modules":["language_model.model.layers.0.self_attn.q_proj","layers.1.self_attn.q_proj"],"rank_pattern":{"^language_model.*1.*":1},"alpha_pattern":{"^language_model.*0.*":8}}`,
		"":                      `{"r":2,"lora_alpha":2,"target_modules":"layers.*q_proj","rank_pattern":{"^layers.1.*":1},"alpha_pattern":{"^layers.0.*":8}}`,
	} {
		dir := t.TempDir()
		var tensors []weights.Tensor
		for layer, rank := range []int{2, 1} {
			at := "base_model.model." + root + "layers." + string(rune('0'+layer)) + ".self_attn.q_proj."
			tensors = append(tensors, weights.Float32s(at+"lora_A.weight", make([]float32, rank*3), rank, 3), weights.Float32s(at+"lora_B.weight", make([]float32, 4*rank), 4, rank))
		}
		// PEFT writes biases of modules beside those that it saves whole.
		tensors = append(tensors, weights.Float32s("base_model.model."+root+"layers.0.self_attn.v_proj.original_module.bias", make([]float32, 4), 4))
		if err := Write(dir, []byte(config), tensors); err != nil {
			t.Fatal(err)
		}
		a, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := a.Bind(modules)
		if err != nil {
			t.Errorf("%q: %v", root, err)
		} else if len(parts) != 2 || parts[0].Rank != 2 || parts[0].Scale != 4 || parts[1].Rank != 1 || parts[1].Scale != 2 {
			t.Errorf("%q: %+v", root, parts)
		}
		a.Close()
	}
}
