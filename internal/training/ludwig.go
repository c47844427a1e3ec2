package training

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/internal/nearest"
)

// Ludwig is a configuration of Ludwig in our words.
type Ludwig struct {
	// Base is base_model.
	Base string
	// Recipe holds the keys of a train: section, from the preset paper on.
	Recipe map[string]any
	// Passed are keys that say nothing to a training here, with the reason.
	Passed []LudwigKey
	// Lost are keys whose effect the recipe does not have, in the order of the
	// file; those that are not there, and then mean something else, come last.
	Lost []LudwigKey

	keys  map[string]ludwigValue
	batch int // examples of a micro-batch
}

// A LudwigKey is what was found out about a key.
type LudwigKey struct {
	Key          string `json:"key"`
	Line, Column int    `json:"-"` // 0 where it is not in the file
	Why          string `json:"why"`
	Hint         string `json:"hint,omitempty"`
}

type ludwigValue struct {
	value        any
	line, column int
}

// passed are keys of a Ludwig configuration that change nothing here, with the
// reason. A key that ends with a dot stands for all below it.
var passed = map[string]string{
	"model_type":                            "a language model is meant",
	"base_model":                            "give it as --model",
	"ludwig_version":                        "for Ludwig",
	"prompt.template":                       "the task's prompt is asked",
	"prompt.task":                           "the task's prompt is asked",
	"backend":                               "where Ludwig computes",
	"backend.":                              "where Ludwig computes",
	"generation":                            "for answers",
	"generation.":                           "for answers",
	"trainer.max_batch_size":                "for batch_size: auto",
	"trainer.learning_rate_scaling":         "one machine trains",
	"trainer.evaluate_training_set":         "training rows are not evaluated",
	"trainer.enable_gradient_checkpointing": "chosen by the plan of memory",
	"trainer.compile":                       "speed alone",
	"preprocessing.split":                   "the task's splits are taken",
	"preprocessing.split.":                  "the task's splits are taken",
	"input_features":                        "the task's columns are taken",
	"output_features":                       "the task's columns are taken",
}

// only are keys that change nothing here while they have this value.
var only = map[string]any{
	"adapter.type": "lora", "adapter.bias_type": "none", "adapter.init_lora_weights": true,
	"quantization.bnb_4bit_quant_type": "nf4", "quantization.bnb_4bit_use_double_quant": true,
	"trainer.type": "finetune", "trainer.use_mixed_precision": false, "trainer.should_shuffle": true,
	"trainer.regularization_lambda": 0, "trainer.increase_batch_size_on_plateau": 0, "trainer.validation_metric": "loss",
	"trainer.optimizer.amsgrad": false, "trainer.learning_rate_scheduler.reduce_on_plateau": 0,
}

// numbers are keys whose number a key of the recipe has.
var numbers = map[string]string{
	"adapter.r": "rank", "adapter.alpha": "alpha", "adapter.dropout": "dropout",
	"trainer.train_steps": "steps", "trainer.learning_rate": "lr",
	"trainer.optimizer.eps": "eps", "trainer.optimizer.weight_decay": "weight_decay", "trainer.gradient_clipping.clipglobalnorm": "clip",
	"preprocessing.global_max_sequence_length": "total_tokens", "random_seed": "seed",
}

// words are keys of which some values have a value in the recipe.
var words = map[string]struct {
	key    string
	values map[string]any
}{
	"quantization.bits":                               {"quant", map[string]any{"4": "nf4", "8": "int8"}},
	"quantization.bnb_4bit_compute_dtype":             {"compute", map[string]any{"bfloat16": "bf16", "float32": "f32"}},
	"trainer.learning_rate_scheduler.decay":           {"schedule", map[string]any{"cosine": "cosine-restarts", "linear": "linear"}},
	"trainer.optimizer":                               {"optimiser", map[string]any{"adam": "adam", "adamw": "adamw", "paged_adam": "paged-adam"}},
	"trainer.optimizer.type":                          {"optimiser", map[string]any{"adam": "adam", "adamw": "adamw", "paged_adam": "paged-adam"}},
	"adapter.use_rslora":                              {"rslora", map[string]any{"true": true, "false": false}},
	"adapter.use_dora":                                {"dora", map[string]any{"true": true, "false": false}},
	"trainer.optimizer.betas":                         {"betas", nil},
	"adapter.target_modules":                          {"targets", nil},
	"trainer.batch_size":                              {"batch", nil},
	"trainer.eval_batch_size":                         {"eval_batch", nil},
	"trainer.eval_steps":                              {"eval_rows", nil},
	"trainer.gradient_accumulation_steps":             {"accumulate", nil},
	"trainer.effective_batch_size":                    {"accumulate", nil},
	"trainer.steps_per_checkpoint":                    {"checkpoint_every", nil},
	"trainer.early_stop":                              {"patience", nil},
	"trainer.epochs":                                  {"epochs", nil},
	"trainer.learning_rate_scheduler.t_0":             {"restart", nil},
	"trainer.learning_rate_scheduler.warmup_fraction": {"warmup", nil},
	"adapter": {"", nil},
}

// ReadLudwig reads a configuration as Ludwig 0.10 takes it: adapter, trainer,
// quantization, preprocessing. What it leaves out has Ludwig's defaults.
func ReadLudwig(text []byte) (l *Ludwig, err error) {
	defer func() {
		if r := recover(); r != nil { // yaml.v3 panics on some malformed input
			l, err = nil, fmt.Errorf("not readable as YAML: %v", r)
		}
	}()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("not readable as YAML: %w", err)
	}
	l = &Ludwig{Recipe: map[string]any{"preset": "paper"}, keys: map[string]ludwigValue{}}
	if len(doc.Content) > 0 {
		if err := l.flatten("", doc.Content[0]); err != nil {
			return nil, err
		}
	}
	if !l.has("base_model") && !l.has("trainer") && !l.has("adapter") {
		return nil, errors.New("neither base_model nor trainer nor adapter stands in it: is it a configuration of Ludwig?")
	}
	l.Base, _ = l.keys["base_model"].value.(string)
	for k, v := range l.keys {
		l.take(k, v)
	}
	l.adapter()
	l.quantization()
	l.batches()
	l.rates()
	l.evaluations()
	slices.SortFunc(l.Passed, func(a, b LudwigKey) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	slices.SortFunc(l.Lost, func(a, b LudwigKey) int {
		return cmp.Or(cmp.Compare(min(a.Line, 1), min(b.Line, 1))*-1, cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return l, nil
}

// flatten gives the keys of nested mappings with dots between. One that is null
// is not there, as in Ludwig, but for what it then means.
func (l *Ludwig) flatten(prefix string, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, inner := prefix+n.Content[i].Value, n.Content[i+1]
		if inner.Kind == yaml.AliasNode {
			inner = inner.Alias
		}
		if inner.Kind == yaml.MappingNode {
			if err := l.flatten(key+".", inner); err != nil {
				return err
			}
			continue
		}
		v := ludwigValue{line: n.Content[i].Line, column: n.Content[i].Column}
		if err := inner.Decode(&v.value); err != nil {
			return fmt.Errorf("line %d: %s: %w", v.line, key, err)
		}
		l.keys[key] = v
	}
	return nil
}

// has tells whether a key, or one below it, is set.
func (l *Ludwig) has(key string) bool {
	for k, v := range l.keys {
		if v.value != nil && (k == key || strings.HasPrefix(k, key+".")) {
			return true
		}
	}
	return false
}

func (l *Ludwig) lost(key, why, hint string) {
	v := l.keys[key]
	l.Lost = append(l.Lost, LudwigKey{Key: key, Line: v.line, Column: v.column, Why: why, Hint: hint})
}

func (l *Ludwig) pass(key, why string) {
	v := l.keys[key]
	l.Passed = append(l.Passed, LudwigKey{Key: key, Line: v.line, Column: v.column, Why: why})
}

// take enters what a key says by itself.
func (l *Ludwig) take(key string, v ludwigValue) {
	if v.value == nil {
		return
	}
	if want, ok := only[key]; ok {
		if fmt.Sprint(v.value) != fmt.Sprint(want) {
			l.lost(key, fmt.Sprintf("is %v, and here it is %v", v.value, want), "")
		}
		return
	}
	if to, ok := numbers[key]; ok {
		if _, ok := number(v.value); ok {
			l.Recipe[to] = v.value
		} else {
			l.lost(key, fmt.Sprintf("is %v, and no number", v.value), "write the number that Ludwig found: it logs it")
		}
		return
	}
	if to, ok := words[key]; ok {
		if to.values == nil {
			return // settled with others
		}
		if value, ok := to.values[fmt.Sprint(v.value)]; ok {
			l.Recipe[to.key] = value
			return
		}
		var known []string
		for value := range to.values {
			known = append(known, value)
		}
		slices.Sort(known)
		l.lost(key, fmt.Sprintf("is %v", v.value), "known: "+strings.Join(known, ", "))
		return
	}
	for k, why := range passed {
		if k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) {
			l.pass(key, why)
			return
		}
	}
	var known []string // of the same depth: a beginning is not what was meant
	for _, list := range []iter.Seq[string]{maps.Keys(passed), maps.Keys(numbers), maps.Keys(words), maps.Keys(only)} {
		for k := range list {
			if strings.Count(k, ".") == strings.Count(key, ".") && !strings.HasSuffix(k, ".") {
				known = append(known, k)
			}
		}
	}
	slices.Sort(known)
	hint := ""
	if near := nearest.Word(key, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.lost(key, "is not understood", hint)
}

func (l *Ludwig) adapter() {
	switch v := l.keys["adapter"].value; {
	case !l.has("adapter"):
		l.lost("adapter", "is not there: Ludwig then trains the whole model", "write adapter: {type: lora}")
	case v != nil && v != "lora":
		l.lost("adapter", fmt.Sprintf("is %v, and here it is lora", v), "")
	}
	if v := l.keys["adapter.target_modules"].value; v != nil {
		l.Recipe["targets"] = v
	} else if l.has("adapter") {
		l.pass("adapter.target_modules", "is not there: PEFT's choice for most models, q_proj and v_proj")
	}
	if r := l.whole("adapter.r"); r > 0 && !l.has("adapter.alpha") {
		l.Recipe["alpha"] = 2 * r // Ludwig's default
	}
}

// quantization: without it Ludwig loads a model in float32, with it for products
// in float16 unless it is told otherwise.
func (l *Ludwig) quantization() {
	switch {
	case !l.has("quantization"):
		l.Recipe["quant"], l.Recipe["compute"] = "none", "f32"
	case !l.has("quantization.bnb_4bit_compute_dtype") && l.keys["quantization.bits"].value != 8:
		l.lost("quantization.bnb_4bit_compute_dtype", "is not there: Ludwig then computes in float16, the section in bf16", "write bfloat16 or float32")
	}
}

// batches: how many examples a micro-batch has, whose loss is the mean over all
// their target tokens in both programs, and how many make an update.
func (l *Ludwig) batches() {
	const size, steps, all = "trainer.batch_size", "trainer.gradient_accumulation_steps", "trainer.effective_batch_size"
	for _, key := range []string{size, steps, all} {
		if v := l.keys[key].value; v != nil && v != "auto" && l.whole(key) < 1 {
			l.lost(key, fmt.Sprintf("is %v, and no whole number from 1", v), "")
		}
	}
	n, a, e := l.whole(size), l.whole(steps), l.whole(all)
	switch {
	case n > 0:
	case l.keys[size].value != "auto":
		n = 1 // Ludwig's default
	case a > 0 && e > 0:
		n = max(1, e/a)
	default:
		l.lost(size, "is auto: Ludwig then takes what it finds to be fastest on its machine", "write the number that Ludwig found: it logs it")
		n = 1
	}
	if a == 0 {
		a = max(1, e/n)
	}
	if e > 0 && e != n*a {
		l.lost(all, fmt.Sprintf("is %d, which batch_size %d and gradient_accumulation_steps %d do not make", e, n, a), "leave one of them out")
	}
	if l.Recipe["accumulate"], l.batch = a, n; n > 1 {
		l.Recipe["batch"] = n
	}
	epochs := l.keys["trainer.epochs"].value
	switch {
	case l.has("trainer.train_steps") && epochs != nil:
		l.pass("trainer.epochs", "train_steps goes before it")
	case l.has("trainer.train_steps") || !l.has("trainer"):
	case epochs == nil:
		l.Recipe["epochs"] = 100 // Ludwig's default
		l.pass("trainer.epochs", "is not there, and neither is train_steps: 100, as in Ludwig")
	case l.whole("trainer.epochs") < 1:
		l.lost("trainer.epochs", fmt.Sprintf("is %v, and no whole number from 1", epochs), "")
	default:
		l.Recipe["epochs"] = l.whole("trainer.epochs")
	}
}

// rates: without a scheduler the rate is constant.
func (l *Ludwig) rates() {
	const at = "trainer.learning_rate_scheduler."
	if !l.has(at + "decay") {
		l.Recipe["schedule"] = "constant"
	}
	if !l.has("trainer.learning_rate") {
		l.Recipe["lr"] = 1e-3
	}
	if !l.has("trainer.optimizer") {
		l.Recipe["optimiser"] = "adam"
	}
	if v, ok := l.keys["trainer.gradient_clipping.clipglobalnorm"]; ok && v.value == nil {
		l.Recipe["clip"] = 0
	}
	if v := l.keys["trainer.optimizer.betas"].value; v != nil {
		l.Recipe["betas"] = v
	}
	l.Recipe["warmup"] = 0
	if share, ok := number(l.keys[at+"warmup_fraction"].value); ok {
		if steps := l.whole("trainer.train_steps"); steps > 0 {
			l.Recipe["warmup"] = share * float64(steps)
		} else if share > 0 {
			l.lost(at+"warmup_fraction", "is a share of a number of steps that depends on the rows", "set warmup to it times the steps: `evalrun train --dry-run` tells them")
		}
	}
	if n := l.whole(at + "t_0"); n > 0 {
		l.Recipe["restart"] = n
	}
}

// onceAnEpoch is a period that no epoch has: recipes that follow Ludwig bound it
// by their own.
const onceAnEpoch = 1_000_000_000

// evaluations are due at checkpoints.
func (l *Ludwig) evaluations() {
	const every = "trainer.steps_per_checkpoint"
	n := l.whole(every)
	if v := l.keys[every].value; n < 0 || n == 0 && v != nil && v != 0 {
		l.lost(every, fmt.Sprintf("is %v, and no whole number", v), "")
	}
	if n <= 0 && l.has("trainer") {
		n = onceAnEpoch
		l.pass(every, "is not there or 0: an epoch, as in Ludwig; so large a period becomes one")
	}
	if n > 0 {
		l.Recipe["checkpoint_every"], l.Recipe["eval_every"] = n, n
		if _, set := l.Recipe["restart"]; !set {
			l.Recipe["restart"] = n
		}
	}
	l.evaluationBatches()
	if v := l.keys["trainer.early_stop"].value; v != nil {
		l.Recipe["patience"] = max(0, l.whole("trainer.early_stop")) // -1 is never
	}
	for _, k := range []string{"input_features", "output_features"} {
		list, _ := l.keys[k].value.([]any)
		for _, f := range list {
			m, _ := f.(map[string]any)
			p, _ := m["preprocessing"].(map[string]any)
			if n := p["max_sequence_length"]; n != nil && k == "input_features" {
				l.Recipe["prompt_tokens"] = n
			} else if n != nil {
				l.lost(k, fmt.Sprintf("preprocessing.max_sequence_length is %v, and a target has no limit of its own here", n), "global_max_sequence_length, total_tokens here, bounds both")
			}
		}
	}
}

// evaluationBatches: Ludwig's validation loss is the mean over batches of rows,
// of which eval_steps are taken.
func (l *Ludwig) evaluationBatches() {
	const size, steps = "trainer.eval_batch_size", "trainer.eval_steps"
	v, set := l.keys[size]
	n := 2 // Ludwig's default
	switch {
	case set && v.value == nil, v.value == 0:
		n = l.batch
	case v.value == "auto":
		l.lost(size, "is auto: Ludwig then takes what fits into its machine, and the validation loss is the mean over such batches", "write the number that Ludwig found: it logs it")
	case set:
		if n = l.whole(size); n < 1 {
			l.lost(size, fmt.Sprintf("is %v, and no whole number from 1", v.value), "")
		}
	}
	if n = max(n, l.batch); n > 1 { // as Ludwig does
		l.Recipe["eval_batch"] = n
	}
	if v := l.keys[steps].value; v != nil && v != 0 && l.whole(steps) < 1 {
		l.lost(steps, fmt.Sprintf("is %v, and no whole number", v), "")
	}
	l.Recipe["eval_rows"] = max(0, l.whole(steps)) * n // 0 is all
}

// whole is a key's whole number, 0 where it has none.
func (l *Ludwig) whole(key string) int {
	n, _ := l.keys[key].value.(int)
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
