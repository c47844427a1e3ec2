package training

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Ludwig is a configuration of Ludwig in our words.
type Ludwig struct {
	// Base is base_model.
	Base string
	// Recipe holds the keys of a train: section, from the preset paper on.
	Recipe map[string]any
	// Passed are keys that say nothing to a training here, with the reason.
	Passed []string
	// Unknown are keys that are not understood: what they change is lost.
	Unknown []string
}

// passed are keys of a Ludwig configuration that change nothing here, with the
// reason.
var passed = map[string]string{
	"model_type":                             "a language model is meant",
	"base_model":                             "give it as --model",
	"prompt.template":                        "the task's prompt is asked",
	"backend":                                "where Ludwig computes",
	"backend.type":                           "where Ludwig computes",
	"generation":                             "for answers",
	"generation.max_new_tokens":              "for answers",
	"generation.temperature":                 "for answers",
	"trainer.type":                           "fine-tuning is meant",
	"trainer.eval_batch_size":                "one row at a time, or more, gives the same",
	"trainer.batch_size":                     "an example is a micro-batch",
	"trainer.epochs":                         "train_steps goes before it",
	"trainer.enable_gradient_checkpointing":  "chosen by the plan of memory",
	"trainer.compile":                        "speed alone",
	"quantization.bnb_4bit_use_double_quant": "always so",
	"preprocessing.split":                    "the task's splits are taken",
	"input_features":                         "the task's columns are taken",
	"output_features":                        "the task's columns are taken",
}

// ReadLudwig reads a configuration as Ludwig 0.10 takes it: adapter, trainer,
// quantization, preprocessing. Keys that it leaves out have Ludwig's defaults,
// which are those of the preset paper.
func ReadLudwig(text []byte) (l *Ludwig, err error) {
	defer func() {
		if r := recover(); r != nil { // yaml.v3 panics on some malformed input
			l, err = nil, fmt.Errorf("not readable as YAML: %v", r)
		}
	}()
	var c map[string]any
	if err := yaml.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("not readable as YAML: %w", err)
	}
	if c["base_model"] == nil && c["trainer"] == nil && c["adapter"] == nil {
		return nil, errors.New("neither base_model nor trainer nor adapter stands in it: is it a configuration of Ludwig?")
	}
	l = &Ludwig{Recipe: map[string]any{"preset": "paper"}}
	l.Base, _ = c["base_model"].(string)
	keys := map[string]any{}
	flatten(keys, "", c)
	accumulates, alpha := false, false
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		v := keys[k]
		if v == nil {
			continue // Ludwig's default
		}
		switch k {
		case "adapter":
			if v != "lora" {
				l.Unknown = append(l.Unknown, fmt.Sprintf("adapter: %v: only lora", v))
			}
		case "adapter.type":
			if v != "lora" {
				l.Unknown = append(l.Unknown, fmt.Sprintf("adapter.type: %v: only lora", v))
			}
		case "adapter.r":
			l.Recipe["rank"] = v
		case "adapter.alpha":
			l.Recipe["alpha"], alpha = v, true
		case "adapter.dropout":
			l.Recipe["dropout"] = v
		case "adapter.target_modules":
			l.Recipe["targets"] = v
		case "adapter.use_rslora":
			l.Recipe["rslora"] = v
		case "adapter.use_dora":
			l.Recipe["dora"] = v
		case "adapter.bias_type":
			if v != "none" {
				l.Unknown = append(l.Unknown, fmt.Sprintf("adapter.bias_type: %v: only none", v))
			}
		case "quantization.bits":
			switch v {
			case 4:
				l.Recipe["quant"] = "nf4"
			case 8:
				l.Recipe["quant"] = "int8"
			default:
				l.Unknown = append(l.Unknown, fmt.Sprintf("quantization.bits: %v: 4 or 8", v))
			}
		case "quantization.bnb_4bit_quant_type":
			if v != "nf4" {
				l.Unknown = append(l.Unknown, fmt.Sprintf("quantization.bnb_4bit_quant_type: %v: only nf4", v))
			}
		case "quantization.bnb_4bit_compute_dtype":
			switch v {
			case "bfloat16":
				l.Recipe["compute"] = "bf16"
			case "float32":
				l.Recipe["compute"] = "f32"
			default:
				l.Unknown = append(l.Unknown, fmt.Sprintf("quantization.bnb_4bit_compute_dtype: %v: bfloat16 or float32", v))
			}
		case "trainer.train_steps":
			l.Recipe["steps"] = v
		case "trainer.learning_rate":
			l.Recipe["lr"] = v
		case "trainer.gradient_accumulation_steps":
			l.Recipe["accumulate"], accumulates = v, true
		case "trainer.steps_per_checkpoint":
			l.Recipe["checkpoint_every"], l.Recipe["eval_every"] = v, v
			if _, set := keys["trainer.learning_rate_scheduler.t_0"]; !set {
				l.Recipe["restart"] = v
			}
		case "trainer.learning_rate_scheduler.t_0":
			l.Recipe["restart"] = v
		case "trainer.eval_steps":
			l.Recipe["eval_rows"] = v
		case "trainer.early_stop":
			l.Recipe["patience"] = max(0, whole(v)) // -1 is never
		case "trainer.learning_rate_scheduler.decay":
			switch v {
			case "cosine":
				l.Recipe["schedule"] = "cosine-restarts"
			case "linear":
				l.Recipe["schedule"] = "linear"
			default:
				l.Unknown = append(l.Unknown, fmt.Sprintf("%s: %v: cosine or linear", k, v))
			}
		case "trainer.learning_rate_scheduler.warmup_fraction":
			// settled below: it is a share of the steps
		case "trainer.optimizer", "trainer.optimizer.type":
			switch v {
			case "adam", "adamw":
				l.Recipe["optimiser"] = v
			case "paged_adam":
				l.Recipe["optimiser"] = "paged-adam"
			default:
				l.Unknown = append(l.Unknown, fmt.Sprintf("%s: %v: adam, adamw or paged_adam", k, v))
			}
		case "trainer.optimizer.betas":
			l.Recipe["betas"] = v
		case "trainer.optimizer.eps":
			l.Recipe["eps"] = v
		case "trainer.optimizer.weight_decay":
			l.Recipe["weight_decay"] = v
		case "trainer.gradient_clipping.clipglobalnorm":
			l.Recipe["clip"] = v
		case "preprocessing.global_max_sequence_length":
			l.Recipe["total_tokens"] = v
		default:
			if !l.features(k, v) {
				l.Unknown = append(l.Unknown, k)
			}
		}
	}
	if b := whole(keys["trainer.batch_size"]); b > 1 {
		// Ours are micro-batches of one example: as many more make an update.
		l.Unknown = append(l.Unknown, fmt.Sprintf("trainer.batch_size: %d: a micro-batch is one example here", b))
	}
	if !accumulates {
		l.Recipe["accumulate"] = 1
	}
	if r := whole(l.Recipe["rank"]); r > 0 && !alpha {
		l.Recipe["alpha"] = 2 * r
	}
	if share, ok := number(keys["trainer.learning_rate_scheduler.warmup_fraction"]); ok {
		if steps := whole(l.Recipe["steps"]); steps > 0 {
			l.Recipe["warmup"] = share * float64(steps)
		}
	} else {
		l.Recipe["warmup"] = 0
	}
	return l, nil
}

// features reads what of a configuration's features bounds an example, and
// passes over what is known to change nothing.
func (l *Ludwig) features(k string, v any) bool {
	if list, ok := v.([]any); ok && (k == "input_features" || k == "output_features") {
		for _, f := range list {
			m, _ := f.(map[string]any)
			p, _ := m["preprocessing"].(map[string]any)
			if n := p["max_sequence_length"]; n != nil && k == "input_features" {
				l.Recipe["prompt_tokens"] = n
			} else if n != nil {
				l.Unknown = append(l.Unknown, "output_features: preprocessing.max_sequence_length")
			}
		}
	}
	reason, ok := passed[k]
	if ok {
		l.Passed = append(l.Passed, k+": "+reason)
	}
	return ok
}

// flatten gives the keys of nested mappings with dots between.
func flatten(out map[string]any, prefix string, m map[string]any) {
	for k, v := range m {
		if inner, ok := v.(map[string]any); ok {
			flatten(out, prefix+k+".", inner)
			continue
		}
		out[prefix+k] = v
	}
}

func whole(v any) int {
	n, _ := v.(int)
	return n
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// YAML is the train: section for a task file.
func (l *Ludwig) YAML() (string, error) {
	text, err := yaml.Marshal(map[string]any{"train": l.Recipe})
	return strings.ReplaceAll(string(text), "    ", "  "), err
}
