package lora

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// Settings are what Write puts into adapter_config.json; the rest is PEFT's
// default.
type Settings struct {
	Base    string // base_model_name_or_path
	Rank    int
	Alpha   float64
	Dropout float64
	// Targets are names or paths of modules. Of several they are sorted; a
	// single one that is a regular expression, or "all-linear", is written as a
	// text, as PEFT reads it.
	Targets []string
	Pattern bool // Targets holds one text
	RSLoRA  bool
	DoRA    bool
}

// JSON is the text of the adapter_config.json.
func (s Settings) JSON() ([]byte, error) {
	var targets any
	if s.Pattern && len(s.Targets) == 1 {
		targets = s.Targets[0]
	} else {
		sorted := append([]string{}, s.Targets...)
		sort.Strings(sorted)
		targets = sorted
	}
	text, err := json.MarshalIndent(map[string]any{
		"alpha_pattern": map[string]any{}, "auto_mapping": nil, "base_model_name_or_path": s.Base,
		"bias": "none", "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
		"layer_replication": nil, "layers_pattern": nil, "layers_to_transform": nil, "loftq_config": map[string]any{},
		"lora_alpha": number(s.Alpha), "lora_dropout": s.Dropout, "megatron_config": nil, "megatron_core": "megatron.core",
		"modules_to_save": nil, "peft_type": "LORA", "r": s.Rank, "rank_pattern": map[string]any{}, "revision": nil,
		"target_modules": targets, "task_type": "CAUSAL_LM", "use_dora": s.DoRA, "use_rslora": s.RSLoRA,
	}, "", "  ")
	return append(text, '\n'), err
}

// Write makes dir an adapter as PEFT writes it: config is the text of its
// adapter_config.json, the tensors have the names of adapter_model.safetensors.
// Each file is written whole or not at all.
func Write(dir string, config []byte, tensors []weights.Tensor) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	if err := weights.WriteSafetensors(filepath.Join(dir, modelFile), tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return weights.WriteFile(filepath.Join(dir, configFile), func(w io.Writer) error {
		_, err := w.Write(config)
		return err
	})
}

// number is a whole number where it is one: PEFT's alpha is an int.
func number(x float64) any {
	if x == float64(int64(x)) {
		return int64(x)
	}
	return x
}
