package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/internal/nearest"
)

// A Recipe is everything that decides what a training computes, besides the
// model and the examples. Its JSON form is kept beside the adapter.
type Recipe struct {
	Preset string `json:"preset"`

	// The adapter (Hu et al., 2021). Targets are as PEFT reads target_modules:
	// names or suffixes of modules, one regular expression, or "all-linear".
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`
	Dropout float64  `json:"dropout"`
	Targets []string `json:"targets"`
	RSLoRA  bool     `json:"rslora"`
	DoRA    bool     `json:"dora"`

	// Quant is what the base is quantised to on load: nf4 (with double
	// quantisation), int8 or none; a checkpoint that is quantised stays as it is.
	Quant string `json:"quant"`
	// Compute is the type inside base linears: bf16 (as bitsandbytes' Linear4bit
	// with that compute type) or f32. All else is float32.
	Compute string `json:"compute"`

	// Steps counts micro-batches of Batch examples; Accumulate of them make an
	// update, each weighing 1/Accumulate. The loss of a micro-batch is the mean
	// over all its judged tokens: of one example, each weighs the same whatever
	// its length.
	Steps      int `json:"steps"`
	Batch      int `json:"batch"`
	Accumulate int `json:"accumulate"`
	// Epochs make the steps, unless those are given: see Settle.
	Epochs float64 `json:"epochs,omitempty"`
	// CheckpointEvery is in micro-batches. With UpdateAtCheckpoint a window that
	// a checkpoint cuts is applied as it is, still divided by Accumulate.
	CheckpointEvery    int  `json:"checkpoint_every"`
	UpdateAtCheckpoint bool `json:"update_at_checkpoint"`

	Optimiser   string     `json:"optimiser"`
	Betas       [2]float64 `json:"betas"`
	Eps         float64    `json:"eps"`
	WeightDecay float64    `json:"weight_decay"`
	Clip        float64    `json:"clip"` // global norm; 0 does not clip

	LR       float64 `json:"lr"`
	Schedule string  `json:"schedule"`
	// Warmup is in micro-batches; nil is 3 % of Steps.
	Warmup *float64 `json:"warmup,omitempty"`
	// Restart is the period of cosine-restarts in micro-batches.
	Restart int `json:"restart,omitempty"`

	// PromptTokens and TotalTokens bound an example; 0 is the 95th percentile
	// of the training set for the prompt, and the model's context for both.
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
	// Keep is the end of a long prompt that is kept: head or tail.
	Keep string `json:"keep"`
	// TargetBOS begins the target with the tokenizer's BOS and trains on it.
	TargetBOS bool `json:"target_bos"`

	// EvalEvery is in micro-batches; training ends after Patience evaluations
	// without a better one. 0 is never.
	EvalEvery int `json:"eval_every"`
	EvalRows  int `json:"eval_rows"`
	// EvalBatch rows have their loss as a mean over all their judged tokens; the
	// validation loss is the mean of those.
	EvalBatch int `json:"eval_batch"`
	Patience  int `json:"patience"`
	// Best leaves the values of the best evaluation, and not the last ones.
	Best bool `json:"best"`
	// Monitor says what makes an evaluation better: MonitorLoss, or MonitorScore,
	// of which alike ones are told apart by the loss. Empty is the score where
	// there is one.
	Monitor string `json:"monitor"`

	Seed uint64 `json:"seed"`
}

// What an evaluation is judged by: the validation loss, or the score that
// answers to the validation rows have.
const (
	MonitorLoss  = "loss"
	MonitorScore = "score"
)

// warmupShare is the share of the steps that both presets warm up in.
const warmupShare = 0.03

// Presets lists the names that Preset knows.
func Presets() []string { return []string{"paper", "modern"} }

// Preset gives a recipe to start from.
//
// paper is what Ludwig 0.10.3 made of the configuration that the report prints
// (arXiv 2405.00732, figure 4): a step is a micro-batch, the rate restarts every
// 1,000 of them, a prompt keeps its head and the target begins with a second
// BOS. modern is what one would do today: one cosine, the prompt's tail kept, no
// BOS within the sequence, every linear adapted, the best by score kept.
func Preset(name string) (Recipe, error) {
	r := Recipe{
		Preset: name,
		Rank:   8, Alpha: 16, Dropout: 0.05, Targets: []string{"q_proj", "v_proj"},
		Quant: "nf4", Compute: "bf16",
		Steps: 40000, Batch: 1, Accumulate: 16, CheckpointEvery: 1000,
		Optimiser: PagedAdam, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, Clip: 0.5,
		LR: 2e-4, Schedule: CosineRestarts, Restart: 1000,
		EvalEvery: 1000, EvalRows: 100, EvalBatch: 1, Patience: 5, Best: true,
	}
	switch name {
	case "paper":
		r.UpdateAtCheckpoint, r.TargetBOS, r.Keep, r.Monitor = true, true, "head", MonitorLoss
	case "modern":
		r.Schedule, r.Restart = Cosine, 0
		r.Optimiser, r.Clip = AdamW, 1
		r.Targets, r.Keep = []string{"all-linear"}, "tail"
	default:
		return Recipe{}, fmt.Errorf("there is no such preset, only %s", strings.Join(Presets(), " and "))
	}
	return r, nil
}

// ParseRecipe reads a JSON object of settings over the preset that its key
// "preset" names (paper, where it is missing). An unknown key is an error that
// names the nearest one.
func ParseRecipe(text string) (Recipe, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		return Recipe{}, fmt.Errorf("recipe: %w", err)
	}
	preset := "paper"
	if raw, ok := keys["preset"]; ok {
		if err := json.Unmarshal(raw, &preset); err != nil {
			return Recipe{}, fmt.Errorf("recipe: preset: %w", err)
		}
	}
	r, err := Preset(preset)
	if err != nil {
		return Recipe{}, fmt.Errorf("recipe: preset %q: %w", preset, err)
	}
	known := Settings()
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(known, k) {
			hint := "known: " + strings.Join(known, ", ")
			if near := nearest.Word(k, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return Recipe{}, fmt.Errorf("recipe: unknown key %q: %s", k, hint)
		}
		// One key at a time, so that a mistake names its key.
		one, err := json.Marshal(map[string]json.RawMessage{k: keys[k]})
		if err == nil {
			err = json.Unmarshal(one, &r)
		}
		if err != nil {
			return Recipe{}, fmt.Errorf("recipe: %s: %w", k, err)
		}
	}
	if r.Preset = preset; keys["steps"] != nil {
		r.Epochs = 0
	}
	return r, r.Check()
}

// Settings lists the keys of a recipe.
func Settings() []string {
	t := reflect.TypeFor[Recipe]()
	var keys []string
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}

// mostExamples keeps products of batch, accumulate and steps within an int64.
const mostExamples = 1_000_000

// Check reports the first setting that makes no sense.
func (r *Recipe) Check() error {
	bad := func(key string, value any, want string) error {
		return fmt.Errorf("recipe: %s is %v: %s", key, value, want)
	}
	switch {
	case r.Rank < 1 || r.Rank > 1<<16:
		return bad("rank", r.Rank, "from 1 to 65536")
	case !(r.Alpha > 0):
		return bad("alpha", r.Alpha, "above 0")
	case !(r.Dropout >= 0 && r.Dropout < 1):
		return bad("dropout", r.Dropout, "from 0 to below 1")
	case len(r.Targets) == 0:
		return bad("targets", "empty", "names of modules, one regular expression, or \"all-linear\"")
	case r.Compute != "bf16" && r.Compute != "f32":
		return bad("compute", r.Compute, "bf16 or f32")
	case r.Batch < 1 || r.Batch > mostExamples:
		return bad("batch", r.Batch, "from 1 to a million")
	case !(r.Epochs >= 0 && r.Epochs <= 1e6):
		return bad("epochs", r.Epochs, "from 0, which leaves it to steps, to a million")
	case r.EvalBatch < 1 || r.EvalBatch > mostExamples:
		return bad("eval_batch", r.EvalBatch, "from 1 to a million")
	case r.Accumulate < 1 || r.Accumulate > mostExamples:
		return bad("accumulate", r.Accumulate, "from 1 to a million")
	case r.CheckpointEvery < 0 || r.EvalEvery < 0 || r.EvalRows < 0 || r.Patience < 0 || r.PromptTokens < 0 || r.TotalTokens < 0:
		return errors.New("recipe: a number of steps, rows or tokens is negative")
	case r.Keep != "head" && r.Keep != "tail":
		return bad("keep", r.Keep, "head or tail")
	case r.Monitor != "" && r.Monitor != MonitorLoss && r.Monitor != MonitorScore:
		return bad("monitor", r.Monitor, MonitorLoss+" or "+MonitorScore)
	case !slices.Contains(Optimisers(), r.Optimiser):
		return bad("optimiser", r.Optimiser, strings.Join(Optimisers(), ", "))
	case !(r.Clip >= 0):
		return bad("clip", r.Clip, "0 or more")
	case !(r.WeightDecay >= 0):
		return bad("weight_decay", r.WeightDecay, "0 or more")
	}
	for _, b := range r.Betas {
		if !(b >= 0 && b < 1) {
			return bad("betas", r.Betas, "each from 0 to below 1")
		}
	}
	if s := r.Rates(); s.Check() != nil {
		return fmt.Errorf("recipe: %w", s.Check())
	}
	return nil
}

// Settle puts in what depends on the number of examples: the steps of epochs,
// and for a recipe that follows Ludwig the periods. There a checkpoint is due
// once an epoch and once a training at least, evaluations are due with it, and
// the rate's period is the checkpoints' unless it has one of its own. Evaluations
// that never come stay so.
func (r *Recipe) Settle(examples int) {
	if examples == 0 {
		return
	}
	all := newOrder(examples, r).all
	if r.Epochs > 0 {
		r.Steps = int(math.Ceil(r.Epochs * float64(all)))
	}
	if !r.UpdateAtCheckpoint {
		return
	}
	was, every := r.CheckpointEvery, max(1, min(r.checkpointEvery(all), r.Steps))
	for _, period := range []*int{&r.CheckpointEvery, &r.EvalEvery, &r.Restart} {
		if *period == was && (was > 0 || period == &r.CheckpointEvery) {
			*period = every
		}
	}
}

// Window is how many examples a window has at most.
func (r *Recipe) Window() int { return max(1, r.Batch) * r.Accumulate }

// Rates is the recipe's schedule.
func (r *Recipe) Rates() Schedule {
	s := Schedule{Kind: r.Schedule, LR: r.LR, Warmup: warmupShare * float64(r.Steps), Steps: r.Steps, Restart: r.Restart}
	if r.Warmup != nil {
		s.Warmup = *r.Warmup
	} else if r.Schedule != CosineRestarts {
		s.Warmup = math.Ceil(s.Warmup) // as transformers rounds a ratio
	}
	return s
}
